"""Padding in NumPy: the definition. Axis by axis, `source` says which input position every
output position takes."""
import numpy as np

OUTSIDE = -1


def source(size, before, after, mode):
    """Input position of each output position along one axis, OUTSIDE where there is none.
    Negative padding crops."""
    at = np.arange(-before, size + after)
    if mode == "constant":
        return np.where((at >= 0) & (at < size), at, OUTSIDE)
    if mode == "replicate":
        return at.clip(0, size - 1)
    if mode == "reflect":
        at = np.abs(at)
        return np.where(at < size, at, 2 * (size - 1) - at)
    return at % size   # circular


def sources(shape, before, after, mode):
    return [source(n, b, a, mode) for n, b, a in zip(shape, before, after)]


def pad(x, *, before, after, mode, value):
    """before, after: per axis of x. mode: constant | reflect (the edge is not repeated) |
    replicate | circular."""
    for axis, at in enumerate(sources(x.shape, before, after, mode)):
        if not (before[axis] or after[axis]):
            continue
        outside = at == OUTSIDE
        inside = np.zeros((*x.shape[:axis], len(at), *x.shape[axis + 1:]),
                          x.dtype) + np.asarray(value, x.dtype)
        inside[(slice(None),) * axis + (~outside,)] = x.take(at[~outside], axis)
        x = inside
    return x.copy()


def pad_backward(dy, *, size, before, after, mode):
    """The adjoint of pad without its constant: every input position sums the outputs that took
    it."""
    for axis, at in enumerate(sources(size, before, after, mode)):
        if not (before[axis] or after[axis]):
            continue
        dx = np.zeros((size[axis], *np.delete(dy.shape, axis)), dy.dtype)
        np.add.at(dx, at[at != OUTSIDE], np.moveaxis(dy, axis, 0)[at != OUTSIDE])
        dy = np.moveaxis(dx, 0, axis)
    return dy.copy()
