"""Scaled dot-product attention."""
from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..core import dispatch
from ..core.backends import active
from ..core.dispatch import as_array
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Arrays
from .broadcast import contiguous, strides_in, sum_to
from .dropout import DROPOUT, _attributes, _seed, _zero
from .elementwise import add, exp, mul, sub, where
from .matmul import matmul
from .reduction import sum as total
from .shape import broadcast_to, reshape, transpose, unsqueeze
from .softmax import softmax
from .typed import dtype_of

reference = LateFunctions("pyops.kernels.attention.reference")

__all__ = ["scaled_dot_product_attention"]

MOST_LEADING = 6   # a kernel's Dims hold eight: these, rows and columns


def scaled_dot_product_attention(query: Arrays, key: Arrays, value: Arrays, attn_mask: Arrays | None = None,
                                 dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None,
                                 enable_gqa: bool = False, *, key_begin: Arrays | None = None,
                                 key_end: Arrays | None = None, distance_bias: Arrays | None = None,
                                 seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """softmax(query key^T scale + mask) value: every query's mean of the values, weighted by how
    well their keys match it.

    query: (..., L, E), key: (..., S, E), value: (..., S, Ev), float32 or float64; leading axes
    broadcast, at most 6. Returns (..., L, Ev). attn_mask broadcasts to (..., L, S): a bool array,
    True where a query may look, or floats added to the scores. is_causal instead lets query i see
    keys 0 .. i. A query that may look nowhere gives zeros. scale: default 1 / sqrt(E). enable_gqa:
    the third last axis counts heads, and each head of key and of value serves a whole number of
    query heads in a row. dropout_p > 0 drops weights by `seed`, as dropout has it; the gradient makes
    them and what was dropped again. The L x S weights are never kept in memory, but for those that are
    dropped in the torch door, or beside a mask that has a gradient.

    Masks and biases that never exist as L x S arrays, in place of attn_mask: key_begin and key_end, whole
    numbers that broadcast to (..., L): a query sees keys key_begin .. key_end - 1 only, those that
    there are; so lengths are key_end (N, 1, 1), texts that share a row begin and end where they do, and
    a band begins at the query's place less its width. What no query sees may be anything, such as the
    rest of a cache that nothing was written to. distance_bias (..., L + S - 1) is added to the
    scores: entry key - query + L - 1 of the last axis, as T5's buckets and ALiBi's slopes tell it;
    leading axes broadcast, and it has a gradient.

    key and value may both be uint16: bfloat16 by its bits, as a cache stores them in half the memory,
    widened as they are read. With key_begin, key_end and distance_bias only; no gradient. It is meant for
    few queries to many keys, as a step of decoding has them.
    ValueError where shapes do not fit, for both attn_mask and is_causal or one of these, and for
    dropout with these. Source: Vaswani et al. (2017).
    """
    stored = is_stored(key) or is_stored(value)
    if stored and (attn_mask is not None or dropout_p or is_causal):
        raise ValueError("scaled_dot_product_attention: keys and values of bfloat16's bits take key_begin, key_end and "
                         "distance_bias alone, no attn_mask, dropout_p or is_causal")
    within = key_begin is not None or key_end is not None or distance_bias is not None
    if within and (attn_mask is not None or dropout_p):
        raise ValueError("scaled_dot_product_attention: give attn_mask or dropout_p, or key_begin, key_end and "
                         "distance_bias, not both")
    if attn_mask is not None and is_causal:
        raise ValueError("scaled_dot_product_attention: give attn_mask or is_causal, not both")
    for name, x in (("query", query), ("key", key), ("value", value)):
        if len(x.shape) < 2:
            raise ValueError(
                f"scaled_dot_product_attention: {name} needs at least two axes, got shape {tuple(x.shape)}")
    if scale is None:
        scale = 1 / math.sqrt(max(1, query.shape[-1]))
    if stored:
        return ATTENTION_STORED(query, key, value, key_begin, key_end, distance_bias, scale=float(scale),
                                gqa=bool(enable_gqa), out=out)[0]
    if within:
        return ATTENTION_WITHIN(query, key, value, key_begin, key_end, distance_bias, causal=bool(is_causal),
                                scale=float(scale), gqa=bool(enable_gqa), out=out)[0]
    mask = additive(attn_mask, query)
    if dropout_p:
        how = dict(causal=bool(is_causal), scale=float(scale), gqa=bool(enable_gqa), **drop(dropout_p, seed))
        dropped = ATTENTION_DROPPED if fused(query, key, value, mask) else with_dropout
        return dropped(query, key, value, mask, **how)[0]
    return ATTENTION(query, key, value, mask, causal=bool(is_causal), scale=float(scale),
                     gqa=bool(enable_gqa), out=out)[0]


def additive(mask: Any, like: Any) -> Any:
    """A mask as numbers to add to scores of `like`'s type: a bool one, True where a query may
    look, as 0 and -inf."""
    values = mask.data if type(mask) is Tensor else mask
    if isinstance(values, np.ndarray) and values.dtype == bool:
        dtype = like.dtype if isinstance(like.dtype, np.dtype) else as_array(ATTENTION, 0, like).dtype
        return np.where(values, dtype.type(0), dtype.type(-np.inf))
    if dispatch.on_device((mask,)) and dtype_of(mask).kind == "b":
        dtype = dtype_of(like)
        return where(mask, np.zeros((), dtype), np.full((), -np.inf, dtype))
    if isinstance(mask, Tensor) and mask.dtype == bool:   # of a program that is given it
        zero = np.zeros((), like.dtype)
        return where(mask, zero, zero - np.inf)
    return mask


def drop(p: float, seed: int | None) -> dict[str, Any]:
    """What the rows of dropout are told."""
    found = _attributes("dropout", p, _zero)
    return {"threshold": found["threshold"], "keep": found["scale"], "seed": _seed("dropout", seed)}


def fused(*inputs) -> bool:
    """Whether the active backend has a kernel that drops weights, these are its arrays, and the mask needs
    no gradient."""
    if isinstance(inputs[3], Tensor) and inputs[3].requires_grad:
        return False
    values = [v.data if type(v) is Tensor else v for v in inputs if v is not None]
    if active.get().name in ATTENTION_DROPPED.todo:
        return False
    return (all(isinstance(v, np.ndarray) and v.dtype.kind == "f" for v in values)
            or all(dispatch.on_device((v,)) for v in values))


def with_dropout(query, key, value, mask, *, seed, threshold, keep, causal, scale, gqa):
    """Composed of other rows, whose tape keeps the weights that were dropped."""
    plan(*(None if x is None else tuple(x.shape) for x in (query, key, value, mask)), gqa)
    heads = query.shape[-3] if gqa else 0
    scores = mul(matmul(query, transpose(repeated(key, heads), -1, -2)), scale)
    none = None
    if causal:
        mask = additive(np.tri(*scores.shape[-2:], dtype=bool), query)
    elif mask is not None:   # queries that may look nowhere: finite weights first, then none
        blocked = (mask.data if isinstance(mask, Tensor) else mask) == -np.inf
        none = blocked.all(-1, keepdims=True) if blocked.ndim else blocked
        if none.any():
            mask = where(none, 0.0, mask)
    weights = softmax(scores if mask is None else add(scores, mask), -1)
    if none is not None and none.any():
        weights = where(none, 0.0, weights)
    weights = DROPOUT(weights, seed=seed, threshold=threshold, shared=1, scale=keep, shift=0.0, fill=0.0)
    return (matmul(weights, repeated(value, heads)),)


def repeated(x, heads):
    """(..., H, S, E) with each of the H repeated until there are `heads`; heads 0
    leaves it as it is."""
    if not heads or x.shape[-3] == heads:
        return x
    *lead, own, rows, columns = x.shape
    return reshape(broadcast_to(unsqueeze(x, -3), (*lead, own, heads // own, rows, columns)),
                   (*lead, heads, rows, columns))


# ---- the row

class Plan(NamedTuple):
    """Arguments of the kernels, and the result's shape."""
    lead: tuple[int, ...]      # leading axes, the last of them heads
    sizes: tuple[int, ...]   # queries, keys, features, value features, query heads to a head of keys, and of values
    # of query, key, value, mask and result, if they are contiguous: leading axes, rows (mask:
    # columns)
    strides: tuple
    shape: tuple[int, ...]


def check(q, k, v, mask, *, causal, scale, gqa):
    return plan(q.shape, k.shape, v.shape, None if mask is None else mask.shape, gqa)


@lru_cache(4096)
def plan(q, k, v, mask, gqa):
    name = "scaled_dot_product_attention"
    if min(len(q), len(k), len(v)) < 2 + gqa:
        raise ValueError(f"{name}: query {q}, key {k} and value {v} need at least {2 + gqa} axes")
    if q[-1] != k[-1] or k[-2] != v[-2]:
        raise ValueError(f"{name}: query {q}, key {k} and value {v} do not fit: query and key share "
                         "features, key and value their number")
    groups = (1, 1)
    if gqa:
        if not k[-3] or not v[-3] or q[-3] % k[-3] or q[-3] % v[-3]:
            raise ValueError(
                f"{name}: {q[-3]} heads of query {q} are no multiple of those of key {k} and value {v}")
        groups = (q[-3] // k[-3], q[-3] // v[-3])
    try:
        lead = np.broadcast_shapes(*(x[:-2 - gqa] for x in (q, k, v))) + (q[-3:-2] if gqa else ())
    except ValueError:
        raise ValueError(
            f"{name}: the leading axes of query {q}, key {k} and value {v} do not broadcast") from None
    if len(lead) > MOST_LEADING:
        raise ValueError(f"{name}: at most {MOST_LEADING} leading axes, got {lead}")
    full = lead + (q[-2], k[-2])
    if mask is not None and not broadcasts(mask, full):
        raise ValueError(f"{name}: attn_mask {mask} does not broadcast to {full}")
    shape = lead + (q[-2], v[-1])
    n = len(full)
    strides = (tuple(tuple(strides_in(x, n))[:-1] for x in (q, k, v))
               + (tuple(strides_in(mask, n)) if mask is not None else (), tuple(strides_in(shape, n))[:-1]))
    return Plan(lead, (q[-2], k[-2], q[-1], v[-1], *groups), strides, shape)


def broadcasts(shape, to):
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(shape[::-1], to[::-1]))


def forward(k, q, key, v, mask, *, causal, scale, gqa):
    p = check(q, key, v, mask, causal=causal, scale=scale, gqa=gqa)
    y, logsum = k.empty(p.shape), k.empty(p.shape[:-1], k.acc)
    k.attention(q, key, v, mask, p.lead, p.sizes, *p.strides, causal, scale, y, logsum)
    return y, logsum


def backward(k, dy, q, key, v, mask, y, logsum, *, causal, scale, gqa):
    p = check(q, key, v, mask, causal=causal, scale=scale, gqa=gqa)
    _, keys, features, values = p.sizes[:4]
    dq, dk, dv = k.empty((*p.shape[:-1], features)), k.empty((*p.lead, keys,
                                                              features)), k.empty((*p.lead, keys, values))
    k.attention_backward(dy, q, key, v, mask, y, logsum, p.lead, p.sizes, *p.strides[:4], causal, scale, dq,
                         dk, dv)
    return tuple(contiguous(reference.sum_to(d, x.shape, gqa)) for d, x in ((dq, q), (dk, key), (dv, v)))


ATTENTION_BACKWARD = Op("attention_backward", "rrrrorr", backward, reference.attention_backward,
                        kernels=("attention_backward",))


def gradient(ctx: Context):
    q, k, v, mask = ctx.inputs
    y, logsum = ctx.outputs
    grads = (ATTENTION_BACKWARD(ctx.g, q, k, v, mask, y, logsum, **ctx.attrs) if any(ctx.needs[:3])
             else (None,) * 3)
    return *grads, mask_gradient(ctx) if ctx.needs[3] else None


def mask_gradient(ctx: Context):
    """The slope of every score, summed over the axes that the mask repeats along."""
    q, k, v, mask = ctx.inputs
    y, logsum = ctx.outputs
    heads = q.shape[-3] if ctx.attrs["gqa"] else 0
    scores = add(mul(matmul(q, transpose(repeated(k, heads), -1, -2)), ctx.attrs["scale"]), mask)
    weights = exp(sub(scores, unsqueeze(logsum, -1)))
    slope = sub(matmul(ctx.g, transpose(repeated(v, heads), -1, -2)), total(mul(ctx.g, y), -1, keepdim=True))
    return sum_to(mul(weights, slope), mask.shape)


def flops(q, k, v, mask, *, causal, scale, gqa):
    p = plan(q.shape, k.shape, v.shape, None if mask is None else mask.shape, gqa)
    L, S, E, F = p.sizes[:4]
    return math.prod(p.lead) * (2 * L * S * (E + F) + 12 * L * S) // (2 if causal else 1)


ATTENTION = Op("attention", "rrro", forward, reference.attention, gradient, check, kernels=("attention",),
               flops=flops, bytes=lambda q, k, v, mask, **_: q.nbytes + k.nbytes + v.nbytes + q.nbytes,
               todo={"per_sample": "keys and values may be shared by all samples"})


# ---- the row whose weights are dropped

def dropped_forward(k, q, key, v, mask, *, causal, scale, gqa, seed, threshold, keep):
    p = check(q, key, v, mask, causal=causal, scale=scale, gqa=gqa)
    y, logsum = k.empty(p.shape), k.empty(p.shape[:-1], k.acc)
    k.attention_dropped(q, key, v, mask, p.lead, p.sizes, *p.strides, causal, scale, seed, threshold, keep, y, logsum)
    return y, logsum


def dropped_backward(k, dy, q, key, v, mask, y, logsum, *, causal, scale, gqa, seed, threshold, keep):
    p = check(q, key, v, mask, causal=causal, scale=scale, gqa=gqa)
    _, keys, features, values = p.sizes[:4]
    dq, dk, dv = (k.empty(shape) for shape in ((*p.shape[:-1], features), (*p.lead, keys, features),
                                               (*p.lead, keys, values)))
    k.attention_dropped_backward(dy, q, key, v, mask, y, logsum, p.lead, p.sizes, *p.strides[:4], causal, scale, seed,
                                 threshold, keep, dq, dk, dv)
    return tuple(contiguous(reference.sum_to(d, x.shape, gqa)) for d, x in ((dq, q), (dk, key), (dv, v)))


def dropped_gradient(ctx: Context):
    q, k, v, mask = ctx.inputs
    if ctx.needs[3]:
        raise ValueError("scaled_dot_product_attention: a mask has no gradient where weights are dropped")
    return *ATTENTION_DROPPED_BACKWARD(ctx.g, q, k, v, mask, *ctx.outputs, **ctx.attrs), None


ATTENTION_DROPPED_BACKWARD = Op("attention_dropped_backward", "rrrrorr", dropped_backward,
                                reference.attention_dropped_backward, kernels=("attention_dropped_backward",))
ATTENTION_DROPPED = Op(
    "attention_dropped", "rrro", dropped_forward, reference.attention_dropped, dropped_gradient,
    lambda q, k, v, mask, *, causal, scale, gqa, **_: check(q, k, v, mask, causal=causal, scale=scale, gqa=gqa),
    kernels=("attention_dropped",), random=True,
    flops=lambda q, k, v, mask, *, causal, scale, gqa, **_: flops(q, k, v, mask, causal=causal, scale=scale, gqa=gqa),
    bytes=lambda q, k, v, mask, **_: 2 * q.nbytes + k.nbytes + v.nbytes,
    todo={"per_sample": "what is dropped depends on the place in the whole batch"})


# ---- the row without masks in memory

class WithinPlan(NamedTuple):
    """Strides of what queries see and of what is added, beside the Plan of the rest."""
    of: Plan
    spans: tuple[int, ...]
    distance: tuple[int, ...]


def check_within(q, k, v, begin, end, distance, *, causal, scale, gqa):
    return plan_within(*(None if x is None else x.shape for x in (q, k, v, begin, end, distance)), gqa)


@lru_cache(4096)
def plan_within(q, k, v, begin, end, distance, gqa):
    p, name = plan(q, k, v, None, gqa), "scaled_dot_product_attention"
    queries, keys = p.sizes[:2]
    if begin is not None and end is not None and begin != end:
        raise ValueError(f"{name}: key_begin {begin} and key_end {end} must be of one shape")
    spans = end if begin is None else begin
    if spans is not None and not broadcasts(spans, (*p.lead, queries)):
        raise ValueError(f"{name}: key_begin and key_end {spans} do not broadcast to {(*p.lead, queries)}")
    if distance is not None and (not distance or distance[-1] != max(0, queries + keys - 1)
                                 or not broadcasts(distance[:-1], p.lead)):
        raise ValueError(f"{name}: distance_bias {distance} does not broadcast to "
                         f"{(*p.lead, max(0, queries + keys - 1))}, a number for each distance of {queries} queries "
                         f"and {keys} keys")
    n = len(p.lead) + 1
    return WithinPlan(p, tuple(strides_in(spans, n)) if spans is not None else (0,) * n,
                      tuple(strides_in(distance, n)[:-1]) if distance is not None else (0,) * (n - 1))


def within_forward(k, q, key, v, begin, end, distance, *, causal, scale, gqa):
    p, spans, by_distance = check_within(q, key, v, begin, end, distance, causal=causal, scale=scale, gqa=gqa)
    y, logsum = k.empty(p.shape), k.empty(p.shape[:-1], k.acc)
    q_strides, k_strides, v_strides, _, y_strides = p.strides
    k.attention_within(q, key, v, begin, end, distance, p.lead, p.sizes, q_strides, k_strides, v_strides, spans,
                       by_distance, y_strides, causal, scale, y, logsum)
    return y, logsum


def within_backward(k, dy, q, key, v, begin, end, distance, y, logsum, *, causal, scale, gqa):
    p, spans, by_distance = check_within(q, key, v, begin, end, distance, causal=causal, scale=scale, gqa=gqa)
    queries, keys, features, values = p.sizes[:4]
    dq, dk, dv = (k.empty(shape) for shape in ((*p.shape[:-1], features), (*p.lead, keys, features),
                                               (*p.lead, keys, values)))
    dd = k.empty((*p.lead, max(0, queries + keys - 1)) if distance is not None else (0,))
    k.attention_within_backward(dy, q, key, v, begin, end, distance, y, logsum, p.lead, p.sizes, *p.strides[:3], spans,
                                by_distance, causal, scale, dq, dk, dv, dd)
    grads = tuple(contiguous(reference.sum_to(d, x.shape, gqa)) for d, x in ((dq, q), (dk, key), (dv, v)))
    return grads if distance is None else (*grads, contiguous(reference.sum_to(dd, distance.shape, False)))


def within_gradient(ctx: Context):
    found = ATTENTION_WITHIN_BACKWARD(ctx.g, *ctx.inputs, *ctx.outputs, **ctx.attrs)
    return *found[:3], None, None, found[3] if len(found) == 4 else None


ATTENTION_WITHIN_BACKWARD = Op("attention_within_backward", "rrrrjjorr", within_backward,
                               reference.attention_within_backward, kernels=("attention_within_backward",))
ATTENTION_WITHIN = Op(
    "attention_within", "rrrjjo", within_forward, reference.attention_within, within_gradient, check_within,
    kernels=("attention_within",), flops=lambda q, k, v, *_, **how: flops(q, k, v, None, **how),
    bytes=lambda q, k, v, *_, **__: 2 * q.nbytes + k.nbytes + v.nbytes,
    checks_indices=True,   # what lies beyond the keys is none
    todo={"per_sample": "keys and values may be shared by all samples"})


# ---- keys and values as bfloat16's bits

def is_stored(x) -> bool:
    return str(getattr(x, "dtype", "")).rpartition(".")[2] == "uint16"


def check_stored(q, k, v, begin, end, distance, *, scale, gqa):
    for name, x in (("key", k), ("value", v)):
        if not is_stored(x):
            raise ValueError(f"scaled_dot_product_attention: key and value must both be uint16, bfloat16's bits, or "
                             f"neither; {name} is {x.dtype}")
    return plan_within(*(None if x is None else tuple(x.shape) for x in (q, k, v, begin, end, distance)), gqa)


def stored_forward(k, q, key, v, begin, end, distance, *, scale, gqa):
    p, spans, by_distance = check_stored(q, key, v, begin, end, distance, scale=scale, gqa=gqa)
    y, logsum = k.empty(p.shape), k.empty(p.shape[:-1], k.acc)
    q_strides, k_strides, v_strides, _, y_strides = p.strides
    k.attention_stored(q, key, v, begin, end, distance, p.lead, p.sizes, q_strides, k_strides, v_strides, spans,
                       by_distance, y_strides, scale, y, logsum)
    return y, logsum


ATTENTION_STORED = Op(
    "attention_stored", "raajjo", stored_forward, reference.attention_stored, None, check_stored,
    kernels=("attention_stored",), flops=lambda q, k, v, *_, **how: flops(q, k, v, None, causal=False, **how),
    bytes=lambda q, k, v, *_, **__: 2 * q.nbytes + k.nbytes + v.nbytes, checks_indices=True,
    todo={"per_sample": "keys and values may be shared by all samples"})
