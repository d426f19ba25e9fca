"""Reductions in NumPy: the definitions. `dims` are sorted axes; `shape` is the result's shape, with
or without axes of size one."""
import numpy as np

from ..elementwise.reference import quiet


def sum(x, *, dims, shape, scale=1.0):
    return (x.sum(dims) * np.asarray(scale, x.dtype)).reshape(shape)


def kept(x, dims):
    """The shape of x with `dims` reduced to one."""
    return tuple(1 if axis in dims else n for axis, n in enumerate(x))


def expand(x, *, dims, shape, scale=1.0):
    """x, whose elements belong to `shape` without `dims`, repeated along them: the transpose of
    sum."""
    return (np.broadcast_to(x.reshape(kept(shape, dims)), shape) * np.asarray(scale, x.dtype)).astype(x.dtype)


def again(y, x, dims):
    """y with the reduced axes back, so that it broadcasts against x."""
    return y.reshape(kept(x.shape, dims))


def prod(x, *, dims, shape):
    return x.prod(dims).reshape(shape)


def prod_backward(g, x, *, dims):
    """Of each product, the product of the others: through P of what is not zero and
    the number of zeros."""
    p, zeros = np.where(x == 0, 1, x).prod(dims, keepdims=True), (x == 0).sum(dims, keepdims=True)
    others = np.where(x == 0, p, p / np.where(x == 0, 1, x))
    return np.where((zeros == 0) | ((zeros == 1) & (x == 0)), again(g, x, dims) * others, 0).astype(x.dtype)


def amax(x, *, dims, shape):
    return x.max(dims).reshape(shape)


def amin(x, *, dims, shape):
    return x.min(dims).reshape(shape)


def extreme_backward(g, x, y, *, dims):
    equal = x == again(y, x, dims)
    return np.where(equal, again(g, x, dims) / np.maximum(equal.sum(dims, keepdims=True), 1).astype(x.dtype),
                    0).astype(x.dtype)


@quiet
def var(x, *, dims, shape, count, correction, root):
    """Variance or, with root, deviation; and the mean."""
    mean = x.sum(dims, keepdims=True) / np.asarray(count, x.dtype)
    y = ((x - mean) ** 2).sum(dims) / np.asarray(max(count - correction, 0), x.dtype)
    return (np.sqrt(y) if root else y).reshape(shape), mean.reshape(shape)


@quiet
def var_backward(g, x, mean, y, *, dims, count, correction, root):
    g, y = again(g, x, dims), again(y, x, dims)
    if root:
        g = np.where(y == 0, 0, g / (2 * y))
    return (g * (2 / np.asarray(max(count - correction, 0), x.dtype)) * (x - again(mean, x, dims))).astype(
        x.dtype)


@quiet
def logsumexp(x, *, dims, shape):
    """log of the sum of e^x, and the maximum."""
    peak = x.max(dims, keepdims=True, initial=-np.inf)
    finite = np.where(np.isinf(peak), 0, peak)
    y = np.log(np.exp(x - finite).sum(dims, keepdims=True)) + finite
    return y.reshape(shape).astype(x.dtype), peak.reshape(shape)


@quiet
def logsumexp_backward(g, x, y, *, dims):
    y = again(y, x, dims)
    return again(g, x, dims) * np.exp(x - np.where(np.isinf(y), 0, y))


@quiet
def norm(x, *, dims, shape, p):
    if p == 0:
        return (x != 0).sum(dims).reshape(shape).astype(x.dtype)
    return ((np.abs(x) ** p).sum(dims) ** (1 / p)).reshape(shape).astype(x.dtype)


@quiet
def norm_backward(g, x, y, *, dims, p):
    if p == 0:
        return np.zeros_like(x)
    y = again(y, x, dims)
    slope = np.sign(x) * (np.abs(x) / y) ** (p - 1) if p != 1 else np.sign(x)
    return np.where((y == 0) | (x == 0), 0, again(g, x, dims) * slope).astype(x.dtype)


def along(x, outer, n, inner):
    return x.reshape(outer, n, inner)


def arg_max(x, *, outer, n, inner, shape):
    i = along(x, outer, n, inner).argmax(1)
    return np.take_along_axis(along(x, outer, n, inner), i[:, None], 1).reshape(shape), i.reshape(shape)


def arg_min(x, *, outer, n, inner, shape):
    i = along(x, outer, n, inner).argmin(1)
    return np.take_along_axis(along(x, outer, n, inner), i[:, None], 1).reshape(shape), i.reshape(shape)


def place_along(g, index, *, outer, n, inner, shape):
    dx = np.zeros((outer, n, inner), g.dtype)
    np.put_along_axis(dx, index.reshape(outer, 1, inner), g.reshape(outer, 1, inner), 1)
    return dx.reshape(shape)
