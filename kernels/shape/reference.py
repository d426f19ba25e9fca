"""Ops that move values without arithmetic, in NumPy: the definition. All but scatter_slice
and cat return views."""
import numpy as np


def reshape(x, *, shape):
    return x.reshape(shape)


def permute(x, *, dims):
    return x.transpose(dims)


def broadcast_to(x, *, shape):
    return np.broadcast_to(x, shape)


def sum_to(x, *, shape):
    """The sum of x over the axes along which `shape` was broadcast to x's."""
    lead = x.ndim - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1)
    return x.sum(axes, keepdims=True).reshape(shape)


def getitem(x, *, index):
    index = index if isinstance(index, tuple) else (index,)
    # with ... a single value is a view, too
    return x[index if any(i is Ellipsis for i in index) else (*index, ...)]


def scatter_slice(g, *, index, shape):
    """Zeros of `shape` with g at `index`: what getitem's gradient is."""
    y = np.zeros(shape, g.dtype)
    y[index] = g
    return y


def cat(*arrays, dim):
    return np.concatenate(arrays, dim)
