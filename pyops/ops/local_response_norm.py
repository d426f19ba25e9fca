"""Local response normalisation across neighbouring channels."""
from __future__ import annotations

from functools import lru_cache
from operator import index

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays
from .result_shapes import first
from .spatial import bounded

reference = LateFunctions("pyops.kernels.local_response_norm.reference")

__all__ = ["local_response_norm"]


def local_response_norm(input: Arrays, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *,
                        out: Arrays | None = None) -> Arrays:
    """x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta; channels
    outside count as zero.

    input: (N, C, ...) with at least three axes, float32 or float64. Channel c's neighbours are c -
    size // 2 to c + (size - 1) // 2. The paper's alpha is a sum's, this one a mean's, as in torch:
    alpha here is the paper's times size. Returns an array like input. Raises ValueError for a size
    below 1 or too few axes. Source: Krizhevsky, Sutskever & Hinton (2012), section 3.3.
    """
    return LOCAL_RESPONSE_NORM(input, size=size, alpha=alpha, beta=beta, k=k, out=out)


def check(x, *, size, alpha, beta, k):
    plan(x.shape, size)


@lru_cache(4096, typed=True)
def plan(x, size):
    if len(x) < 3:
        raise ValueError(
            f"local_response_norm: input must be (N, C, ...) with at least three axes, got shape {x}")
    if index(size) < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")
    bounded((index(size),), "local_response_norm", "size")


def forward(kernels, x, *, size, alpha, beta, k):
    plan(x.shape, size)
    y = kernels.empty(x.shape)
    kernels.local_response_norm(x, size, alpha, beta, k, y)
    return y


def gradient(ctx: Context):
    return (LOCAL_RESPONSE_NORM_BACKWARD(ctx.g, ctx.inputs[0], **ctx.attrs),)


def backward(kernels, dy, x, *, size, alpha, beta, k):
    dx = kernels.empty(x.shape)
    kernels.local_response_norm_backward(dy, x, size, alpha, beta, k, dx)
    return dx


LOCAL_RESPONSE_NORM_BACKWARD = Op("local_response_norm_backward", "rr", backward,
                                  reference.local_response_norm_backward,
                                  kernels=("local_response_norm_backward",))


LOCAL_RESPONSE_NORM = Op(
    "local_response_norm", "r", forward, reference.local_response_norm, gradient, check,
    kernels=("local_response_norm",),
    flops=lambda x, *, size, **_: (2 * size + 6) * x.size,
    bytes=lambda x, **_: 2 * x.nbytes,
    per_sample=True, shapes=first,
)
