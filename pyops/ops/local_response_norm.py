"""Local response normalisation across neighbouring channels."""
from __future__ import annotations

from functools import lru_cache
from operator import index

from ..kernels.local_response_norm import reference
from ..core.registry import A, Op, bad, case
from ..core.tensor import Context

__all__ = ["local_response_norm"]


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0, *, out=None):
    """x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta; channels outside count as zero.

    input: (N, C, ...) with at least three axes, float32 or float64. Channel c's neighbours are c - size // 2 to c + (size - 1) // 2.
    The paper's alpha is a sum's, this one a mean's, as in torch: alpha here is the paper's times size. Returns an array like input.
    Raises ValueError for a size below 1 or too few axes. Source: Krizhevsky, Sutskever & Hinton (2012), section 3.3.
    """
    return LOCAL_RESPONSE_NORM(input, size=size, alpha=alpha, beta=beta, k=k, out=out)


def check(x, *, size, alpha, beta, k):
    plan(x.shape, size)


@lru_cache(4096, typed=True)
def plan(x, size):
    if len(x) < 3:
        raise ValueError(f"local_response_norm: input must be (N, C, ...) with at least three axes, got shape {x}")
    if index(size) < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")


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


LOCAL_RESPONSE_NORM_BACKWARD = Op("local_response_norm_backward", "rr", backward, reference.local_response_norm_backward,
                                  kernels=("local_response_norm_backward",))


def lrn(why, shape, *args, **options):
    return case(why, "local_response_norm", A(*shape), *args, batch=True, **options)


LOCAL_RESPONSE_NORM = Op(
    "local_response_norm", "r", forward, reference.local_response_norm, gradient, check,
    kernels=("local_response_norm",),
    cases=[
        lrn("alexnet", (2, 9, 5, 7), 5, 1e-1, 0.75, 2.0),
        lrn("defaults_with_vectors_and_tail", (2, 6, 67), 3),
        lrn("even_size_is_lopsided", (2, 7, 4, 5), 4, 0.5, 0.75, 1.0),
        lrn("one_channel_window", (2, 3, 4, 5), 1, 0.5),
        lrn("window_beyond_all_channels", (2, 3, 17), 9, 0.5),
        lrn("size_far_beyond_channels", (1, 3, 5), 1000, 50.0),
        lrn("beta_half", (2, 5, 19), 5, 0.5, 0.5, 1.5),
        lrn("beta_one", (2, 5, 19), 5, 0.5, 1.0, 1.5),
        lrn("beta_general", (2, 5, 19), 5, 0.5, 0.6, 1.5),
        lrn("beta_negative", (2, 5, 19), 5, 0.5, -0.75, 1.5),
        lrn("volume", (2, 5, 2, 3, 5), 3, 0.5),
        lrn("several_blocks_of_pixels", (1, 4, 30, 40), 3, 0.5),
        lrn("many_channels", (1, 1100, 19), 5, 0.5),
        case("no_samples", "local_response_norm", A(0, 3, 4), 3),
        case("no_channels", "local_response_norm", A(2, 0, 4), 3),
        case("no_pixels", "local_response_norm", A(2, 3, 0, 4), 3),
    ],
    refuses=[
        bad("two_axes", "local_response_norm", A(2, 3), 3, match="three axes"),
        bad("no_window", "local_response_norm", A(2, 3, 4), 0, match="size"),
        bad("size_not_whole", "local_response_norm", A(2, 3, 4), 2.5, match="integer", error=TypeError),
    ],
    flops=lambda x, *, size, **_: (2 * size + 6) * x.size,
    bytes=lambda x, **_: 2 * x.nbytes,
)
