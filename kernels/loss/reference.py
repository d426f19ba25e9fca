"""Losses in NumPy: the definitions. Classes lie on axis 1 of the logits, or on their only axis."""
import numpy as np


def reduced(loss, weight, reduction):
    """The loss as `reduction` wants it, and what it was divided by. mean divides by the sum of `weight`, one per loss."""
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
    """1 where x's class is the index, 0 elsewhere and where the index is ignored."""
    classes = per_class(np.arange(x.shape[class_axis(x)]), x)
    return ((classes == np.expand_dims(index, class_axis(x))) & np.expand_dims(index != ignore, class_axis(x))).astype(x.dtype)


def coefficients(x, index, probabilities, weight, ignore, smoothing):
    """What each class's -log p is multiplied by, and what each position counts for in a mean."""
    axis = class_axis(x)
    w = per_class(np.ones(x.shape[axis], x.dtype) if weight is None else weight, x)
    if index is None:
        return w * (probabilities * (1 - smoothing) + smoothing / x.shape[axis]), np.ones_like(x.sum(axis))
    hot = one_hot(x, index, ignore)
    kept = np.expand_dims(index != ignore, axis)
    return hot * w * (1 - smoothing) + kept * w * (smoothing / x.shape[axis]), (hot * w).sum(axis)


def log_softmax_parts(x):
    axis = class_axis(x)
    peak = x.max(axis, keepdims=True)
    return peak, np.log(np.exp(x - peak).sum(axis, keepdims=True))


def cross_entropy(x, index, probabilities, weight, *, ignore, smoothing, reduction):
    """Returns the loss, its divisor, and per position the peak of x, log sum e^(x - peak) and the sum of coefficients."""
    axis = class_axis(x)
    a, of = coefficients(x, index, probabilities, weight, ignore, smoothing)
    peak, logsum = log_softmax_parts(x)
    minus_log_p = peak - x + logsum
    loss = np.where(a == 0, 0, a * minus_log_p) if probabilities is None else a * minus_log_p
    return *reduced(np.asarray(loss.sum(axis)), of, reduction), peak.squeeze(axis), logsum.squeeze(axis), np.asarray(a.sum(axis))


def scales(g, divisor, x):
    """g per position, shaped to be broadcast against x."""
    g = g / divisor
    return np.expand_dims(g, class_axis(x)) if g.ndim else g


def cross_entropy_backward(g, x, index, probabilities, weight, divisor, peak, logsum, mass, *, ignore, smoothing):
    axis = class_axis(x)
    a, _ = coefficients(x, index, probabilities, weight, ignore, smoothing)
    peak, logsum, mass = (np.expand_dims(v, axis) for v in (peak, logsum, mass))
    return scales(g, divisor, x) * (mass * np.exp(x - peak - logsum) - a)


def cross_entropy_target_backward(g, x, weight, divisor, peak, logsum, *, smoothing):
    axis = class_axis(x)
    w = 1 if weight is None else per_class(weight, x)
    return scales(g, divisor, x) * (1 - smoothing) * w * (np.expand_dims(peak, axis) - x + np.expand_dims(logsum, axis))


def nll_loss(x, index, weight, *, ignore, reduction):
    """Returns the loss and its divisor."""
    a, of = coefficients(x, index, None, weight, ignore, 0)
    return reduced(np.asarray(-np.where(a == 0, 0, a * x).sum(class_axis(x))), of, reduction)


def nll_loss_backward(g, index, weight, divisor, *, ignore, shape):
    like = np.zeros(shape, g.dtype)
    a, _ = coefficients(like, index, None, weight, ignore, 0)
    return -a * scales(g, divisor, like)
