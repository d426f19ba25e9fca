"""Rows spelled out in rows that can be differentiated again and again: what create_graph=True takes the
gradient of, where a row's own gradient is one kernel that has no gradient itself.

A function here has its row's inputs and attributes and gives its results (the first ones, where the
others carry no gradient). tests/rows/test_second_derivatives.py holds each against its row.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.tape import OnTape
from . import activation
from .attention import with_dropout
from .elementwise import (
    abs,
    add,
    div,
    erf,
    exp,
    log,
    maximum,
    mul,
    neg,
    pow,
    rsqrt,
    sigmoid,
    sqrt,
    square,
    sub,
    tanh,
    where,
)
from .embedding import embedding
from .matmul import matmul
from .reduction import logsumexp, mean, sum
from .shape import broadcast_to, cat, permute, reshape, split, unsqueeze
from .softmax import log_softmax, softmax

loss = LateFunctions("pyops.kernels.loss.reference")
heads = LateFunctions("pyops.kernels.attention.reference")

# row's name -> what spells it out, and whether that is the slope of an activation
SPELLED: dict[str, tuple[Callable[..., Any], bool]] = {}


def spells(name: str, slope: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: function(*inputs, **attrs) gives the results of the row of this name, or its
    slope."""
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if name in SPELLED:
            raise ValueError(f"spells: {name} is spelled out twice")
        SPELLED[name] = function, slope
        return function
    return register


ROOT = math.sqrt(0.5)
PHI = 1 / math.sqrt(2 * math.pi)


def numbers(value: Any) -> np.ndarray:
    """The values of an array or Tensor, which are constants here."""
    return value.data if isinstance(value, OnTape) else value


# ---- activations. Their slopes are spelled out, not their values, whose parts may have kinks where the
# whole has none

def slope(name: str) -> Callable[..., Any]:
    """A decorator: the function is the slope of the activation of this name."""
    return spells(name, slope=True)


@slope("gelu")
def gelu(x):
    return add(mul(add(erf(mul(x, ROOT)), 1.0), 0.5), mul(x, mul(exp(mul(square(x), -0.5)), PHI)))


@slope("gelu_tanh")
def gelu_tanh(x):
    a, b = math.sqrt(2 / math.pi), 0.044715
    t = tanh(mul(add(x, mul(mul(square(x), x), b)), a))
    inner = mul(add(mul(square(x), 3 * b), 1.0), a)
    return add(mul(add(t, 1.0), 0.5), mul(mul(mul(x, 0.5), sub(1.0, square(t))), inner))


@slope("silu")
def silu(x):
    s = sigmoid(x)
    return mul(s, add(mul(x, sub(1.0, s)), 1.0))


@slope("mish")
def mish(x):
    t = tanh(activation.softplus(x))
    return add(t, mul(mul(x, sub(1.0, square(t))), sigmoid(x)))


@slope("scaled_tanh")
def scaled_tanh(x):
    """Of 1.7159 tanh(2 x / 3)."""
    return mul(sub(1.0, square(tanh(mul(x, 2 / 3)))), 1.7159 * 2 / 3)


@slope("logsigmoid")
def logsigmoid(x):
    return sigmoid(neg(x))


@slope("softplus")
def softplus(x, beta, threshold):
    return where(numbers(x) * beta > threshold, 1.0, sigmoid(mul(x, beta)))


@slope("softsign")
def softsign(x):
    return div(1.0, square(add(abs(x), 1.0)))


@slope("elu")
def elu(x, alpha, scale, inner):
    below = np.asarray(numbers(x) <= 0)
    return where(below, mul(exp(mul(where(below, x, 0.0), inner)), alpha * scale * inner), scale)


@slope("hardswish")
def hardswish(x):
    values = numbers(x)
    return where(values <= -3, 0.0, where(values >= 3, 1.0, div(add(mul(x, 2.0), 3.0), 6.0)))


@spells("prelu")
def prelu(x, weight):
    if weight.size > 1:
        weight = reshape(weight, (1, -1) + (1,) * (len(x.shape) - 2) if len(x.shape) > 1 else weight.shape)
    return where(np.asarray(numbers(x) > 0), x, mul(x, weight))


# ---- reductions

