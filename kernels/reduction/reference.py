"""Reductions in NumPy: the definitions. `dims` are sorted axes; `shape` is the result's shape, with or without axes of size one."""
import numpy as np


def sum(x, *, dims, shape, scale=1.0):
    return (x.sum(dims) * np.asarray(scale, x.dtype)).reshape(shape)


def kept(x, dims):
    """The shape of x with `dims` reduced to one."""
    return tuple(1 if axis in dims else n for axis, n in enumerate(x))


def expand(x, *, dims, shape, scale=1.0):
    """x, whose elements belong to `shape` without `dims`, repeated along them: the transpose of sum."""
    return (np.broadcast_to(x.reshape(kept(shape, dims)), shape) * np.asarray(scale, x.dtype)).astype(x.dtype)
