"""Connectionist temporal classification: the loss of labels without times."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context, Tensor
from ..core.types import Array, Arrays, Reduction
from .elementwise import div, maximum
from .loss import JOINED
from .reduction import mean, sum as sum_of
from .shape import reshape
from .typed import NO_CUDA, as_type, dtype_of

reference = LateFunctions("pyops.kernels.ctc.reference")

__all__ = ["ctc_loss"]


def ctc_loss(log_probs: Arrays, targets: Arrays, input_lengths: Any, target_lengths: Any, blank: int = 0,
             reduction: Reduction = "mean", zero_infinity: bool = False) -> Arrays:
    """-log of the probability of the labels, over all ways of spreading them, blanks between, over the
    steps.

    log_probs: (T, N, C) or (T, C), logarithms of probabilities (log_softmax), float32 or float64.
    targets: (N, S), or the labels of all samples one behind the other; classes but blank, any
    integer type. input_lengths, target_lengths: (N,) or (), arrays or sequences of ints. reduction:
    'mean' divides by target_lengths first. zero_infinity: samples without any way (labels longer
    than the steps) have loss and gradient 0, else infinity and NaN. The gradient is that of
    log_probs; torch's, which it shares behind log_softmax, has probabilities added. Raises
    ValueError where shapes, lengths or labels do not fit. Source: Graves et al. (2006).
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"ctc_loss: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    single = len(log_probs.shape) == 2
    shape = tuple(log_probs.shape)
    if len(shape) not in (2, 3):
        raise ValueError(f"ctc_loss: log_probs must be (T, N, C) or (T, C), got shape {shape}")
    if single:
        log_probs = reshape(log_probs, (shape[0], 1, shape[1]))
    steps, samples, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss: blank must be one of the {classes} classes, got {blank}")
    ins, outs = (lengths(name, value, samples)
                 for name, value in (("input_lengths", input_lengths), ("target_lengths", target_lengths)))
    if len(targets.shape) == 2 and targets.shape[0] == samples:
        longest, starts = targets.shape[1], np.arange(samples) * targets.shape[1]
        targets = reshape(targets, (samples * longest,))
    elif len(targets.shape) == 1 and isinstance(outs, np.ndarray):
        longest, starts = int(outs.max(initial=0)), np.cumsum(outs) - outs
    else:
        raise ValueError("ctc_loss: targets must be (N, S), or one axis with target_lengths that are known, got "
                         f"shape {tuple(targets.shape)} for {samples} samples")
    loss = CTC_LOSS(log_probs, targets, starts, ins, outs, blank=blank, longest=longest,
                    zero_infinity=bool(zero_infinity))[0]
    if reduction == "none":
        return reshape(loss, ()) if single else loss
    return sum_of(loss) if reduction == "sum" else mean(div(loss, as_type(maximum(outs, 1), dtype_of(loss))))


def lengths(name: str, value: Any, samples: int) -> Any:
    """(samples,) whole numbers: an array as it is, else of NumPy."""
    array = np.atleast_1d(np.asarray(value)) if isinstance(value, (int, list, tuple, np.ndarray, np.generic)) else value
    if isinstance(array, Tensor):
        array = array.data
    if not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__") and not hasattr(array, "__pyops_call__"):
        array = np.from_dlpack(array)
    if len(array.shape) == 0:
        array = reshape(array, (1,))
    if tuple(array.shape) != (samples,) or np.dtype(dtype_of(array)).kind not in "iu":
        raise ValueError(f"ctc_loss: {name} must be {samples} whole numbers, got {array.dtype} of shape "
                         f"{tuple(array.shape)}")
    return array.astype(np.int64) if isinstance(array, np.ndarray) else array


# ---- rows. What is wrong makes a loss NaN, so labels and lengths are examined only then.

def check(log_probs: Array, targets: Array, starts: Array, ins: Array, outs: Array, *, blank: int, longest: int,
          **_: Any) -> None:
    steps, _, classes = log_probs.shape
    if ((ins < 0) | (ins > steps)).any():
        raise ValueError(f"ctc_loss: input_lengths must be within 0 .. {steps}, got {ins.tolist()[:8]}")
    if ((outs < 0) | (outs > longest) | (starts + outs > targets.size)).any():
        raise ValueError(f"ctc_loss: target_lengths must fit targets, of {targets.size} labels and at most {longest} "
                         f"a sample, got {outs.tolist()[:8]}")
    used = np.concatenate([targets[s:s + n] for s, n in zip(starts, outs)]) if len(outs) else targets[:0]
    wrong = used[(used < 0) | (used >= classes)]
    if wrong.size:
        raise ValueError(f"ctc_loss: target {wrong[0]} is not one of the {classes} classes")


def forward(k: Any, log_probs: Array, targets: Array, starts: Array, ins: Array, outs: Array, *, blank: int,
            longest: int, zero_infinity: bool) -> tuple[Array, Array, Array]:
    steps, samples, _ = log_probs.shape
    loss, nll = k.empty((samples,)), k.empty((samples,))
    alpha = k.empty((samples, steps, 2 * longest + 1))
    k.ctc_loss(log_probs, targets, starts, ins, outs, blank, zero_infinity, loss, nll, alpha)
    seen, known = k.host(nll), [k.host(a) for a in (targets, starts, ins, outs)]
    if all(a is not None for a in known) and (seen is None or (seen != seen).any()):
        check(log_probs, *known, blank=blank, longest=longest)
    return loss, nll, alpha


def gradient(ctx: Context) -> tuple[Any, ...]:
    if ctx.grads[0] is None:
        return (None,) * 5
    return CTC_LOSS_BACKWARD(ctx.g, *ctx.inputs, *ctx.outputs[1:], **ctx.attrs), None, None, None, None


def backward(k: Any, g: Array, log_probs: Array, *rest: Any, blank: int, longest: int, zero_infinity: bool) -> Array:
    d: Array = k.empty(log_probs.shape)
    k.ctc_loss_backward(g, log_probs, *rest, blank, zero_infinity, d)
    return d


CTC_LOSS_BACKWARD = Op("ctc_loss_backward", "rriiiirr", backward, reference.ctc_loss_backward,
                       kernels=("ctc_loss_backward",), todo=NO_CUDA)
# sums of as many logarithms as there are steps
CTC_LOSS = Op("ctc_loss", "riiii", forward, reference.ctc_loss, gradient, check, kernels=("ctc_loss",),
              tolerance=512, todo={**NO_CUDA, **JOINED}, bytes=lambda log_probs, *_, **__: log_probs.nbytes)
