"""Scaled dot-product attention in NumPy: the definitions."""
import numpy as np

from ..dropout.reference import words


def shared(x, heads, gqa):
    """Keys or values (..., H, S, E) repeated so that every one of `heads` query heads has its
    own."""
    return np.repeat(x, heads // x.shape[-3], -3) if gqa else x


def scores(q, k, mask, causal, scale):
    s = q @ k.swapaxes(-1, -2) * np.asarray(scale, q.dtype)
    if mask is not None:
        s = s + mask
    if causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, np.asarray(-np.inf, s.dtype))
    return s


def attention(q, k, v, mask, *, causal, scale, gqa):
    """The result, and log(sum of e^score) of every query. A query whose scores are all -inf gives
    zeros, and +inf as its log-sum-exp: so e^(score - logsum) are its weights, zeros, too."""
    heads = q.shape[-3] if gqa else 0
    k, v = shared(k, heads, gqa), shared(v, heads, gqa)
    s = scores(q, k, mask, causal, scale)
    top = s.max(-1, keepdims=True, initial=-np.inf)
    none = top == -np.inf
    with np.errstate(invalid="ignore"):
        e = np.exp(s - np.where(none, 0, top))
        total = np.where(none, 1, e.sum(-1, keepdims=True))
        logsum = np.where(none, np.inf, top + np.log(total))[..., 0]
        y = (e / total) @ v
    lead = np.broadcast_shapes(y.shape[:-2], logsum.shape[:-1])
    return y.astype(q.dtype), np.broadcast_to(logsum, lead + logsum.shape[-1:]).astype(q.dtype)


def attention_backward(dy, q, k, v, mask, y, logsum, *, causal, scale, gqa):
    heads = q.shape[-3] if gqa else 0
    ks, vs = shared(k, heads, gqa), shared(v, heads, gqa)
    p = np.exp(scores(q, ks, mask, causal, scale) - logsum[..., None])
    slope = p * (dy @ vs.swapaxes(-1, -2) - (dy * y).sum(-1, keepdims=True))
    scale = np.asarray(scale, q.dtype)
    dq, dk, dv = slope @ ks * scale, slope.swapaxes(-1, -2) @ q * scale, p.swapaxes(-1, -2) @ dy
    return sum_to(dq, q.shape, gqa), sum_to(dk, k.shape, gqa), sum_to(dv, v.shape, gqa)


def sum_to(x, shape, gqa):
    """x (..., H, rows, columns) added up over the axes and, with gqa, the groups of heads that
    `shape` was repeated along."""
    if gqa and x.shape[-3] != shape[-3]:
        x = x.reshape(*x.shape[:-3], shape[-3], x.shape[-3] // shape[-3] if shape[-3] else 1,
                      *x.shape[-2:]).sum(-3)
    if x.shape == tuple(shape):   # a sum over no axis would be a copy
        return x
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return x.sum(tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1), keepdims=True)


def hidden_or_added(q, k, begin, end, distance):
    """The mask that spans of keys and numbers by distance stand for, (..., L, S)."""
    L, S = q.shape[-2], k.shape[-2]
    at = np.arange(S)
    mask = np.zeros((L, S), q.dtype)
    if distance is not None:
        mask = mask + distance[..., at - np.arange(L)[:, None] + L - 1]
    for edge, outside in ((begin, np.less), (end, np.greater_equal)):
        if edge is not None:
            mask = np.where(outside(at, edge[..., None]), np.asarray(-np.inf, q.dtype), mask)
    return mask


def attention_within(q, k, v, begin, end, distance, *, causal, scale, gqa):
    """attention of the keys begin .. end - 1 of each query, with `distance` added to the scores by key -
    query + L - 1. Keys that no query sees, and their values, may be NaN."""
    mask = hidden_or_added(q, k, begin, end, distance)
    seen = (mask != -np.inf).any(-2)[..., None]
    k, v = (np.where(seen, shared(x, q.shape[-3] if gqa else 0, gqa), np.asarray(0, x.dtype)) for x in (k, v))
    return attention(q, k, v, mask, causal=causal, scale=scale, gqa=False)


def attention_within_backward(dy, q, k, v, begin, end, distance, y, logsum, *, causal, scale, gqa):
    mask = hidden_or_added(q, k, begin, end, distance)
    grads = attention_backward(dy, q, k, v, mask, y, logsum, causal=causal, scale=scale, gqa=gqa)
    if distance is None:
        return grads
    heads = q.shape[-3] if gqa else 0
    ks, vs = shared(k, heads, gqa), shared(v, heads, gqa)
    p = np.exp(scores(q, ks, mask, causal, scale) - logsum[..., None])
    slope = p * (dy @ vs.swapaxes(-1, -2) - (dy * y).sum(-1, keepdims=True))
    L, S = slope.shape[-2:]
    by_distance = np.zeros((*slope.shape[:-2], max(0, L + S - 1)), q.dtype)
    for i in range(L):
        by_distance[..., L - 1 - i:L - 1 - i + S] += slope[..., i, :]
    return *grads, sum_to(by_distance, distance.shape, False)


def attention_stored(q, k, v, begin, end, distance, *, scale, gqa):
    """attention_within of keys and values that are bfloat16, its bits as uint16."""
    k, v = (widened(x).astype(q.dtype) for x in (k, v))
    return attention_within(q, k, v, begin, end, distance, causal=False, scale=scale, gqa=gqa)


def widened(bits):
    """float32 of bfloat16's bits: the upper half of a float's."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def kept(lead, queries, keys, seed, threshold, keep):
    """What the weights (..., L, S) are multiplied with: keep, or 0 where they are dropped."""
    shape = (*lead, queries, keys)
    return np.where(words(int(np.prod(shape, dtype=np.int64)), seed).reshape(shape) >= threshold, keep, 0.0)


def attention_dropped(q, k, v, mask, *, causal, scale, gqa, seed, threshold, keep):
    """attention, whose weights are multiplied with `kept` before the values are."""
    heads = q.shape[-3] if gqa else 0
    ks, vs = shared(k, heads, gqa), shared(v, heads, gqa)
    y, logsum = attention(q, ks, vs, mask, causal=causal, scale=scale, gqa=False)
    p = np.exp(scores(q, ks, mask, causal, scale) - logsum[..., None])
    p = p * kept(y.shape[:-2], q.shape[-2], k.shape[-2], seed, threshold, keep)
    return (p @ vs).astype(q.dtype), logsum


def attention_dropped_backward(dy, q, k, v, mask, y, logsum, *, causal, scale, gqa, seed, threshold, keep):
    heads = q.shape[-3] if gqa else 0
    ks, vs = shared(k, heads, gqa), shared(v, heads, gqa)
    p = np.exp(scores(q, ks, mask, causal, scale) - logsum[..., None])
    factors = kept(y.shape[:-2], q.shape[-2], k.shape[-2], seed, threshold, keep)
    slope = p * (dy @ vs.swapaxes(-1, -2) * factors - (dy * y).sum(-1, keepdims=True))
    dq, dk, dv = slope @ ks * scale, slope.swapaxes(-1, -2) @ q * scale, (p * factors).swapaxes(-1, -2) @ dy
    return tuple(sum_to(d, x.shape, gqa).astype(x.dtype) for d, x in ((dq, q), (dk, k), (dv, v)))