def kept(value, x, dims):
    """A reduction's result with the axes that it left out."""
    return reshape(value, tuple(1 if axis in dims else n for axis, n in enumerate(x.shape)))


def extreme(x, y, dims):
    """The mean of those that are the largest or smallest."""
    largest = numbers(x) == numbers(y)
    share = (largest / largest.sum(dims, keepdims=True)).astype(x.dtype)
    return sum(mul(where(largest, x, 0.0), share), dims)


@spells("amax")
def spelled_amax(x, dims, shape):
    return reshape(extreme(x, numbers(x).max(dims, keepdims=True), dims), shape)


@spells("amin")
def spelled_amin(x, dims, shape):
    return reshape(extreme(x, numbers(x).min(dims, keepdims=True), dims), shape)


@spells("var")
def var(x, dims, shape, count, correction, root):
    away = sub(x, mean(x, dims, keepdim=True))
    left = count - correction if count > correction else 0
    found = reshape(div(sum(square(away), dims), float(left)) if left else sum(mul(away, np.nan), dims), shape)
    return sqrt(found) if root else found


@spells("logsumexp")
def spelled_logsumexp(x, dims, shape):
    top = numbers(x).max(dims, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    return reshape(add(log(sum(exp(sub(x, top)), dims, keepdim=True)), top), shape)


@spells("norm")
def norm(x, dims, shape, p):
    size = abs(x)
    if p == math.inf or p == -math.inf:
        found = numbers(size).max(dims, keepdims=True) if p > 0 else numbers(size).min(dims, keepdims=True)
        return reshape(extreme(size, found, dims), shape)
    if p == 1:
        return reshape(sum(size, dims), shape)
    if p == 0:
        return reshape(mul(sum(size, dims), 0.0), shape)
    total = sum(square(x) if p == 2 else pow(where(numbers(x) == 0, 1.0, size), p) if p < 2 else pow(size, p), dims)
    none = numbers(total) == 0   # their gradient is 0
    found = pow(where(none, 1.0, total), 1 / p)
    return reshape(where(none, 0.0, found), shape)


@spells("softmax")
def spelled_softmax(x, dim):
    values = exp(sub(x, numbers(x).max(dim, keepdims=True, initial=-np.inf)))
    return div(values, sum(values, dim, keepdim=True))


@spells("log_softmax")
def spelled_log_softmax(x, dim):
    away = sub(x, numbers(x).max(dim, keepdims=True, initial=-np.inf))
    return sub(away, log(sum(exp(away), dim, keepdim=True)))


# ---- norms

def affine(y, weight, bias):
    """weight and bias by channel."""
    by_channel = (1, -1) + (1,) * (len(y.shape) - 2)
    y = y if weight is None else mul(y, reshape(weight, by_channel))
    return y if bias is None else add(y, reshape(bias, by_channel))


def normalised(x, axes, eps):
    away = sub(x, mean(x, axes, keepdim=True))
    return mul(away, rsqrt(add(mean(square(away), axes, keepdim=True), eps)))


@spells("batch_norm_training")
def batch_norm_training(x, weight, bias, eps):
    return affine(normalised(x, (0, *range(2, len(x.shape))), eps), weight, bias)


@spells("batch_norm")
def batch_norm(x, mean, var, weight, bias, eps):
    by_channel = (1, -1) + (1,) * (len(x.shape) - 2)
    mean, var = (reshape(v, by_channel) for v in (numbers(mean), numbers(var)))
    return affine(div(sub(x, mean), np.sqrt(var + eps).astype(x.dtype)), weight, bias)


@spells("group_norm")
def group_norm(x, weight, bias, groups, eps):
    grouped = reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    return affine(reshape(normalised(grouped, 2, eps), tuple(x.shape)), weight, bias)


@spells("layer_norm")
def layer_norm(x, weight, bias, ndim, eps):
    y = normalised(x, tuple(range(len(x.shape) - ndim, len(x.shape))), eps)
    y = y if weight is None else mul(y, weight)
    return y if bias is None else add(y, bias)


@spells("rms_norm")
def rms_norm(x, weight, ndim, eps):
    axes = tuple(range(len(x.shape) - ndim, len(x.shape)))
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    y = mul(x, rsqrt(add(mean(square(x), axes, keepdim=True), eps)))
    return y if weight is None else mul(y, weight)


@spells("local_response_norm")
def local_response_norm(x, size, alpha, beta, k):
    before, after, channels = size // 2, (size - 1) // 2, x.shape[1]
    away = np.arange(channels) - np.arange(channels)[:, None]   # [c, d]: channel d is seen by c
    seen = ((-before <= away) & (away <= after)).astype(x.dtype)
    flat = reshape(square(x), (*x.shape[:2], math.prod(x.shape[2:])))
    total = reshape(matmul(seen, flat), tuple(x.shape))
    return div(x, pow(add(mul(total, alpha / size), k), beta))


# ---- losses

def bounded_log(x):
    return maximum(log(x), -100.0)


def stirling(t, full):
    above = np.asarray(numbers(t) > 1)
    if not full or not above.any():
        return 0.0
    s = where(above, t, 1.0)
    return where(above, add(sub(mul(s, log(s)), s), mul(log(mul(s, 2 * math.pi)), 0.5)), 0.0)


def of_distance(near):
    """near(d, p) where |d| < p, and a line beyond."""
    def formula(x, t, v, p, q):
        d = sub(x, t)
        return where(np.abs(numbers(d)) < p, near[0](d, p), near[1](abs(d), p))
    return formula


def focal(x, t, v, p, q):
    s, other_s = sigmoid(x), sigmoid(neg(x))
    ce = sub(activation.softplus(x), mul(t, x))
    other = add(mul(s, sub(1.0, t)), mul(other_s, t))
    found = mul(pow(other, q), ce) if q else ce
    return found if p < 0 else mul(found, add(mul(t, p), mul(sub(1.0, t), 1 - p)))


def gaussian(x, t, v, p, q):
    v = where(np.asarray(numbers(v) < p), p, v)
    return add(mul(add(log(v), div(square(sub(x, t)), v)), 0.5), q)


def hinge_embedding(x, t, v, p, q):
    labels, near = numbers(t), numbers(x) <= p
    return add(where((labels != 1) & near, sub(p, x), 0.0), where(labels != -1, x, 0.0))


def margin_ranking(x, t, v, p, q):
    found = sub(float(p), mul(t, sub(x, v)))
    return where(numbers(found) >= 0, found, 0.0)


def bce_with_logits(x, t, v, p, q):
    weight = add(mul(sub(v, 1.0), t), 1.0) if v is not None else None
    tail = activation.softplus(neg(x))
    return add(mul(sub(1.0, t), x), tail if weight is None else mul(weight, tail))


POINTWISE = {
    "l1_loss": lambda x, t, v, p, q: abs(sub(x, t)),
    "mse_loss": lambda x, t, v, p, q: square(sub(x, t)),
    "smooth_l1_loss": of_distance((lambda d, p: div(square(d), 2 * p), lambda d, p: sub(d, p / 2))),
    "huber_loss": of_distance((lambda d, p: mul(square(d), 0.5), lambda d, p: mul(sub(d, p / 2), p))),
    "binary_cross_entropy": lambda x, t, v, p, q: sub(mul(sub(t, 1.0), bounded_log(sub(1.0, x))),
                                                      mul(t, bounded_log(x))),
    "binary_cross_entropy_with_logits": bce_with_logits,
    "kl_div": lambda x, t, v, p, q: sub(
        where(numbers(t) == 0, 0.0, mul(t, log(where(numbers(t) == 0, 1.0, t)))), mul(t, x)),
    "kl_div_log_target": lambda x, t, v, p, q: mul(exp(t), sub(t, x)),
    "sigmoid_focal_loss": focal,
    "poisson_nll_loss": lambda x, t, v, p, q: add(sub(exp(x), mul(t, x)), stirling(t, p)),
    "poisson_nll_loss_of_rate": lambda x, t, v, p, q: add(sub(x, mul(t, log(add(x, q)))), stirling(t, p)),
    "gaussian_nll_loss": gaussian,
    "soft_margin_loss": lambda x, t, v, p, q: activation.softplus(neg(mul(t, x))),
    "hinge_embedding_loss": hinge_embedding,
    "margin_ranking_loss": margin_ranking,
}


def pointwise(formula):
    def spelled(x, t, v, weight, p, q, each, count):
        found = formula(x, t, v, p, q)
        found = found if weight is None else mul(found, weight)
        if each:
            return found
        return div(sum(found), float(numbers(weight).sum()) if count == -1 else float(count))
    return spelled


for name, formula in POINTWISE.items():
    spells(name)(pointwise(formula))


def reduced(found, counts, reduction):
    return (found if reduction == "none" else sum(found) if reduction == "sum"
            else div(sum(found), float(np.sum(counts))))


@spells("cross_entropy")
def cross_entropy(x, index, probabilities, weight, ignore, smoothing, reduction):
    axis, values, weights = loss.class_axis(x), numbers(x), None if weight is None else numbers(weight)
    index = None if index is None else numbers(index)
    if probabilities is None:
        share = loss.coefficients(values, index, None, weights, ignore, smoothing).astype(x.dtype)
    else:
        share = add(mul(probabilities, 1 - smoothing), smoothing / x.shape[axis])
        share = share if weight is None else mul(share, loss.per_class(weights, values))
    found = neg(sum(mul(share, log_softmax(x, axis)), axis))
    return reduced(found, loss.counts(values, index, weights, ignore), reduction)


@spells("nll_loss")
def nll_loss(x, index, weight, ignore, reduction):
    values, index, weights = numbers(x), numbers(index), None if weight is None else numbers(weight)
    share = loss.coefficients(values, index, None, weights, ignore, 0).astype(x.dtype)
    return reduced(neg(sum(mul(share, x), loss.class_axis(x))), loss.counts(values, index, weights, ignore), reduction)


@spells("glu")
def glu(x, dim):
    value, gate = split(x, [x.shape[dim] // 2] * 2, dim)
    return mul(value, sigmoid(gate))


@spells("squared_euclidean")
def squared_euclidean(x, w):
    return sum(square(sub(unsqueeze(x, 1), w)), 2)


@spells("lenet5_loss")
def lenet5_loss(y, index, j, reduction):
    own = np.eye(y.shape[1], dtype=y.dtype)[numbers(index)]
    others = logsumexp(cat([np.full((y.shape[0], 1), -j, y.dtype), neg(y)], 1), 1)
    return reduced(add(sum(mul(y, own), 1), others), y.shape[0], reduction)


# ---- attention

@spells("attention")
def attention(q, k, v, mask, causal, scale, gqa):
    if gqa:
        k, v = (repeated(x, q.shape[-3] // x.shape[-3]) for x in (k, v))
    last = len(k.shape)
    s = mul(matmul(q, permute(k, (*range(last - 2), last - 1, last - 2))), scale)
    s = s if mask is None else add(s, mask)
    seen = np.isfinite(numbers(s))
    if causal:
        seen = seen & np.tri(*s.shape[-2:], dtype=bool)
    weights = mul(softmax(where(seen, s, -1e30), -1), seen.astype(q.dtype))
    return matmul(weights, v)


@spells("attention_within")
def attention_within(q, k, v, begin, end, distance, causal, scale, gqa):
    rows, keys = q.shape[-2], k.shape[-2]
    hidden = heads.hidden_or_added(numbers(q), numbers(k), begin, end, None)
    if distance is None:
        return attention(q, k, v, hidden, causal, scale, gqa)
    *lead, count = distance.shape
    table = permute(reshape(distance, (math.prod(lead), count)), (1, 0))
    at = np.arange(keys) - np.arange(rows)[:, None] + rows - 1
    added = reshape(permute(embedding(at, table), (2, 0, 1)), (*lead, rows, keys))
    return attention(q, k, v, add(added, hidden), causal, scale, gqa)


@spells("attention_dropped")
def attention_dropped(q, k, v, mask, **how):
    return with_dropout(q, k, v, mask, **how)[0]


def repeated(x, times):
    """Each head `times` times."""
    *lead, heads, rows, columns = x.shape
    wide = broadcast_to(reshape(x, (*lead, heads, 1, rows, columns)), (*lead, heads, times, rows, columns))
    return reshape(wide, (*lead, heads * times, rows, columns))
