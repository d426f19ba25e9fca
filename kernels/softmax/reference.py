"""softmax and log_softmax in NumPy: the definitions."""
import numpy as np


def shifted(x, dim):
    """x minus its maximum along dim. A line without a maximum above -inf, or with one of +inf,
    comes out as NaN, as in torch."""
    with np.errstate(invalid="ignore"):
        return x - x.max(dim, keepdims=True, initial=-np.inf)


def softmax(x, *, dim):
    with np.errstate(invalid="ignore"):
        e = np.exp(shifted(x, dim))
        return e / e.sum(dim, keepdims=True)


def log_softmax(x, *, dim):
    s = shifted(x, dim)
    with np.errstate(invalid="ignore", divide="ignore"):
        return s - np.log(np.exp(s).sum(dim, keepdims=True))


def softmax_backward(dy, y, *, dim):
    return y * (dy - (dy * y).sum(dim, keepdims=True))


def log_softmax_backward(dy, y, *, dim):
    return dy - np.exp(y) * dy.sum(dim, keepdims=True)
