"""softmax along an axis and its logarithm."""
from __future__ import annotations

import warnings
from functools import lru_cache
from operator import index

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays, DType
from .axis import axis_or_dim
from .elementwise import neg
from .result_shapes import first

reference = LateFunctions("pyops.kernels.softmax.reference")

__all__ = ["log_softmax", "softmax", "softmin"]


def softmax(input: Arrays, dim: int | None = None, *, axis: int | None = None, dtype: DType = None,
            out: Arrays | None = None) -> Arrays:
    """e^x over its sum along axis `dim`, computed from x - max. input: any shape, float32 or
    float64; returns an array like input.

    dim None takes axis 0 of inputs of 0, 1 or 3 axes and axis 1 of others, as torch does, and
    warns. axis is dim. dtype converts an array input first. A line that holds NaN or +inf, or -inf
    only, is NaN. ValueError for an axis that input does not have.
    """
    return _along("softmax", SOFTMAX, input, dim, axis, dtype, out)


def log_softmax(input: Arrays, dim: int | None = None, *, axis: int | None = None, dtype: DType = None,
                out: Arrays | None = None) -> Arrays:
    """log(softmax(input, dim)) without its underflow: x - max - log(sum of e^(x - max)). Arguments
    and errors as for softmax."""
    return _along("log_softmax", LOG_SOFTMAX, input, dim, axis, dtype, out)


def softmin(input: Arrays, dim: int | None = None, *, axis: int | None = None, dtype: DType = None,
            out: Arrays | None = None) -> Arrays:
    """softmax(-input, dim). Arguments and errors as for softmax."""
    return _along("softmin", SOFTMAX, neg(_typed("softmin", input, dtype)), dim, axis, None, out)


def _along(name, op, input, dim, axis, dtype, out):
    if dtype is not None:
        input = _typed(name, input, dtype)
    if axis is not None:
        dim = axis_or_dim(name, dim, axis)
    if dim is None:
        warnings.warn(f"{name} without dim takes axis {_axis(name, len(input.shape), None)} of shape "
                      f"{tuple(input.shape)}; say which, dim=-1 or another", UserWarning, stacklevel=4)
    return op(input, dim=_axis(name, len(input.shape), dim), out=out)


def _typed(name, input, dtype):
    if dtype is None or np.dtype(dtype) == input.dtype:
        return input
    if not isinstance(input, np.ndarray):
        raise TypeError(
            f"{name}: dtype= converts arrays; convert this {type(input).__name__} of {input.dtype} first")
    return input.astype(dtype)


@lru_cache(4096, typed=True)
def _axis(name, ndim, dim):
    """dim counted from the front; a scalar counts as one axis."""
    if dim is None:
        return 0 if ndim in (0, 1, 3) else 1
    most = max(ndim, 1)
    if not -most <= index(dim) < most:
        raise ValueError(f"{name}: dim {dim} is outside the {most} axes [{-most}, {most - 1}]")
    return dim % most


def _kernel(name):
    def forward(k, x, *, dim):
        y = k.empty(x.shape)
        if x.ndim:
            getattr(k, name)(x, dim, y)
        else:   # a scalar is a line of one value
            getattr(k, name)(x.reshape(1), dim, y.reshape(1))
        return y
    return forward


def _scalars_too(definition):
    """The definition, which needs an axis, also for scalars."""
    def reference(*arrays, dim):
        return definition(*map(np.atleast_1d, arrays), dim=dim).reshape(arrays[0].shape)
    return reference


def _backward(name):
    def forward(k, dy, y, *, dim):
        dx = k.empty(y.shape)
        if y.ndim:
            getattr(k, name)(dy, y, dim, dx)
        else:
            getattr(k, name)(dy.reshape(1), y.reshape(1), dim, dx.reshape(1))
        return dx
    return Op(name, "rr", forward, _scalars_too(getattr(reference, name)), kernels=(name,))


SOFTMAX_BACKWARD, LOG_SOFTMAX_BACKWARD = map(_backward, ("softmax_backward", "log_softmax_backward"))


def _row(name, backward):
    return Op(name, "r", _kernel(name), _scalars_too(getattr(reference, name)),
              lambda ctx: (backward(ctx.g, ctx.outputs[0], **ctx.attrs),), kernels=(name,),
              flops=lambda x, *, dim: 12 * x.size, bytes=lambda x, *, dim: 2 * x.nbytes, activation=True,
              per_sample=lambda shape, *, dim: bool(shape) and dim % len(shape) != 0, shapes=first,
              todo={"epilogue": "a line must be whole before its sum is known"})


SOFTMAX = _row("softmax", SOFTMAX_BACKWARD)
LOG_SOFTMAX = _row("log_softmax", LOG_SOFTMAX_BACKWARD)
