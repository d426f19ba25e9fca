"""Losses in NumPy: the definitions. Classes lie on axis 1 of the logits, or on their only axis."""
import numpy as np


def reduced(loss, weight, reduction):
    """The loss as `reduction` wants it, and what it was divided by. mean divides by the sum of
    `weight`, one per loss."""
    one = np.ones((), loss.dtype)
    if reduction == "none":
        return loss, one
    if reduction == "sum":
        return np.asarray(loss.sum()), one
    with np.errstate(invalid="ignore", divide="ignore"):   # the mean of nothing is NaN
        divisor = np.asarray(weight.sum(), loss.dtype)
        return np.asarray(loss.sum() / divisor), divisor


def class_axis(x):
    return 0 if x.ndim == 1 else 1


def per_class(values, x):
    """values (C,) shaped to be broadcast against x."""
    return values.reshape((-1,) + (1,) * (x.ndim - 1 - class_axis(x)))


def one_hot(x, index, ignore):
    """Whether x's class is the index; nowhere where the index is ignored."""
    classes = per_class(np.arange(x.shape[class_axis(x)]), x)
    return (classes == np.expand_dims(index, class_axis(x))) & np.expand_dims(index != ignore, class_axis(x))


def over_classes(x, values, index, probabilities, weight, ignore, smoothing):
    """Sums over the classes of what their coefficients make of `values`, in two terms: the target's
    and smoothing's. A class that has no part in a term is not multiplied by 0, which would make NaN
    of an infinite or unknown value.
    """
    axis = class_axis(x)
    w = per_class(np.ones(x.shape[axis], x.dtype) if weight is None else weight, x)
    with np.errstate(invalid="ignore"):   # 0 times infinity is NaN
        if index is None:
            return (w * (probabilities * (1 - smoothing) + smoothing / x.shape[axis]) * values).sum(axis)
        hard = np.where(one_hot(x, index, ignore), w * (1 - smoothing) * values, 0).sum(axis)
        spread = np.expand_dims(index != ignore, axis) & (smoothing != 0)
        return hard + np.where(spread, w * (smoothing / x.shape[axis]) * values, 0).sum(axis)


def counts(x, index, weight, ignore):
    """What each position counts for in a mean."""
    if index is None:
        return np.ones_like(x.sum(class_axis(x)))
    return over_classes(x, np.ones_like(x), index, None, weight, ignore, 0)


def coefficients(x, index, probabilities, weight, ignore, smoothing):
    """What each class's -log p is multiplied by."""
    axis = class_axis(x)
    w = per_class(np.ones(x.shape[axis], x.dtype) if weight is None else weight, x)
    if index is None:
        return w * (probabilities * (1 - smoothing) + smoothing / x.shape[axis])
    spread = np.expand_dims(index != ignore, axis) & (smoothing != 0)
    return np.where(one_hot(x, index, ignore), w * (1 - smoothing),
                    0) + np.where(spread, w * (smoothing / x.shape[axis]), 0)


def log_softmax_parts(x):
    axis = class_axis(x)
    peak = x.max(axis, keepdims=True)
    return peak, np.log(np.exp(x - peak).sum(axis, keepdims=True))


def cross_entropy(x, index, probabilities, weight, *, ignore, smoothing, reduction):
    """Returns the loss, its divisor, and per position the peak of x, log sum e^(x - peak) and the
    sum of coefficients."""
    axis = class_axis(x)
    target = (index, probabilities, weight, ignore, smoothing)
    peak, logsum = log_softmax_parts(x)
    loss, mass = over_classes(x, peak - x + logsum, *target), over_classes(x, np.ones_like(x), *target)
    return (*reduced(np.asarray(loss), counts(x, index, weight, ignore), reduction), peak.squeeze(axis),
            logsum.squeeze(axis), np.asarray(mass))


def scales(g, divisor, x):
    """g per position, shaped to be broadcast against x."""
    g = g / divisor
    return np.expand_dims(g, class_axis(x)) if g.ndim else g


def cross_entropy_backward(g, x, index, probabilities, weight, divisor, peak, logsum, mass, *, ignore,
                           smoothing):
    axis = class_axis(x)
    a = coefficients(x, index, probabilities, weight, ignore, smoothing)
    peak, logsum, mass = (np.expand_dims(v, axis) for v in (peak, logsum, mass))
    return scales(g, divisor, x) * (mass * np.exp(x - peak - logsum) - a)


