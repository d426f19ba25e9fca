"""LeNet-5's output layer and the loss it was trained with. LeCun, Bottou, Bengio & Haffner, "Gradient-Based Learning Applied to Document
Recognition" (1998), sections II.B and III.C."""
from __future__ import annotations

import math
from functools import lru_cache

from ..kernels.rbf import reference
from ..core.registry import A, I, Op, bad, case
from ..core.tensor import Context
from .shape import transpose

__all__ = ["lenet5_loss", "squared_euclidean"]


def squared_euclidean(input, weight, *, out=None):
    """Squared distance of each input to each centre: (N, D) or (D,) and (K, D) -> (N, K) or (K,). LeNet-5's Euclidean RBF units (eq. 7).

    float32 or float64. Raises ValueError where the widths differ.
    """
    plan(tuple(input.shape), tuple(weight.shape))
    if len(input.shape) == 1:
        return SQUARED_EUCLIDEAN(input[None], weight, out=None if out is None else out[None])[0]
    return SQUARED_EUCLIDEAN(input, weight, out=out)


def lenet5_loss(input, target, j=0.1, *, reduction="mean", out=None):
    """input[target] + log(e^-j + sum over classes of e^-input): the MAP criterion (eq. 9) on penalties, such as distances.

    input: (N, C), lower is likelier; target: class indices (N,). j > 0 is the penalty of a "none of these" class, which keeps already
    large penalties from being pushed further; the paper names no value. reduction: 'none', 'mean' or 'sum'. Raises ValueError where
    shapes disagree or a target is no class.
    """
    _reduction(tuple(input.shape), tuple(target.shape), j, reduction)
    return LENET5_LOSS(input, target, j=j, reduction=reduction, out=out)[0]


@lru_cache(4096)
def plan(x, w):
    if len(x) not in (1, 2) or len(w) != 2 or x[-1] != w[1]:
        raise ValueError(f"squared_euclidean: needs input (N, D) or (D,) and weight (K, D), got {x} and {w}")


