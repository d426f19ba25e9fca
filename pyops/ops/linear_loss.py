"""A linear layer over many classes and the cross entropy of its scores, which never exist all at once."""
from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays, Reduction
from .loss import REDUCTIONS, cross_entropy, plan as loss_plan, refuse_labels
from .matmul import linear

reference = LateFunctions("pyops.kernels.loss.reference")

__all__ = ["linear_cross_entropy"]

# Scores that exist at a time. A gradient of the weights is added up once for as many positions, which
# costs 7 / positions of the products' time.
SCORES, FEWEST = 1 << 18, 128


def linear_cross_entropy(input: Arrays, linear_weight: Arrays, target: Arrays, *, linear_bias: Arrays | None = None,
                         weight: Arrays | None = None, reduction: Reduction = "mean", ignore_index: int = -100,
                         label_smoothing: float = 0.0) -> Arrays:
    """cross_entropy(linear(input, linear_weight, linear_bias), target, ...), some positions at a time.

    input: (N, features) or (features,), float32 or float64; linear_weight: (C, features); linear_bias:
    (C,) or None; target and the others as cross_entropy's. Neither the scores (N, C) nor their
    gradient are kept: both are computed again for the gradient, 128 positions at a time or as many as
    have 262,144 scores, so that memory does not grow with N C; a step takes 1.4 times
    as long as with the scores kept. Target probabilities are an
    array of that size themselves: with these, it is the two calls. Raises ValueError where shapes
    disagree or an index is no class. Source: torch.nn.functional.linear_cross_entropy.
    """
    by_index = (np.dtype(target.dtype).kind in "iu" if not hasattr(target, "is_floating_point")
                else not target.is_floating_point())
    if not by_index:
        return cross_entropy(linear(input, linear_weight, linear_bias), target, weight, ignore_index=ignore_index,
                             reduction=reduction, label_smoothing=label_smoothing)
    return LINEAR_CROSS_ENTROPY(input, linear_weight, target, linear_bias, weight, ignore=ignore_index,
                                smoothing=label_smoothing, reduction=reduction)[0]