def cross_entropy_target_backward(g, x, weight, divisor, peak, logsum, *, smoothing):
    axis = class_axis(x)
    w = 1 if weight is None else per_class(weight, x)
    return scales(g, divisor,
                  x) * (1 - smoothing) * w * (np.expand_dims(peak, axis) - x + np.expand_dims(logsum, axis))


def nll_loss(x, index, weight, *, ignore, reduction):
    """Returns the loss and its divisor."""
    return reduced(np.asarray(-over_classes(x, x, index, None, weight, ignore, 0)),
                   counts(x, index, weight, ignore), reduction)


def nll_loss_backward(g, index, weight, divisor, *, ignore, shape):
    like = np.zeros(shape, g.dtype)
    return -coefficients(like, index, None, weight, ignore, 0) * scales(g, divisor, like)


# ---- losses of one element each: (value, slope for x, slope for t[, slope for v]), each of x, t,
# v, p, q. pointwise.cpp has the same order.

def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    return np.exp(-softplus(-x))


def bounded_log(x):
    return np.maximum(np.log(x), -100)


def stirling(t, full):
    """log t! by Stirling's formula where t > 1 and `full`."""
    s = np.where(t > 1, t, 1)
    return np.where((t > 1) & bool(full), s * np.log(s) - s + 0.5 * np.log(2 * np.pi * s), 0)


def stirling_slope(t, full):
    s = np.where(t > 1, t, 1)
    return np.where((t > 1) & bool(full), np.log(s) + 0.5 / s, 0)


def focal_parts(x, t, p):
    ce, other = softplus(x) - t * x, sigmoid(x) * (1 - t) + sigmoid(-x) * t
    return ce, other, np.ones_like(t) if p < 0 else p * t + (1 - p) * (1 - t)


def focal(x, t, v, p, q):
    ce, other, balance = focal_parts(x, t, p)
    return balance * other ** q * ce


def focal_slope_x(x, t, v, p, q):
    ce, other, balance = focal_parts(x, t, p)
    lower = q * other ** (q - 1) if q else 0
    return balance * ((sigmoid(x) - t) * other ** q + ce * lower * (1 - 2 * t) * sigmoid(x) * sigmoid(-x))


def focal_slope_t(x, t, v, p, q):
    ce, other, balance = focal_parts(x, t, p)
    lower = q * other ** (q - 1) if q else 0
    return ((0 if p < 0 else 2 * p - 1) * other ** q * ce
            + balance * (lower * (sigmoid(-x) - sigmoid(x)) * ce - other ** q * x))


def of_difference(value, slope):
    """A formula of x - t."""
    return (lambda x, t, v, p, q: value(x - t, p), lambda x, t, v, p, q: slope(x - t, p),
            lambda x, t, v, p, q: -slope(x - t, p))