@lru_cache(4096)
def _reduction(y, index, j, reduction):
    """Whether every sample keeps its loss, and what the sum is divided by."""
    if len(y) != 2 or index != y[:1] or y[1] == 0:
        raise ValueError(f"lenet5_loss: needs input (N, C) and target (N,), got {y} and {index}")
    if not 0 < j < math.inf:
        raise ValueError(f"lenet5_loss: j must be positive, got {j}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"lenet5_loss: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    return reduction == "none", y[0] if reduction == "mean" else 1


def forward(k, x, w):
    y = k.empty((x.shape[0], w.shape[0]))
    k.squared_euclidean(x, w, y)
    return y


def gradient(ctx: Context):
    x, w = ctx.inputs
    dx = SQUARED_EUCLIDEAN_BACKWARD(ctx.g, x, w) if ctx.needs[0] else None
    dw = SQUARED_EUCLIDEAN_BACKWARD(transpose(ctx.g, 0, 1), w, x) if ctx.needs[1] else None
    return dx, dw


def backward(k, g, x, w):
    dx = k.empty(x.shape)
    k.squared_euclidean_backward(g, x, w, dx)
    return dx


def _refuse_labels(y, index, **_):
    wrong = index[(index < 0) | (index >= y.shape[1])]
    if wrong.size:
        raise ValueError(f"lenet5_loss: target {wrong[0]} is none of the {y.shape[1]} classes")


def loss_forward(k, y, index, *, j, reduction):
    each, count = _reduction(y.shape, index.shape, j, reduction)
    loss, divisor = k.empty(index.shape if each else ()), k.empty(())
    k.lenet5_loss(y, index, j, each, count, loss, divisor)
    if (loss != loss).any():
        _refuse_labels(y, index)
    return loss, divisor


def loss_gradient(ctx: Context):
    y, index = ctx.inputs
    return LENET5_LOSS_BACKWARD(ctx.g, y, index, ctx.outputs[1], j=ctx.attrs["j"]), None


def loss_backward(k, g, y, index, divisor, *, j):
    dy = k.empty(y.shape)
    k.lenet5_loss_backward(g, y, index, divisor, j, dy)
    return dy


def _torch_distances(torch, x, w):
    return ((x.unsqueeze(-2) - w) ** 2).sum(-1)


def _torch_loss(torch, y, index, j=0.1, reduction="mean"):
    others = torch.cat([torch.full_like(y[:, :1], -j), -y], 1)
    loss = y.gather(1, index[:, None])[:, 0] + others.logsumexp(1)
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


SQUARED_EUCLIDEAN_BACKWARD = Op("squared_euclidean_backward", "rrr", backward, reference.squared_euclidean_backward,
                                kernels=("squared_euclidean_backward",))
SQUARED_EUCLIDEAN = Op(
    "squared_euclidean", "rr", forward, reference.squared_euclidean, gradient,
    kernels=("squared_euclidean",),
    cases=[
        *(case(f"width{d}_centres{k}", "squared_euclidean", A(3, d), A(k, d), torch=_torch_distances)
          for d, k in ((1, 1), (7, 3), (8, 4), (16, 5), (17, 9), (300, 2))),
        case("lenet5", "squared_euclidean", A(6, 84), A(10, 84), batch=True, torch=_torch_distances),
        case("one_sample", "squared_euclidean", A(84), A(10, 84), torch=_torch_distances),
        case("small_distances_far_from_zero", "squared_euclidean", A(4, 33, offset=1e3), A(5, 33, offset=1e3), torch=_torch_distances),
        case("many_samples", "squared_euclidean", A(900, 84), A(10, 84), torch=_torch_distances),
        case("no_samples", "squared_euclidean", A(0, 7), A(3, 7), torch=_torch_distances),
        case("no_width", "squared_euclidean", A(2, 0), A(3, 0), torch=_torch_distances),
        case("no_centres", "squared_euclidean", A(2, 4), A(0, 4), torch=_torch_distances),
    ],
    refuses=[
        bad("other_width", "squared_euclidean", A(3, 4), A(2, 5), match=r"\(3, 4\) and \(2, 5\)"),
        bad("three_axes", "squared_euclidean", A(3, 4, 5), A(2, 5), match="squared_euclidean"),
    ],
    flops=lambda x, w: 3 * x.shape[0] * w.size,
    bytes=lambda x, w: x.nbytes + w.nbytes + x.shape[0] * w.shape[0] * x.itemsize,
)

LENET5_LOSS_BACKWARD = Op("lenet5_loss_backward", "rrir", loss_backward, reference.lenet5_loss_backward, kernels=("lenet5_loss_backward",))
LENET5_LOSS = Op(
    "lenet5_loss", "ri", loss_forward, reference.lenet5_loss, loss_gradient, _refuse_labels,
    kernels=("lenet5_loss",),
    cases=[
        *(case(f"classes{c}_{r}", "lenet5_loss", A(5, c), I(5, high=c), reduction=r, torch=_torch_loss)
          for c, r in ((1, "mean"), (7, "none"), (10, "mean"), (16, "sum"), (33, "none"))),
        case("each_by_batch", "lenet5_loss", A(6, 10, offset=3), I(6, high=10), reduction="none", batch=True, batched=(0, 1), torch=_torch_loss),
        case("large_penalties_and_j", "lenet5_loss", A(6, 10, offset=200.0), I(6, high=10), j=150.0, torch=_torch_loss),
        case("large_penalties_small_j", "lenet5_loss", A(6, 10, offset=200.0), I(6, high=10), j=1.0, torch=_torch_loss),
        case("many_samples", "lenet5_loss", A(2000, 10), I(2000, high=10), torch=_torch_loss),
        case("no_samples", "lenet5_loss", A(0, 10), I(0, high=10), reduction="sum", torch=_torch_loss),
    ],
    refuses=[
        bad("label_too_large", "lenet5_loss", A(3, 4), I(3, high=5, low=4), match="target 4 "),
        bad("label_negative", "lenet5_loss", A(3, 4), I(3, high=0, low=-1), reduction="none", match="target -1 "),
        bad("fewer_labels", "lenet5_loss", A(3, 4), I(2, high=4), match=r"\(3, 4\) and \(2,\)"),
        bad("j_zero", "lenet5_loss", A(3, 4), I(3, high=4), j=0.0, match="j must be positive"),
        bad("unknown_reduction", "lenet5_loss", A(3, 4), I(3, high=4), reduction="max", match="'max'"),
    ],
)
