"""ONNX Runtime's attention (com.microsoft): projections, masks and caches around the attention row.

Masks of whole numbers add mask_filter_value where they hide; what causality hides gets no weight at
all. Sources: the operators' texts and ONNX Runtime's CPU kernels.
"""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...ops.gather import TAKE_ALONG
from ...ops.typed import as_type
from .attention import attend, compare, heads_of, merged
from .microsoft import OWN, rows_of
from .microsoft_quantised import plus, scaled
from .quantised import check_bytes, single, whole_matmul
from .row import Unsupported, needs, op, rank, traced
from .select import sliced

FILTER = -10000.0


def reshaped(v, *shape):
    return F.reshape(v, shape) if traced(v) else np.reshape(v, shape)


def hidden_by(call, mask, batch: int, queries: int, keys: int):
    """What a mask of whole numbers adds to scores: mask_filter_value where it hides. mask: (batch) how
    many keys count; (2 batch) where they end, then where they begin; (batch, keys) or (batch, queries,
    keys), above 0 where a query may look; (batch, 1, longest, longest) likewise, from the past's end on.
    """
    if mask is None:
        return None
    shape, place = tuple(mask.shape), np.arange(keys, dtype=np.int32)
    if shape in ((batch,), (2 * batch,)):
        ends = sliced(mask, {0: slice(batch)})
        seen = below(place, reshaped(ends, batch, 1, 1, 1))
        if shape[0] == 2 * batch:
            begins = reshaped(sliced(mask, {0: slice(batch, None)}), batch, 1, 1, 1)
            late = F.ge(place, begins) if traced(mask) else place >= begins
            seen = F.logical_and(seen, late) if traced(mask) else seen & late
    elif shape in ((batch, keys), (batch, queries, keys)):
        seen = positive(reshaped(mask, batch, 1, -1 if len(shape) == 3 else 1, keys))
    elif len(shape) == 4 and shape[:2] == (batch, 1) and min(shape[2:]) >= keys:
        seen = positive(sliced(mask, {2: slice(keys - queries, keys), 3: slice(keys)}))
    else:
        raise Unsupported(f"a mask of shape {shape} for {batch} samples, {queries} queries and {keys} keys")
    value = np.float32(call.attr("mask_filter_value", FILTER))
    return F.where(seen, np.float32(0), value) if traced(seen) else np.where(seen, np.float32(0), value)


def below(place, ends):
    return F.lt(place, ends) if traced(ends) else place < ends


def positive(mask):
    return F.gt(mask, np.zeros((), mask.dtype)) if traced(mask) else mask > 0


def behind(past, fresh):
    """Keys or values of the past, (batch, heads, length, size), and new ones."""
    if past is None:
        return fresh
    if rank(past) != 4 or past.shape[:2] != fresh.shape[:2] or past.shape[3] != fresh.shape[3]:
        raise ValueError(f"a past of shape {tuple(past.shape)} for {tuple(fresh.shape)}")
    return F.cat((past, fresh), 2) if past.shape[2] else fresh


def causal_mask(call, queries: int, keys: int):
    """(queries, keys), True where a query may look: up to itself, behind a past. None for all."""
    if not call.attr("unidirectional", 0):
        return None
    return compare(keys - queries + np.arange(queries)[:, None] - np.arange(keys), 0, None)


def scale_of(call):
    return call.attr("scale", 0.0) or None


def parts_of(x, sizes):
    """An array cut along its last axis."""
    ends = np.cumsum([0, *sizes]).tolist()
    return [sliced(x, {rank(x) - 1: slice(a, b)}) for a, b in zip(ends, ends[1:])]