FORMULAS = {
    "l1": of_difference(lambda d, p: np.abs(d), lambda d, p: np.sign(d)),
    "mse": of_difference(lambda d, p: d * d, lambda d, p: 2 * d),
    "smooth_l1": of_difference(lambda d, p: np.where(np.abs(d) < p, d * d / (2 * p), np.abs(d) - p / 2),
                               lambda d, p: np.where(np.abs(d) < p, d / p, np.sign(d))),
    "huber": of_difference(lambda d, p: np.where(np.abs(d) < p, d * d / 2, p * (np.abs(d) - p / 2)),
                           lambda d, p: np.where(np.abs(d) < p, d, p * np.sign(d))),
    "bce": (lambda x, t, v, p, q: (t - 1) * bounded_log(1 - x) - t * bounded_log(x),
            lambda x, t, v, p, q: (x - t) / np.maximum((1 - x) * x, 1e-12),
            lambda x, t, v, p, q: bounded_log(1 - x) - bounded_log(x)),
    "bce_with_logits": (lambda x, t, v, p, q: (1 - t) * x + ((v - 1) * t + 1) * softplus(-x),
                        lambda x, t, v, p, q: (1 - t) - ((v - 1) * t + 1) * sigmoid(-x),
                        lambda x, t, v, p, q: (v - 1) * softplus(-x) - x),
    "kl_div": (lambda x, t, v, p, q: np.where(t == 0, 0, t * np.log(np.where(t == 0, 1, t))) - t * x,
               lambda x, t, v, p, q: -t,
               lambda x, t, v, p, q: np.log(t) + 1 - x),
    "kl_div_log": (lambda x, t, v, p, q: np.exp(t) * (t - x),
                   lambda x, t, v, p, q: -np.exp(t),
                   lambda x, t, v, p, q: np.exp(t) * (t - x + 1)),
    "focal": (focal, focal_slope_x, focal_slope_t),
    "poisson_log": (lambda x, t, v, p, q: np.exp(x) - t * x + stirling(t, p),
                    lambda x, t, v, p, q: np.exp(x) - t,
                    lambda x, t, v, p, q: stirling_slope(t, p) - x),
    "poisson": (lambda x, t, v, p, q: x - t * np.log(x + q) + stirling(t, p),
                lambda x, t, v, p, q: 1 - t / (x + q),
                lambda x, t, v, p, q: stirling_slope(t, p) - np.log(x + q)),
    "gaussian": (lambda x, t, v, p, q: 0.5 * (np.log(np.maximum(v, p)) + (x - t) ** 2 / np.maximum(v, p)) + q,
                 lambda x, t, v, p, q: (x - t) / np.maximum(v, p),
                 lambda x, t, v, p, q: (t - x) / np.maximum(v, p),
                 lambda x, t, v, p, q: 0.5 / np.maximum(v, p) - 0.5 * ((x - t) / np.maximum(v, p)) ** 2),
    "soft_margin": (lambda x, t, v, p, q: softplus(-t * x),
                    lambda x, t, v, p, q: -t * sigmoid(-t * x),
                    lambda x, t, v, p, q: -x * sigmoid(-t * x)),
    "hinge_embedding": (lambda x, t, v, p, q: np.where(t != 1, np.maximum(p - x, 0), 0) + np.where(t != -1, x, 0),
                        lambda x, t, v, p, q: -1.0 * ((t != 1) & (x <= p)) + (t != -1)),
    "margin_ranking": (lambda x, t, v, p, q: np.maximum(p - t * (x - v), 0),
                       lambda x, t, v, p, q: np.where(p - t * (x - v) >= 0, -t, 0),
                       lambda x, t, v, p, q: np.where(p - t * (x - v) >= 0, v - x, 0),
                       lambda x, t, v, p, q: np.where(p - t * (x - v) >= 0, t, 0)),
}


def pointwise_loss(x, t, v, weight, *, formula, p, q, each, count):
    """Returns the loss, one an element or summed and divided by count (-1: by the sum of the
    weights), and the divisor."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        loss = np.asarray(FORMULAS[formula][0](x, t, 1 if v is None else v, p, q), x.dtype)
        loss = loss if weight is None else loss * weight
        divisor = np.asarray(weight.sum() if count == -1 else count, x.dtype)
        return loss if each else np.asarray(loss.sum() / divisor), divisor


def pointwise_loss_backward(g, x, t, v, weight, divisor, *, formula, p, q, of):
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = np.asarray(FORMULAS[formula][1 + of](x, t, 1 if v is None else v, p, q), x.dtype)
        return g / divisor * (slope if weight is None else slope * weight)


def linear_cross_entropy(x, matrix, index, bias, weight, *, ignore, smoothing, reduction):
    """cross_entropy of x matrix' + bias by index."""
    return cross_entropy(scores(x, matrix, bias), index, None, weight, ignore=ignore, smoothing=smoothing,
                         reduction=reduction)


def linear_cross_entropy_backward(g, x, matrix, index, bias, weight, divisor, peak, logsum, mass, *, ignore, smoothing,
                                  needs):
    """The gradients of x, matrix and bias, those that are needed."""
    d = cross_entropy_backward(g, scores(x, matrix, bias), index, None, weight, divisor, peak, logsum, mass,
                               ignore=ignore, smoothing=smoothing)
    lines = d.reshape(-1, d.shape[-1])
    found = (d @ matrix, lines.T @ x.reshape(-1, x.shape[-1]), lines.sum(0))
    return tuple(a for a, needed in zip(found, needs) if needed)


def scores(x, matrix, bias):
    return x @ matrix.T + (0 if bias is None else bias)
