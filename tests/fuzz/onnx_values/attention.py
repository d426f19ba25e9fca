"""Attention, linear attention, the convolution that looks back, rotary embeddings."""

from __future__ import annotations

import numpy as np

from .draw import FLOATS, recipe


@recipe("Attention")
def attention(d, op):
    d.opset, d.finite = d.pick(23, 24, 25), True
    batch, own, group, queries, keys = (d.r.randint(1, n) for n in (3, 2, 3, 5, 6))
    size, wide, past = d.r.randint(1, 5), d.r.randint(1, 5), d.r.randint(1, 4) if d.chance(0.3) else 0
    heads, dtype, flat = own * group, d.pick(*FLOATS[:4]), d.chance(0.3)
    shapes = (batch, heads, queries, size), (batch, own, keys, size), (batch, own, keys, wide)
    for b, h, n, s in shapes:
        d.operand((b, n, h * s) if flat else (b, h, n, s), dtype)
    attrs = {"q_num_heads": heads, "kv_num_heads": own} if flat else {}
    total = keys + past
    lengths = d.opset > 23 and not past and d.chance(0.3)
    mask, causal = d.pick("", "", "bool", "float"), d.pick(0, 1)
    if mask:
        shape = d.pick((queries, total), (1, heads, queries, total), (batch, 1, 1, total), (heads, 1, total))
        if causal:  # the reference takes a mask's axis of queries for theirs
            shape = (*shape[:-2], queries, total)
        if d.chance(0.2):  # what is missing is not seen
            shape = (*shape[:-1], d.r.randint(1, total) if shape[-1] > 1 else 1)
        if shape[-1] == 1 < total:  # which onnx's text takes for a mask of one key, NumPy for one of all
            shape = (*shape[:-1], total)
        d.operand(shape, bool if mask == "bool" else dtype, 0.4)
    elif past or lengths:
        d.absent()
    if past:
        d.operand((batch, own, past, size), dtype)
        d.operand((batch, own, past, wide), dtype)
        d.outputs = 3
    elif lengths:
        d.absent()
        d.absent()
        d.given(d.n.integers(1, keys + 1, batch), d.chance(0.3))
    attrs |= {"is_causal": causal, "softcap": d.pick(0.0, 0.0, 1.5)}
    if d.chance(0.3):
        attrs["scale"] = 0.4
    if d.opset > 24 and d.chance(0.4):
        attrs |= {"left_window_size": d.pick(-1, 0, 2), "right_window_size": d.pick(-1, 0, 1)}
    return attrs


@recipe("LinearAttention")
def linear_attention(d, op):
    d.opset, d.finite = 27, True
    batch, own, group, steps, size, wide = (d.r.randint(1, n) for n in (3, 2, 3, 4, 4, 4))
    rule, dtype = d.pick("linear", "gated", "delta", "gated_delta"), np.float32
    d.outputs = 2
    for count, width in ((own * group, size), (own, size), (own, wide)):
        d.operand((batch, steps, count * width), dtype)
    if d.chance(0.5):
        d.operand((batch, own, size, wide), dtype)
    elif rule != "linear":
        d.absent()
    if rule.startswith("gated"):
        d.operand((batch, steps, own * d.pick(1, size)), dtype)
    elif rule == "delta":
        d.absent()
    if rule.endswith("delta"):
        d.operand((batch, steps, d.pick(1, own)), dtype)
    return {"update_rule": rule, "q_num_heads": own * group, "kv_num_heads": own, "scale": d.pick(0.0, 0.5)}


@recipe("CausalConvWithState")
def causal_conv(d, op):
    d.opset, d.outputs = 27, 2
    batch, channels, length, kernel = (d.r.randint(1, n) for n in (3, 4, 7, 4))
    d.operand((batch, channels, length), np.float32)
    d.operand((channels, 1, kernel), np.float32, 0.7)
    d.operand((channels,), np.float32, 0.7) if d.chance(0.6) else d.absent()
    if d.chance(0.5):
        d.operand((batch, channels, kernel - 1), np.float32)
    return {"activation": d.pick("none", "silu", "swish")}


@recipe("RotaryEmbedding")
def rotary(d, op):
    d.opset, d.finite = 23, True
    batch, heads, length, half = (d.r.randint(1, n) for n in (3, 3, 4, 3))
    turned, flat = d.chance(0.4), d.chance(0.4)
    size = 2 * half + (2 * d.r.randint(0, 2) if turned else 0)
    d.operand((batch, length, heads * size) if flat else (batch, heads, length, size), np.float32)
    if d.chance(0.6):
        d.operand((9, half), np.float32, 0.6)
        d.operand((9, half), np.float32, 0.6)
        d.given(d.n.integers(0, 9, (batch, length)), d.chance(0.3))
    else:
        d.operand((batch, length, half), np.float32, 0.6)
        d.operand((batch, length, half), np.float32, 0.6)
    attrs = {"interleaved": d.pick(0, 1)}
    if flat:
        attrs["num_heads"] = heads
    return attrs | ({"rotary_embedding_dim": 2 * half} if turned else {})
