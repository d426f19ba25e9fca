"""Attention in its forms: ONNX's own, with modifiers, linear, and the convolution that goes with it.

Where no score is asked for and nothing is between scores and weights, one row computes it, which
never holds the scores; else products and a softmax do.
"""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...ops.typed import as_type
from ..limits import PER_NODE
from .row import op, rank, traced
from .select import sliced
from .shape import broadcast_shape


def heads_of(x, count: int, name: str):
    """(batch, length, heads * size) -> (batch, heads, length, size)."""
    if count < 1 or x.shape[2] % count:
        raise ValueError(f"{name} of shape {tuple(x.shape)} has no {count} heads")
    shape = (x.shape[0], x.shape[1], count, x.shape[2] // count)
    return F.permute(F.reshape(x, shape), (0, 2, 1, 3))


def merged(x):
    """(batch, heads, length, size) -> (batch, length, heads * size)."""
    b, h, n, d = x.shape
    return F.reshape(F.permute(x, (0, 2, 1, 3)), (b, n, h * d))


def repeated(x, heads: int):
    """Keys or values for each of `heads` query heads; each serves as many in a row."""
    b, own, n, d = x.shape
    if own == heads:
        return x
    if not own or heads % own:
        raise ValueError(f"{heads} heads of the query for {own} of keys and values")
    apart = F.broadcast_to(F.reshape(x, (b, own, 1, n, d)), (b, own, heads // own, n, d))
    return F.reshape(apart, (b, heads, n, d))


def additive(mask, dtype):
    """Truth values as what is added to scores: 0 where a query may look, else -inf."""
    if np.dtype(mask.dtype) != bool:
        return mask
    zero = np.zeros((), dtype)
    return F.where(mask, zero, zero - np.inf) if traced(mask) else np.where(mask, zero, zero - np.inf)


def summed(masks: list, dtype):
    """Several masks as one that is added to scores; None where there are none."""
    known = [m for m in masks if not traced(m) and m.dtype == bool]
    rest = [additive(m, dtype) for m in masks if not any(m is k for k in known)]
    if known:
        allowed = known[0]
        for m in known[1:]:
            allowed = allowed & m
        if not allowed.all() or not rest:
            rest.append(additive(allowed, dtype))
    total = None
    for m in rest:
        total = m if total is None else F.add(total, m)
    return total


def attend(call, q, k, v, masks=(), *, causal=False, scale=None, softcap=0.0, mode=None, scores_by=None,
           weights_by=None, sink=None):
    """softmax(q k^T scale + masks) v of (batch, heads, length, size), keys and values of as many
    heads or of a divisor of them; a query that may look nowhere gives zeros.

    causal: query i sees keys 0 .. i. mode: which scores are returned, too, as Attention has it:
    0 the products, 1 capped, 2 masked, 3 the weights. scores_by, weights_by: functions of the scores
    and of the weights. sink: (heads), a score of no key, which takes weight. Returns (result, scores
    or None).
    """
    (b, h, n, d), (_, own, m, _) = q.shape, k.shape
    if rank(v) != 4 or own < 1 or h % own or k.shape[3] != d or v.shape[:3] != k.shape[:3] or k.shape[0] != b:
        raise ValueError(
            f"a query of shape {tuple(q.shape)}, keys {tuple(k.shape)} and values {tuple(v.shape)} do not fit"
        )
    masks = [mask for mask in masks if mask is not None]
    for mask in masks:
        if broadcast_shape((b, h, n, m), tuple(mask.shape)) != (b, h, n, m):
            raise ValueError(f"a mask of shape {tuple(mask.shape)} for scores of shape {(b, h, n, m)}")
    call.room((b, h, n, m), q.dtype, copies=4)
    call.work(b * h * n * m * (d + v.shape[3]))
    scale = 1 / math.sqrt(max(d, 1)) if scale is None else scale
    whole = mode is None and not softcap and scores_by is None and weights_by is None and sink is None
    plain = whole and causal and not masks
    bias = summed([*masks, np.tri(n, m, dtype=bool)] if causal and not plain else masks, q.dtype)
    if whole:
        return F.scaled_dot_product_attention(q, k, v, bias, 0.0, plain, scale, own != h), None
    k, v = repeated(k, h), repeated(v, h)
    stages = [F.mul(F.matmul(q, F.transpose(k, -1, -2)), scale)]
    stages.append(F.mul(F.tanh(F.mul(stages[-1], 1 / softcap)), softcap) if softcap else stages[-1])
    stages.append(stages[-1] if bias is None else F.add(stages[-1], bias))
    scores = stages[-1] if scores_by is None else scores_by(stages[-1])
    weights = F.softmax(scores, -1) if sink is None else with_sink(scores, sink)
    if bias is not None:
        weights = where_any(bias, weights)
    stages.append(weights)
    weights = weights if weights_by is None else weights_by(weights)
    return F.matmul(weights, v), None if mode is None else stages[mode]


def with_sink(scores, sink):
    """The softmax of scores beside one more, a number a head, which is then left out."""
    b, h, n, m = scores.shape
    if tuple(sink.shape) != (h,):
        raise ValueError(f"a score of no key of shape {tuple(sink.shape)} for {h} heads")
    column = F.broadcast_to(F.reshape(as_type(sink, scores.dtype), (1, h, 1, 1)), (b, h, n, 1))
    return sliced(F.softmax(F.cat((scores, column), 3), -1), {3: slice(m)})


def where_any(bias, weights):
    """Weights of the queries that may look somewhere, zeros of others."""
    zero = np.zeros((), weights.dtype)
    if np.dtype(bias.dtype).kind in "iub":   # which have no infinity
        return weights
    if traced(bias):
        return F.where(F.eq(F.amax(bias, -1, True), zero - np.inf), zero, weights)
    none = np.isneginf(bias.max(-1, keepdims=True, initial=-np.inf) if bias.ndim else bias)
    if not none.any():
        return weights
    return F.where(none, zero, weights) if traced(weights) else np.where(none, zero, weights)


def padded(mask, length: int):
    """A mask whose last axis may be shorter than there are keys: what it does not say is not seen."""
    missing = length - mask.shape[-1]
    if missing <= 0 or mask.shape[-1] == 1:
        return mask
    fill = np.full((*mask.shape[:-1], missing), -np.inf if np.dtype(mask.dtype) != bool else False)
    fill = fill.astype(mask.dtype)
    return F.cat((mask, fill), -1) if traced(mask) else np.concatenate((mask, fill), -1)


def compare(distance, least, most):
    """least <= distance <= most, of whole numbers known or not; None for no bound."""
    found = None
    for bound, ours, numpys in ((least, F.ge, np.greater_equal), (most, F.le, np.less_equal)):
        if bound is not None:
            part = ours(distance, np.int64(bound)) if traced(distance) else numpys(distance, bound)
            both = found is not None
            found = part if not both else F.logical_and(found, part) if traced(part) else found & part
    return found


@op("Attention")
def attention(call):
    q, k, v, mask, past_k, past_v, lengths = (call[i] for i in range(7))
    flat = rank(q) == 3
    if rank(q) not in (3, 4) or rank(k) != rank(q) or rank(v) != rank(q):
        raise ValueError(f"shapes {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}: three or four axes each")
    if flat:
        counts = call.attr("q_num_heads", 0), *[call.attr("kv_num_heads", 0)] * 2
        q, k, v = (heads_of(x, c, n) for x, c, n in zip((q, k, v), counts, ("the query", "keys", "values")))
    if (past_k is None) != (past_v is None) or past_k is not None and lengths is not None:
        raise ValueError("takes past_key and past_value together, and none of them with nonpad_kv_seqlen")
    before = 0
    if past_k is not None:
        before = past_k.shape[2]
        k, v = F.cat((past_k, k), 2), F.cat((past_v, v), 2)
    queries, keys = q.shape[2], k.shape[2]
    masks = [None if mask is None else padded(mask, keys)]
    left, right = call.attr("left_window_size", -1), call.attr("right_window_size", -1)
    if left < -1 or right < -1:
        raise ValueError(f"left_window_size {left} and right_window_size {right} must be -1 or more")
    causal, offset = bool(call.attr("is_causal", 0)), before
    if lengths is not None:
        if tuple(lengths.shape) != (q.shape[0],):
            raise ValueError(f"nonpad_kv_seqlen of shape {tuple(lengths.shape)} for a batch of {q.shape[0]}")
        each = F.reshape(lengths, (-1, 1, 1, 1)) if traced(lengths) else np.reshape(lengths, (-1, 1, 1, 1))
        masks.append(compare(each - np.arange(1, keys + 1), 0, None))  # key j lies before the end
        offset = each - queries
    if causal and (before or lengths is not None) or left >= 0 or right >= 0:
        distance = offset + (np.arange(queries)[:, None] - np.arange(keys))  # query i stands at i + offset
        least = 0 if causal else None if right < 0 else -right
        masks.append(compare(distance, least, None if left < 0 else left))
        causal = False
    y, scores = attend(
        call, q, k, v, masks, causal=causal, scale=call.attr("scale"), softcap=call.attr("softcap", 0.0),
        mode=call.attr("qk_matmul_output_mode", 0) if call.wants(3) else None,
    )
    return merged(y) if flat else y, *((k, v) if call.wants(1) or call.wants(2) else (None, None)), scores


@op("ai.onnx.preview.FlexAttention")
def flex_attention(call):
    """With graphs between scores and weights, and behind these."""

    def by(name):
        body = call.attr(name)
        if body is None:
            return None

        def function(x):
            (y,) = call.evaluate(body, [x])
            if tuple(y.shape) != tuple(x.shape):
                raise ValueError(f"{name} makes {tuple(y.shape)} of {tuple(x.shape)}")
            return y

        return function

    if any(call[i] is None or rank(call[i]) != 4 for i in range(3)):
        raise ValueError("takes a query, keys and values of four axes")
    q, k, v = call.inputs[:3]
    y, _ = attend(call, q, k, v, scale=call.attr("scale"), scores_by=by("score_mod"), weights_by=by("prob_mod"))
    return y


RULES = {"linear": (False, False), "gated": (True, False), "delta": (False, True), "gated_delta": (True, True)}


@op("LinearAttention", keeps=True)
def linear_attention(call):
    """A state for each head that keys write values into and queries read: it may fade (gated), and
    only what it does not yet say may be written (delta). Step by step.
    """
    rule, heads, own = call.attr("update_rule", "gated_delta"), call.attr("q_num_heads"), call.attr("kv_num_heads")
    if rule not in RULES or heads < 1 or own < 1 or heads % own:
        raise ValueError(f"update_rule {rule!r}, {heads} heads of the query for {own}")
    fades, corrects = RULES[rule]
    to, state_to = call[0].dtype, (call[0] if call[3] is None else call[3]).dtype
    given = [None if v is None else as_type(v, np.float32) for v in (*call.inputs, None, None, None)[:6]]
    state, decay, beta = given[3:]
    if fades != (decay is not None) or corrects != (beta is not None):
        raise ValueError(f"update_rule {rule!r} takes {'a' if fades else 'no'} decay and "
                         f"{'a' if corrects else 'no'} beta")
    if any(rank(v) != 3 for v in (*given[:3], decay, beta) if v is not None):
        raise ValueError("takes operands of three axes, and a state of four")
    q, k, v = (heads_of(x, c, "an operand") for x, c in zip(given[:3], (heads, own, own)))
    (b, _, steps, size), wide = k.shape, v.shape[3]
    if state is not None and tuple(state.shape) != (b, own, size, wide):
        raise ValueError(f"a state of shape {tuple(state.shape)}, not {(b, own, size, wide)}")
    if state is None:
        state = np.zeros((b, own, size, wide), q.dtype)
    if fades:  # one number a head, or one for each entry of a key
        decay = F.permute(F.reshape(decay, (b, steps, own, -1)), (0, 2, 1, 3))
        if decay.shape[3] not in (1, size):
            raise ValueError(f"a decay of shape {tuple(call[4].shape)} for {own} heads of {size}")
        decay = F.exp(decay)
    if corrects:
        beta = F.permute(F.reshape(beta, (b, steps, -1, 1)), (0, 2, 1, 3))
        if beta.shape[1] not in (1, own):
            raise ValueError(f"a beta of shape {tuple(call[5].shape)} for {own} heads")
    scale = call.attr("scale", 0.0) or 1 / math.sqrt(max(size, 1))
    call.work(steps * (8 * PER_NODE + 4 * b * heads * size * wide))
    call.room((3, b, heads, size, wide))

    def at(x, t):
        return F.getitem(x, (slice(None), slice(None), slice(t, t + 1))) if traced(x) else x[:, :, t : t + 1]

    found = []
    for t in range(steps):
        key, value = at(k, t), at(v, t)  # (b, own, 1, size), (b, own, 1, wide)
        if fades:
            state = F.mul(state, F.transpose(at(decay, t), -1, -2))
        if corrects:
            value = F.mul(at(beta, t), F.sub(value, F.matmul(key, state)))
        state = F.add(state, F.mul(F.transpose(key, -1, -2), value))
        read = F.matmul(at(q, t), repeated(state, heads))
        found.append(F.mul(read, scale))
    if not found:
        return np.zeros((b, 0, heads * wide), to), as_type(state, state_to)
    y = merged(F.cat(found, 2) if len(found) > 1 else found[0])
    return as_type(y, to), as_type(state, state_to)


@op("CausalConvWithState")
def causal_conv(call):
    """A depthwise convolution that looks back: (batch, channels, length), in front of which lies the
    state that it leaves.
    """
    x, weight, bias, state = (call[i] for i in range(4))
    activation = call.attr("activation", "none")
    if rank(x) != 3 or rank(weight) != 3 or weight.shape[:2] != (x.shape[1], 1) or activation not in (
        "none", "silu", "swish"
    ):
        raise ValueError(
            f"an input of shape {tuple(x.shape)}, a weight {tuple(weight.shape)}, activation {activation!r}"
        )
    before = weight.shape[2] - 1
    if state is not None and tuple(state.shape) != (*x.shape[:2], before):
        raise ValueError(f"a state of shape {tuple(state.shape)}, not {(*x.shape[:2], before)}")
    if state is None:
        state = np.zeros((*x.shape[:2], before), x.dtype)
    whole = F.cat((state, x), 2) if before else x
    y = F.conv1d(whole, weight, bias, groups=x.shape[1])
    last = (slice(None), slice(None), slice(x.shape[2], None))
    left = F.getitem(whole, last) if traced(whole) else whole[last]
    return y if activation == "none" else F.silu(y), left
