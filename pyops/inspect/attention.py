"""Attention maps: what each head of each layer looked at while a network read something."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from ..core import scope
from ..core.late import LateFunctions
from ..core.tensor import no_grad
from ..graph.describe import evaluating

heads = LateFunctions("pyops.kernels.attention.reference")
LONGEST, MOST_LABELS = 12, 40   # characters of a label; labels of an axis


@dataclass(frozen=True)
class AttentionMap:
    """weights: (N, heads, queries, keys), each row a share of 1 (0 where a query may look nowhere).
    kind: "self" where a text looks at all of itself, "causal" at what came before, "cross" at another
    text. layer: counted from 0 for each kind."""
    layer: int
    kind: str
    weights: np.ndarray


def attention_maps(model, *inputs: Any, call: str = "__call__") -> list[AttentionMap]:
    """The weights of every call of scaled_dot_product_attention while model(*inputs) runs in
    evaluation mode, in the order in which they come.

    call: a method to run instead. Weights are computed again from each call's queries and keys, for
    attention itself never keeps them. ValueError where the model makes no such call.
    """
    seen: list[tuple[Any, np.ndarray]] = []

    def watch(function, args, kwargs):
        if function.__name__ == "scaled_dot_product_attention":
            given = signature(function).bind(*args, **kwargs)
            given.apply_defaults()
            seen.append((given.arguments, weights_of(**given.arguments)))
        return function(*args, **kwargs)
    token = scope.calls.set(watch)
    scope.watchers.append(watch)
    try:
        with evaluating(model), no_grad():
            getattr(model, call)(*inputs)
    finally:
        scope.watchers.remove(watch)
        scope.calls.reset(token)
    if not seen:
        raise ValueError(f"attention_maps: {type(model).__name__} calls no scaled_dot_product_attention")
    return counted(seen)


def weights_of(query, key, attn_mask=None, is_causal=False, scale=None, key_begin=None, key_end=None,
               distance_bias=None, **_) -> np.ndarray:
    """softmax(query key^T scale + mask) in float64, its leading axes as (N, heads); keys as numbers or
    as bfloat16's bits."""
    q, k = (np.asarray(getattr(x, "data", x)) for x in (query, key))
    q, k = (np.asarray(heads.widened(x) if x.dtype == np.uint16 else x, np.float64) for x in (q, k))
    if q.ndim > 2 and q.shape[-3] != k.shape[-3] > 1:   # heads that share keys
        k = k.repeat(q.shape[-3] // k.shape[-3], -3)
    scores = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(max(1, q.shape[-1])) if scale is None else scale)
    mask = np.asarray(getattr(attn_mask, "data", attn_mask)) if attn_mask is not None else None
    if mask is not None:
        scores = scores + (np.where(mask, 0, -np.inf) if mask.dtype == bool else mask)
    if is_causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    begin, end, distance = (None if x is None else np.asarray(getattr(x, "data", x))
                            for x in (key_begin, key_end, distance_bias))
    scores = scores + heads.hidden_or_added(q, k, begin, end, distance)
    top = scores.max(-1, keepdims=True)
    p = np.exp(scores - np.where(np.isfinite(top), top, 0))
    p = p / np.maximum(p.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
    return p.reshape(-1, p.shape[-3] if p.ndim > 2 else 1, *p.shape[-2:]).astype(np.float32)


def counted(seen) -> list[AttentionMap]:
    """Cross attention is what follows a text's look back at itself in a decoder's layer."""
    found: list[AttentionMap] = []
    counts = {"self": 0, "causal": 0, "cross": 0}
    back = False
    for arguments, weights in seen:
        queries, keys = weights.shape[-2:]
        causal = arguments["is_causal"] or queries == keys > 1 and not np.triu(weights, 1).any()
        kind = "causal" if causal else "cross" if back else "self"
        back = causal
        found.append(AttentionMap(counts[kind], kind, weights))
        counts[kind] += 1
    return found


def draw_attention(path, maps: Sequence[AttentionMap], queries: Sequence[str], keys: Sequence[str] | None = None,
                   sample: int = 0, title: str = "") -> None:
    """Maps as one PNG, a row a layer and a column a head; dark is much.

    queries, keys: what stands beside rows and below columns, keys None for those of queries; labels
    are left out where there are more than 40. sample: which of the batch. ValueError where labels
    do not count a map's rows and columns.
    """
    from matplotlib.figure import Figure
    keys = queries if keys is None else keys
    shape = len(queries), len(keys)
    if not maps or any(m.weights.shape[2:] != shape for m in maps):
        raise ValueError(f"draw_attention: {shape[0]} and {shape[1]} labels do not fit maps of "
                         f"{', '.join(str(m.weights.shape[2:]) for m in maps) or 'no layer'}")
    heads = max(m.weights.shape[1] for m in maps)
    cell = [max(1.6, min(0.16 * size, 6)) for size in shape]
    figure = Figure(figsize=(heads * cell[1] + 1.4, len(maps) * cell[0] + 1.2), layout="constrained")
    grid = figure.subplots(len(maps), heads, squeeze=False)
    for row, found in zip(grid, maps):
        for head, axes in enumerate(row):
            axes.set(xticks=[], yticks=[])
            if head >= found.weights.shape[1]:
                axes.axis("off")
                continue
            axes.imshow(found.weights[sample, head], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            if found is maps[0]:
                axes.set_title(f"head {head + 1}", fontsize=8)
            if head == 0:
                axes.set_ylabel(f"layer {found.layer + 1}", fontsize=8)
                label(axes.yaxis, queries, 0)
            if found is maps[-1]:
                label(axes.xaxis, keys, 90)
    figure.suptitle(title, fontsize=10)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def label(axis, words: Sequence[str], turned: int) -> None:
    if len(words) <= MOST_LABELS:
        axis.set_ticks(range(len(words)), [plain(word) for word in words], fontsize=7, rotation=turned)


def plain(word: str) -> str:
    """Without what matplotlib would take for mathematics; spaces are seen."""
    shown = word if len(word) <= LONGEST else word[:LONGEST - 1] + "…"
    return shown.replace(" ", "␣").replace("\n", "⏎").replace("$", r"\$")
