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


def abs_backward(g, x):
    return g * np.sign(x)


@quiet
def sqrt_backward(g, y):
    return g / (2 * y)


@quiet
def rsqrt_backward(g, y):
    return -0.5 * g * y**3


@quiet
def reciprocal_backward(g, y):
    return -g * y**2


@quiet
def erf_backward(g, x):
    return g * (2 / math.sqrt(math.pi)) * np.exp(-x * x)


def clamp(x, *, low, high):
    return np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high))


def clamp_backward(g, x, *, low, high):
    return np.where((x >= low) & (x <= high), g, 0).astype(g.dtype)


@quiet
def add(a, b, *, alpha=1.0):
    return a + a.dtype.type(alpha) * b


def maximum_backward(g, a, b):
    return g * np.where(a > b, 1, np.where(a == b, 0.5, 0)).astype(g.dtype)


@quiet
def pow_base_backward(g, a, b):
    return np.where(b == 0, 0, g * b * pow(a, b - 1)).astype(g.dtype)


@quiet
def pow_exponent_backward(g, a, y):
    return np.where((a == 0) & (y < np.inf), 0, g * y * np.log(a)).astype(g.dtype)


def where(condition, a, b):
    return np.where(condition != 0, a, b)


@quiet
def pow(a, b):
    """IEEE 754's pow. NumPy takes the square root for it where one exponent of 0.5 is for all,
    which differs at -0 and -infinity."""
    a, b = np.broadcast_arrays(a, b)
    return np.power(a, b.copy())


mul, div, maximum, minimum = map(quiet, (np.multiply, np.divide, np.maximum, np.minimum))
