"""Dropout of values, of whole channels and of whole samples."""
from __future__ import annotations

import math
from functools import lru_cache
from operator import index

import numpy as np

from ..core import random
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays

reference = LateFunctions("pyops.kernels.dropout.reference")

__all__ = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout",
           "stochastic_depth"]

# rank of the input -> how many of its axes count channels
LEADING = {"dropout1d": {2: 1, 3: 2}, "dropout2d": {3: 2, 4: 2}, "dropout3d": {4: 1, 5: 2},
           "feature_alpha_dropout": {2: 2, 3: 2, 4: 2, 5: 2}}
SELU_FLOOR = 1.7580993408473766   # what selu tends to at -infinity, negated: scale * alpha


def dropout(input: Arrays, p: float = 0.5, training: bool = True, inplace: bool = False, *,
            seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """Each value is 0 with probability p, else input / (1 - p). Srivastava et al. (2014).

    input: any shape, float32 or float64; returns an array like it, or input itself where
    training is False or p is 0. inplace writes into an input that is an array; a Tensor is never
    overwritten, for the tape may need it. seed (0 <= seed < 2^63) fixes the mask, whatever the
    number of threads, the instruction set or the float type; None draws one from the generator
    of pyops.manual_seed. Nothing is stored for the gradient, which makes the mask again.
    ValueError for p outside [0, 1] or such a seed.
    """
    return _dropout("dropout", input, 1, p, training, inplace, seed, out)


def dropout1d(input: Arrays, p: float = 0.5, training: bool = True, inplace: bool = False, *,
              seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """dropout of whole channels of (N, C, L) or (C, L). Arguments and errors as for dropout, and
    ValueError for other ranks."""
    return _dropout("dropout1d", input, _channel("dropout1d", tuple(input.shape)), p, training, inplace, seed,
                    out)


def dropout2d(input: Arrays, p: float = 0.5, training: bool = True, inplace: bool = False, *,
              seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """dropout of whole channels of (N, C, H, W), or, as in torch, of (N, C, L). Arguments and
    errors as for dropout1d."""
    return _dropout("dropout2d", input, _channel("dropout2d", tuple(input.shape)), p, training, inplace, seed,
                    out)


def dropout3d(input: Arrays, p: float = 0.5, training: bool = True, inplace: bool = False, *,
              seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """dropout of whole channels of (N, C, D, H, W) or (C, D, H, W). Arguments and
    errors as for dropout1d."""
    return _dropout("dropout3d", input, _channel("dropout3d", tuple(input.shape)), p, training, inplace, seed,
                    out)


def alpha_dropout(input: Arrays, p: float = 0.5, training: bool = False, inplace: bool = False, *,
                  seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """Each value is set to selu(-infinity) with probability p, then all are scaled and shifted so
    that zero mean and unit variance stay.

    Arguments and errors as for dropout. Source: Klambauer et al. (2017).
    """
    return _dropout("alpha_dropout", input, 1, p, training, inplace, seed, out, _selu)


def feature_alpha_dropout(input: Arrays, p: float = 0.5, training: bool = False, inplace: bool = False, *,
                          seed: int | None = None, out: Arrays | None = None) -> Arrays:
    """alpha_dropout of whole channels of (N, C, ...). Arguments and errors as for dropout1d."""
    shared = _channel("feature_alpha_dropout", tuple(input.shape))
    return _dropout("feature_alpha_dropout", input, shared, p, training, inplace, seed, out, _selu)


def stochastic_depth(input: Arrays, p: float, mode: str, training: bool = True, *, seed: int | None = None,
                     out: Arrays | None = None) -> Arrays:
    """A residual branch is dropped with probability p, else divided by 1 - p: each sample's on its
    own (mode "row"), or the whole batch's.

    input: (N, ...), float32 or float64. mode: "row" or "batch". Arguments and errors
    otherwise as for dropout, and ValueError for other modes.
    torchvision.ops.stochastic_depth. Source: Huang et al. (2016).
    """
    if mode not in ("row", "batch"):
        raise ValueError(f"stochastic_depth: mode must be row or batch, got {mode!r}")
    shape = tuple(input.shape)
    return _dropout("stochastic_depth", input, math.prod(shape[1:] if mode == "row" else shape), p, training,
                    False, seed, out)


def _zero(p):
    """scale, shift and fill."""
    return 1 / (1 - p), 0.0, 0.0


def _selu(p):
    scale = 1 / math.sqrt((SELU_FLOOR ** 2 * p + 1) * (1 - p))
    return scale, SELU_FLOOR * scale * p, SELU_FLOOR * scale * (p - 1)


def _dropout(name, input, shared, p, training, inplace, seed, out, how=_zero):
    attrs = _attributes(name, p, how)
    seed = _seed(name, seed) if training else 0
    if (not training or p == 0) and out is None:
        return input
    y = DROPOUT(input, seed=seed, shared=shared, out=out,
                **(attrs if training else _attributes(name, 0.0, how)))
    if inplace and training and isinstance(input, np.ndarray):
        input[...] = y
        return input
    return y


@lru_cache(1024)
def _attributes(name, p, how):
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be in [0, 1], got {p}")
    if p == 1:   # all are zero
        return {"threshold": 0, "scale": 0.0, "shift": 0.0, "fill": 0.0}
    scale, shift, fill = how(p)
    return {"threshold": min(round(p * 2 ** 32), 2 ** 32 - 1), "scale": scale, "shift": shift, "fill": fill}


def _seed(name, seed):
    if seed is None:
        return int(random.default_generator().integers(1 << 63))
    if not 0 <= index(seed) < 1 << 63:
        raise ValueError(f"{name}: seed must be in [0, 2^63), got {seed}")
    return index(seed)


@lru_cache(4096)
def _channel(name, shape):
    """How many values a channel of a sample has."""
    leading = LEADING[name]
    if len(shape) not in leading:
        raise ValueError(f"{name}: input must have {' or '.join(map(str, leading))} axes, got shape {shape}")
    return math.prod(shape[leading[len(shape)]:])


def forward(k, x, *, shared, seed, threshold, scale, shift, fill):
    y = k.empty(x.shape)
    k.dropout(x, seed, threshold, shared, scale, shift, fill, y)
    return y


DROPOUT = Op(
    "dropout", "r", forward, reference.dropout,
    lambda ctx: (DROPOUT(ctx.g, **{**ctx.attrs, "shift": 0.0, "fill": 0.0}),),
    kernels=("dropout",),
    tolerance=4,   # one product and one sum
    flops=lambda x, **_: x.size,
    bytes=lambda x, **_: 2 * x.nbytes,
    random=True, todo={"per_sample": "what is dropped depends on the place in the whole batch"},
)