@lru_cache(4096)
def plan(x, matrix, index, bias, weight, smoothing, reduction):
    """Validates shapes (None for what is left out); returns positions and how many are taken at a time."""
    if len(x) not in (1, 2) or len(matrix) != 2 or x[-1] != matrix[1]:
        raise ValueError(f"linear_cross_entropy: input {x} must be (N, features) or (features,) and linear_weight "
                         f"{matrix} (classes, features)")
    if bias not in (None, matrix[:1]):
        raise ValueError(f"linear_cross_entropy: linear_bias {bias} must be {matrix[:1]} for linear_weight {matrix}")
    loss_plan("linear_cross_entropy", (*x[:-1], matrix[0]), index, False, weight or False, smoothing, reduction)
    return x[0] if len(x) == 2 else 1, max(FEWEST, SCORES // matrix[0])


def shapes(*arrays):
    return [None if a is None else a.shape for a in arrays]


def check(x, matrix, index, bias, weight, *, ignore, smoothing, reduction):
    plan(*shapes(x, matrix, index, bias, weight), smoothing, reduction)
    refuse_labels("linear_cross_entropy", index, matrix.shape[0], ignore)


def forward(k: Any, x: Array, matrix: Array, index: Array, bias: Array | None, weight: Array | None, *, ignore: int,
            smoothing: float, reduction: Reduction) -> tuple[Array, ...]:
    positions, some = plan(*shapes(x, matrix, index, bias, weight), smoothing, reduction)
    pieces = max(1, -(-positions // some))
    rows, labels = x.reshape(positions, x.shape[-1]), index.reshape(positions)
    each = reduction == "none"
    y = k.empty(x.shape[:-1] if each else ())   # first: it may be the caller's
    losses = y.reshape(positions) if each else k.empty((positions,))
    peak, logsum, mass = (k.empty((positions,)) for _ in range(3))
    sums, divisors, unused = k.empty((pieces,)), k.empty((pieces,)), k.empty(())
    scores = k.empty((min(some, positions), matrix.shape[0]))
    for piece in range(pieces):
        here = slice(piece * some, min(positions, (piece + 1) * some))
        part, one = scores[:here.stop - here.start], slice(piece, piece + 1)
        k.linear(rows[here], matrix, bias, part)
        k.cross_entropy(part, labels[here], None, weight, ignore, smoothing, REDUCTIONS["none" if each else "sum"],
                        losses[here] if each else sums[one].reshape(()), divisors[one].reshape(()), peak[here],
                        logsum[here], mass[here])
        if reduction == "mean":   # what the mean is divided by, also where nothing counts
            k.nll_loss(part, labels[here], weight, ignore, REDUCTIONS["mean"], unused, divisors[one].reshape(()))
    divisor = divisors[:1].reshape(())
    if reduction == "sum":
        add_up(k, sums, y)
    elif reduction == "mean":
        summed, divisor = add_up(k, sums, k.empty(())), add_up(k, divisors, k.empty(()))
        k.div(summed, divisor, (1,), (1,), (1,), y)
    known, seen = k.host(labels), k.host(y)
    if known is not None and (seen is None or (seen != seen).any()):
        refuse_labels("linear_cross_entropy", known, matrix.shape[0], ignore)
    return y, divisor, peak, logsum, mass


def add_up(k, values, y):
    k.reduce_sum(values, values.shape, (0,), 1.0, y)
    return y


def gradient(ctx: Context) -> tuple[Any, ...]:
    x, matrix, index, bias, weight = ctx.inputs
    found = iter(LINEAR_CROSS_ENTROPY_BACKWARD(
        ctx.g, x, matrix, index, bias, weight, *ctx.outputs[1:], ignore=ctx.attrs["ignore"],
        smoothing=ctx.attrs["smoothing"], needs=tuple(ctx.needs[i] for i in (0, 1, 3))))
    dx, dmatrix, dbias = (next(found) if ctx.needs[i] else None for i in (0, 1, 3))
    return dx, dmatrix, None, dbias, None


def backward(k: Any, g: Array, x: Array, matrix: Array, index: Array, bias: Array | None, weight: Array | None,
             divisor: Array, peak: Array, logsum: Array, mass: Array, *, ignore: int, smoothing: float,
             needs: tuple[bool, bool, bool]) -> tuple[Array, ...]:
    """The gradients that are needed of input, weights and bias."""
    positions, some = plan(*shapes(x, matrix, index, bias, weight), smoothing, "mean")
    rows, labels, (classes, features) = x.reshape(positions, x.shape[-1]), index.reshape(positions), matrix.shape
    each, slopes = g.ndim > 0, (g.reshape(positions) if g.ndim else g)
    dx = k.empty((positions, features)) if needs[0] else None
    sums = [Sum(k, shape) if needed else None
            for needed, shape in zip(needs[1:], ((1, classes, features), (1, 1, classes)))]
    scores, slope = (k.empty((min(some, positions), classes)) for _ in range(2))
    for first in range(0, max(positions, 1), some):
        here = slice(first, min(positions, first + some))
        part, d = (a[:here.stop - here.start] for a in (scores, slope))
        k.linear(rows[here], matrix, bias, part)
        k.cross_entropy_backward(slopes[here] if each else slopes, part, labels[here], None, weight, divisor,
                                 peak[here], logsum[here], mass[here], ignore, smoothing, d)
        if dx is not None:
            k.gemm(d[None], matrix[None], False, False, dx[here][None])
        if sums[0] is not None:
            k.gemm(d[None], rows[here][None], True, False, sums[0].next())
            sums[0].add()
        if sums[1] is not None:
            k.gemm(np.ones((1, 1, len(part)), k.dtype), d[None], False, False, sums[1].next())
            sums[1].add()
    found = (dx, *(None if of is None else of.total for of in sums))
    return tuple(a.reshape(s) for a, s in zip(found, (x.shape, matrix.shape, (classes,))) if a is not None)


class Sum:
    """A sum of arrays that kernels write: the first where the sum lies, the others beside it."""

    def __init__(self, k: Any, shape: tuple[int, ...]):
        self.k, self.total, self.other, self.count = k, k.empty(shape), None, 0

    def next(self) -> Array:
        if self.count and self.other is None:
            self.other = self.k.empty(self.total.shape)
        return self.other if self.count else self.total

    def add(self) -> None:
        self.count += 1
        if self.count > 1:
            flat = self.total.size
            self.k.add(self.total.reshape(flat), self.other.reshape(flat), (flat,), (1,), (1,), 1.0,
                       self.total.reshape(flat))


LINEAR_CROSS_ENTROPY_BACKWARD = Op(
    "linear_cross_entropy_backward", "rrrioorrrr", backward, reference.linear_cross_entropy_backward,
    kernels=("linear", "cross_entropy_backward", "gemm", "add"))
LINEAR_CROSS_ENTROPY = Op(
    "linear_cross_entropy", "rrioo", forward, reference.linear_cross_entropy, gradient, check,
    kernels=("linear", "cross_entropy", "nll_loss", "reduce_sum", "div"),
    macs=lambda x, matrix, *_, **__: x.size * matrix.shape[0],
    bytes=lambda x, matrix, *_, **__: x.nbytes + matrix.nbytes,
    todo={"per_sample": "the mean and the sum of a loss join samples",
          "filter_axis": "its weights' outputs are joined in a loss"})