def self_attention(call, projected, sizes, mask, past, bias):
    """Attention of queries, keys and values that lie beside each other: (result, present or None)."""
    heads = call.attr("num_heads", 0)
    if call.attr("do_rotary", 0) or call.attr("past_present_share_buffer", 0):
        raise Unsupported("do_rotary or past_present_share_buffer")
    q, k, v = (heads_of(part, heads, "a projection") for part in parts_of(projected, sizes))
    if past is not None:
        if rank(past) != 5 or past.shape[0] != 2:
            raise ValueError(f"a past of shape {tuple(past.shape)}, not (2, batch, heads, length, size)")
        old = [reshaped(sliced(past, {0: slice(i, i + 1)}), *past.shape[1:]) for i in range(2)]
        k, v = behind(old[0], k), behind(old[1], v)
    masks = [hidden_by(call, mask, q.shape[0], q.shape[2], k.shape[2]), bias,
             causal_mask(call, q.shape[2], k.shape[2])]
    y, _ = attend(call, q, k, v, masks, scale=scale_of(call))
    return merged(y), F.stack((k, v), 0) if call.wants(1) else None


@op(f"{OWN}.Attention")
def attention(call):
    """Projects (batch, length, inputs) to queries, keys and values, and attends."""
    needs(call, 2)
    x, weight, offset, mask, past, bias = (call[i] for i in range(6))
    if rank(x) != 3 or rank(weight) != 2 or x.shape[2] != weight.shape[0]:
        raise ValueError(f"an input of shape {tuple(x.shape)} and weights of {tuple(weight.shape)}")
    sizes = call.attr("qkv_hidden_sizes") or [weight.shape[1] // 3] * 3
    if len(sizes) != 3 or sum(sizes) != weight.shape[1] or min(sizes) < 0:
        raise ValueError(f"qkv_hidden_sizes {list(sizes)[:8]} of {weight.shape[1]} columns")
    call.work(x.shape[0] * x.shape[1] * weight.shape[0] * weight.shape[1])
    if traced(weight):
        projected = plus(F.matmul(x, weight), offset)
    else:
        known_offset = offset is not None and not traced(offset)
        projected = F.linear(x, np.ascontiguousarray(weight.T), offset if known_offset else None)
        projected = projected if known_offset else plus(projected, offset)
    return self_attention(call, projected, sizes, mask, past, bias)


@op(f"{OWN}.QAttention")
def quantised_attention(call):
    """The same with an input and weights of bytes, whose product is exact."""
    needs(call, 5)
    x, weight, offset, x_scale, scale, mask, x_zero, zero, past = (call[i] for i in range(9))
    check_bytes(x, weight)
    if rank(weight) != 2 or weight.shape[1] % 3:
        raise ValueError(f"weights of shape {tuple(weight.shape)}")
    total = whole_matmul(call, x, weight, single(x_zero), single(zero))
    projected = plus(scaled(total, single(x_scale), single(scale)), offset)
    return self_attention(call, projected, [weight.shape[1] // 3] * 3, mask, past, None)


@op(f"{OWN}.MultiHeadAttention")
def multi_head_attention(call):
    """(batch, length, heads * size) queries, keys and values, in one array where they are packed; or
    keys and values of heads apart, which are a past of another sequence.
    """
    needs(call, 1)
    q, k, v, offset, mask, bias, past_k, past_v = (call[i] for i in range(8))
    heads = call.attr("num_heads", 0)
    if call[8] is not None or call[9] is not None or call.wants(3):
        raise Unsupported("past_sequence_length, cache_indirection or the output qk")
    if rank(q) == 5:  # (batch, length, heads, 3, size)
        q, k, v = unpacked_heads(q, 3)
    elif k is not None and rank(k) == 5:
        k, v = unpacked_heads(k, 2)
    if k is None or v is None:
        raise ValueError("takes a query, keys and values")
    if offset is not None:
        width, wide = q.shape[2], v.shape[2] if rank(v) == 3 else v.shape[1] * v.shape[3]
        first, second, third = parts_of(offset, [width, width, wide])
        q = F.add(q, first)
        k, v = (k, v) if rank(k) == 4 else (F.add(k, second), F.add(v, third))
    q = heads_of(q, heads, "the query")
    if rank(k) == 3:
        k, v = behind(past_k, heads_of(k, heads, "keys")), behind(past_v, heads_of(v, heads, "values"))
    masks = [hidden_by(call, mask, q.shape[0], q.shape[2], k.shape[2]), bias,
             causal_mask(call, q.shape[2], k.shape[2])]
    y, _ = attend(call, q, k, v, masks, scale=scale_of(call))
    return merged(y), *((k, v) if call.wants(1) or call.wants(2) else (None, None))


def unpacked_heads(x, count: int):
    """(batch, length, heads, count, size) as `count` arrays of (batch, length, heads * size)."""
    b, n, h, c, d = x.shape
    if c != count:
        raise ValueError(f"a packed operand of shape {tuple(x.shape)}, whose fourth axis should be {count}")
    return [reshaped(sliced(x, {3: slice(i, i + 1)}), b, n, h * d) for i in range(c)]


# ---- rotary embeddings


def rotated(x, cos, sin, interleaved: bool):
    """The first entries of (batch, heads, length, size) turned by angles (batch or 1, length, half)."""
    half = cos.shape[-1]
    cos, sin = (reshaped(v, v.shape[0], 1, *v.shape[1:]) for v in (cos, sin))
    if 2 * half > x.shape[-1]:
        raise ValueError(f"caches of {half} columns for heads of {x.shape[-1]}")
    return F.rotary_embedding(x, cos, sin, interleaved)


def angles(call, caches, places):
    """The rows of both caches that places (batch or 1, length) name."""
    return [rows_of(call, cache, places) for cache in caches]


@op(f"{OWN}.RotaryEmbedding")
def rotary_embedding(call):
    needs(call, 4)
    x, places, caches = call[0], call[1], (call[2], call[3])
    flat, size = rank(x) == 3, 2 * caches[0].shape[1]
    if rank(x) not in (3, 4) or call.attr("is_packed_batching", 0) or call.attr("scale", 1.0) != 1:
        raise Unsupported(f"an input of shape {tuple(x.shape)}, packed batches or a scale")
    if flat:
        heads = call.attr("num_heads", 0) if call.attr("rotary_embedding_dim", 0) else x.shape[2] // max(size, 1)
        x = heads_of(x, heads, "an input")
    b, _, n, _ = x.shape
    if tuple(places.shape) == (1,):  # where the first stands
        steps = np.arange(n)[None]
        places = F.add(as_type(places, np.int64), steps) if traced(places) else places.astype(np.int64) + steps
    elif tuple(places.shape) != (b, n):
        raise ValueError(f"position_ids of shape {tuple(places.shape)}, takes (1,) or {(b, n)}")
    y = rotated(x, *angles(call, caches, places), bool(call.attr("interleaved", 0)))
    return merged(y) if flat else y


# ---- GroupQueryAttention


@op(f"{OWN}.GroupQueryAttention")
def group_query_attention(call):
    """Causal attention of a few heads of keys and values for many of queries, with a cache of them.

    seqlens_k: how many keys each sample has in all, less one; total_sequence_length: the most of
    them. New keys come behind the sample's old ones in a cache that is as long as the past's, or as
    all keys.
    """
    needs(call, 1)
    q, k, v, past_k, past_v, last, _, cos, sin, places, bias, sink = (call[i] for i in range(12))
    heads, own = call.attr("num_heads", 0), call.attr("kv_num_heads", 0)
    if last is None or call[6] is None or call.wants(3):
        raise Unsupported("no seqlens_k or total_sequence_length, or the output output_qk")
    if k is None:
        size, over = divmod(q.shape[2], max(heads + 2 * own, 1))
        if over:
            raise ValueError(f"a packed query of shape {tuple(q.shape)} for {heads} and {own} heads")
        q, k, v = parts_of(q, [heads * size, own * size, own * size])
    q, k, v = heads_of(q, heads, "the query"), heads_of(k, own, "keys"), heads_of(v, own, "values")
    total, (b, _, n, _) = call.number(6, "total_sequence_length"), q.shape
    old = 0 if past_k is None else past_k.shape[2]
    if not n <= total or tuple(last.shape) not in ((b,), (b, 1)):
        raise ValueError(f"total_sequence_length {total} and seqlens_k of shape {tuple(last.shape)} for "
                         f"{b} samples of {n}")
    # How many keys each sample had before: (batch, 1).
    if n == total:
        before = np.zeros((b, 1), np.int64)
    elif b == 1:
        before = np.full((1, 1), total - n, np.int64)
    else:
        before = reshaped(F.add(as_type(last, np.int64), 1 - n) if traced(last) else last.astype(np.int64) + 1 - n,
                          b, 1)
    if call.attr("do_rotary", 0):
        if cos is None or sin is None:
            raise ValueError("do_rotary takes cos_cache and sin_cache")
        steps = np.arange(n)[None]
        if places is None:
            places = F.add(before, steps) if traced(before) else before + steps
        turns = angles(call, (cos, sin), places)
        q, k = (rotated(x, *turns, bool(call.attr("rotary_interleaved", 0))) for x in (q, k))
    longest = max(total, old)
    k, v = (cached(call, past, fresh, before, longest) for past, fresh in ((past_k, k), (past_v, v)))
    keys, values = (sliced(x, {2: slice(total)}) if longest > total else x for x in (k, v))
    window = call.attr("local_window_size", -1)
    distance = reshaped(before, b, 1, 1, 1)
    offsets = np.arange(n)[:, None] - np.arange(total)
    distance = F.add(distance, offsets) if traced(distance) else distance + offsets
    masks = [compare(distance, 0, window if window >= 0 else None)]
    if bias is not None:
        masks.append(sliced(bias, {rank(bias) - 1: slice(total)}))
    smooth = sink if sink is not None else np.zeros(heads, np.float32) if call.attr("smooth_softmax", 0) else None
    y, _ = attend(call, q, keys, values, masks, scale=scale_of(call), softcap=call.attr("softcap", 0.0), sink=smooth)
    return merged(y), k, v


def cached(call, past, fresh, before, length: int):
    """The cache, (batch, heads, length, size): the first `before` of each sample's past, then what is
    new, then zeros."""
    b, h, n, d = fresh.shape
    if past is not None and (rank(past) != 4 or past.shape[:2] != (b, h) or past.shape[3] != d):
        raise ValueError(f"a past of shape {tuple(past.shape)} for {tuple(fresh.shape)}")
    old = 0 if past is None else past.shape[2]
    shape = call.room((b, h, length, d), fresh.dtype, copies=3)
    if not traced(before) and (before == before[0]).all():
        first = int(before[0, 0])
        if not 0 <= first <= old or first + n > length:
            raise ValueError(f"{first} keys of a past of {old}, and {n} new ones, in a cache of {length}")
        parts = [sliced(past, {2: slice(first)})] if first else []
        rest = length - first - n
        parts.append(fresh)
        if rest:
            parts.append(np.zeros((b, h, rest, d), fresh.dtype))
        return F.cat(parts, 2) if len(parts) > 1 else fresh
    nothing = np.zeros((b, h, 1, d), fresh.dtype)
    whole = F.cat(([past] if old else []) + [fresh, nothing], 2)
    place = np.arange(length, dtype=np.int64)[None]
    if traced(before):
        new = F.add(F.sub(place, before), np.int64(old))
        index = F.minimum(F.where(F.lt(place, before), place, new), np.int64(old + n))
    else:
        index = np.minimum(np.where(place < before, place, place - before + old), old + n)
    index = reshaped(index, b, 1, length, 1)
    index = F.broadcast_to(index, shape) if traced(index) else np.ascontiguousarray(np.broadcast_to(index, shape))
    if traced(whole, index):
        return TAKE_ALONG(whole, index, dim=2, wrap=False)
    return np.take_along_axis(whole, index, 2)
