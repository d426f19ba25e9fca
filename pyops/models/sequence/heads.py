"""What the Transformers share: heads of attention, a step over a cache, activations by the names of
Hugging Face's config.json."""
from __future__ import annotations

import math
from functools import partial

import numpy as np

from ... import functional as F
from ...core.backends import by_sample
from ...ops.attention import ATTENTION_STORED, ATTENTION_WITHIN, is_stored
from .packing import Spans

TANH_GELU = partial(F.gelu, approximate="tanh")
ACTIVATIONS = {
    "gelu": F.gelu, "gelu_python": F.gelu, **dict.fromkeys(
        ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), TANH_GELU),
    "quick_gelu": lambda x: F.mul(x, F.sigmoid(F.mul(x, 1.702))), "gelu_10": lambda x: F.clamp(F.gelu(x), -10, 10),
    "relu": F.relu, "relu6": F.relu6, "relu2": lambda x: F.square(F.relu(x)), "leaky_relu": F.leaky_relu,
    "silu": F.silu, "swish": F.silu, "mish": F.mish, "tanh": F.tanh, "sigmoid": F.sigmoid, "linear": lambda x: x,
}


def activation(name: str):
    """The function of that name. ValueError where there is none."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def check_ids(model: str, ids, vocabulary: int, what: str = "ids") -> None:
    """ValueError unless these are tokens (N, T), one at least in each row, of the vocabulary. Values
    are looked at where there are any yet."""
    if not hasattr(ids, "shape"):
        raise ValueError(f"{model}: {what} must be an array of tokens (N, T), got {type(ids).__name__}")
    if len(ids.shape) != 2:
        raise ValueError(f"{model}: {what} must be tokens (N, T), got shape {tuple(ids.shape)}")
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":   # the embedding names other types
        return
    if not ids.shape[1]:
        raise ValueError(f"{model}: {what} must have at least one token in each row, got shape {ids.shape}")
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary:
        raise ValueError(f"{model}: {what} must be from 0 to {vocabulary - 1}, got {ids.min()} to {ids.max()}")


def visible(mask, ids):
    """A mask (N, T), 1 or True at tokens and 0 at padding, as attention takes it. ValueError for
    another shape."""
    if mask is None:
        return None
    mask = mask if hasattr(mask, "shape") else np.asarray(mask)
    if tuple(mask.shape) != tuple(ids.shape):
        raise ValueError(f"mask must have the shape of ids, {tuple(ids.shape)}, got {tuple(mask.shape)}")
    mask = np.asarray(mask) != 0 if isinstance(mask, np.ndarray) else mask
    return F.reshape(mask, (mask.shape[0], 1, 1, mask.shape[1]))


def split_heads(x, heads: int):
    """(N, T, heads * E) as (N, heads, T, E)."""
    n, t, width = x.shape
    return F.permute(F.reshape(x, (n, t, heads, width // heads)), (0, 2, 1, 3))


def join_heads(x):
    """(N, heads, T, E) as (N, T, heads * E)."""
    n, heads, t, width = x.shape
    return F.reshape(F.permute(x, (0, 2, 1, 3)), (n, t, heads * width))


def attend_seen(query, key, value, seen, p: float = 0.0, scale: float | None = None):
    """Attention where `seen` is a mask, None, or Spans."""
    if isinstance(seen, Spans):
        return F.scaled_dot_product_attention(query, key, value, scale=scale, key_begin=seen.begin, key_end=seen.end)
    return F.scaled_dot_product_attention(query, key, value, seen, p, scale=scale)


def attend_to_past(query, key, value, past, scale: float | None = None, bias=None, own_bias=None):
    """One step of attention over a cache: the query sees the past and its own key.

    query, key, value: (N, heads, 1, E). past: keys and values (N, heads, C, E), floats or bfloat16's
    bits, and Spans (N, 1, 1) of the entries that count, one at least. bias: (1 or N, heads, C), added to scores of
    the past, own_bias (heads, 1, 1) to that of the own key. The past is attended as it lies, and
    joined with the own key by the sums of their exponentials, so that nothing is copied behind it.
    Within pyops.batch_invariant() attend_in_order instead.
    """
    keys, values, seen = past
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if by_sample.get():
        return attend_in_order(query, key, value, past, scale, bias)
    y, log_sum = (ATTENTION_STORED(query, keys, values, *seen, bias, scale=scale, gqa=False)
                  if is_stored(keys) else
                  ATTENTION_WITHIN(query, keys, values, *seen, bias, causal=False, scale=scale, gqa=False))
    own = F.mul(F.sum(F.mul(query, key), -1, keepdim=True), scale)
    if own_bias is not None:
        own = F.add(own, own_bias)
    share = F.sigmoid(F.sub(own, F.unsqueeze(log_sum, -1)))   # e^own / (e^own + e^log_sum)
    return F.add(y, F.mul(share, F.sub(value, y)))


def attend_in_order(query, key, value, past, scale: float, bias=None):
    """attend_to_past with the bits of attention over the whole text: the own key and value are put
    behind the past, in copies, and all are summed in one order. C counts the own entry's place, whose
    bias is the last that counts."""
    keys, values, seen = past
    own = F.eq(np.arange(int(keys.shape[2]))[:, None], F.unsqueeze(seen.end, -1))   # (N, 1, C, 1)
    keys, values = F.where(own, key, keys), F.where(own, value, values)
    return ATTENTION_WITHIN(query, keys, values, seen.begin, F.add(seen.end, 1), bias, causal=False, scale=scale,
                            gqa=False)[0]
