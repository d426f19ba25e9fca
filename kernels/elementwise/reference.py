"""Elementwise functions and arithmetic in NumPy: the definitions."""
import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


def quiet(f):
    """`f` without warnings: infinities and NaN are results here, not mistakes."""
    def g(*args, **kwargs):
        with np.errstate(all="ignore"):
            return f(*args, **kwargs)
    g.__name__, g.__doc__ = f.__name__, f.__doc__
    return g


def erf(x):
    return _erf(x).astype(x.dtype)


@quiet
def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x)).astype(x.dtype)


@quiet
def rsqrt(x):
    return 1 / np.sqrt(x)


@quiet
def reciprocal(x):
    return 1 / x


neg, abs, square = np.negative, np.abs, np.square
sqrt, exp, expm1, log, log1p, tanh = map(quiet, (np.sqrt, np.exp, np.expm1, np.log, np.log1p, np.tanh))


def tanh_backward(g, y):
    return g * (1 - y * y)


def sigmoid_backward(g, y):
    return g * (y * (1 - y))
