"""Resampling of images: interpolate (upsample) in all of torch's modes, as one row whose tables of
taps are made once per shape."""
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ..core.memory import require
from ..core.registry import Op
from ..core.symbolic import index as as_int
from ..core.tensor import per_input
from ..core.types import Arrays, OutputSizes
from ..kernels.interpolate import reference
from .spatial import three

__all__ = ["interpolate", "upsample"]

# What torch calls linear interpolation over one, two and three axes; None: any number.
AXES = {"nearest": None, "nearest-exact": None, "area": None, "linear": 1, "bilinear": 2, "trilinear": 3,
        "bicubic": 2}
ALIGNABLE = ("linear", "bilinear", "trilinear", "bicubic")


def interpolate(input: Arrays, size: OutputSizes | None = None,
                scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
                antialias: bool = False, *, out: Arrays | None = None) -> Arrays:
    """An image resampled to `size`, or to floor(axis x scale_factor).

    input: (N, C, W), (N, C, H, W) or (N, C, D, H, W), float32 or float64; size or scale_factor: a
    number or one per axis. mode: 'nearest' (rounds down), 'nearest-exact', 'area' (means, as
    adaptive_avg_pool), 'linear' (one axis), 'bilinear', 'bicubic' (two), 'trilinear' (three).
    align_corners: first and last values meet, instead of pixel edges. recompute_scale_factor:
    positions follow from the sizes and not from scale_factor. antialias: filters as wide as the
    reduction ('bilinear' and 'bicubic'). Source positions are rounded to the input's type, as torch
    does; torch's kernels for small images (output height + width at most 128) round 'nearest'
    positions in float32 and leave an axis of unchanged size alone, this one never does. Raises
    ValueError where mode, axes and sizes do not fit. Source: Keys (1981) for bicubic.
    """
    specs = plan(tuple(input.shape), _numbers(size), _numbers(scale_factor), mode, align_corners,
                 bool(recompute_scale_factor), antialias)
    return RESAMPLE(input, specs=specs, transpose=False, out=out)


def upsample(input: Arrays, size: OutputSizes | None = None,
             scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
             align_corners: bool | None = None, *, out: Arrays | None = None) -> Arrays:
    """interpolate under its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners, out=out)


def _numbers(value):
    return tuple(value) if isinstance(value, (list, tuple)) else value


@lru_cache(4096)
def plan(shape, size, scale_factor, mode, align_corners, recompute, antialias):
    """Validates; returns a spec per spatial axis (see reference.py), None where an
    axis stays as it is."""
    if mode not in AXES:
        raise ValueError(f"interpolate: mode must be one of {', '.join(AXES)}, got {mode!r}")
    axes = len(shape) - 2
    if axes not in (1, 2, 3) or AXES[mode] not in (None, axes):
        wanted = {None: "(N, C, W), (N, C, H, W) or (N, C, D, H, W)", 1: "(N, C, W)", 2: "(N, C, H, W)",
                  3: "(N, C, D, H, W)"}[AXES[mode]]
        raise ValueError(f"interpolate: mode {mode!r} takes axes {wanted}, got shape {shape}")
    if align_corners is not None and mode not in ALIGNABLE:
        raise ValueError(
            f"interpolate: align_corners goes with {', '.join(ALIGNABLE)}, not with mode {mode!r}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"interpolate: antialias goes with bilinear and bicubic, not with mode {mode!r}")
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: give either size or scale_factor, got size {size} and scale_factor {scale_factor}")
    if size is not None and recompute:
        raise ValueError("interpolate: recompute_scale_factor goes with scale_factor, not with size")
    scales = _per_axis(scale_factor, axes, "scale_factor") if size is None else (None,) * axes
    sizes = _scaled(shape[2:], scales) if size is None else _sizes(_per_axis(size, axes, "size"))
    if any(n < 1 or n >= 2**31 for n in (*shape[2:], *sizes)):
        raise ValueError(f"interpolate: spatial sizes must be at least 1 and below 2^31, got input {shape} "
                         f"and result {sizes}")
    if recompute or mode == "area":
        scales = (None,) * axes
    kind = "linear" if mode in ("bilinear", "trilinear") else mode
    return tuple(None if n == o and s in (None, 1)
                 else (n, o, kind, None if align_corners else s, bool(align_corners), bool(antialias))
                 for n, o, s in zip(shape[2:], sizes, scales))


def _per_axis(value, axes, name):
    values = value if isinstance(value, tuple) else (value,) * axes
    if len(values) != axes:
        raise ValueError(f"interpolate: {name} must be a number or {axes} numbers, got {value}")
    return values


def _sizes(values):
    try:
        return tuple(map(as_int, values))
    except TypeError:
        raise TypeError(f"interpolate: size must be ints, got {values}") from None


def _scaled(sizes, scales):
    if not all(isinstance(s, (int, float, np.number)) and math.isfinite(s) and s > 0 for s in scales):
        raise ValueError(f"interpolate: scale_factor must be positive and finite, got {scales}")
    return tuple(math.floor(n * s) for n, s in zip(sizes, scales))


@lru_cache(512)
def tables(spec, transpose, dtype):
    """The taps of an axis as the kernel takes them, from outputs to inputs with `transpose`. (None,
    None) for an axis as it is."""
    if spec is None:
        return None, None
    index, weight = reference.taps(spec, dtype.type)
    if transpose:
        index, weight = transposed(index, weight, spec[0])
    index, weight = np.ascontiguousarray(index, np.int64), np.ascontiguousarray(weight, dtype)
    index.flags.writeable = weight.flags.writeable = False
    return index, weight


def transposed(index, weight, size):
    """Taps from outputs to inputs: of each input, the outputs it went to, in order."""
    o, k = np.nonzero(index.T != reference.ABSENT)
    at, w = index[k, o], weight[k, o]
    order = np.argsort(at, kind="stable")
    at, o, w = at[order], o[order], w[order]
    counts = np.bincount(at, minlength=size)
    rank = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    back = np.full((max(counts.max(), 1), size), reference.ABSENT)
    values = np.zeros(back.shape, weight.dtype)
    back[rank, at], values[rank, at] = o, w
    return back, values


@lru_cache(4096)
def _shapes(shape, specs, transpose):
    """Validates; returns the result's shape, and the input's and the result's as
    kernels take them."""
    for size, spec in zip(shape[2:], specs, strict=True):
        if spec is not None and size != spec[transpose]:
            raise ValueError(f"resample: input {shape} does not have the sizes "
                             f"{[s and s[transpose] for s in specs]} that the tables were made for")
    size = tuple(s if spec is None else spec[1 - transpose] for s, spec in zip(shape[2:], specs))
    planes = shape[0] * shape[1]
    return (*shape[:2], *size), (planes, *three(shape[2:], 1)), (planes, *three(size, 1))


@lru_cache(512)
def _prepared(shape, specs, transpose, dtype):
    """_shapes, and the tables of three axes as the kernel's arguments."""
    return (*_shapes(shape, specs, transpose),
            tuple(t for spec in three(specs, None) for t in tables(spec, transpose, dtype)))


def check(x, *, specs, transpose):
    return _shapes(x.shape, specs, transpose)


def forward(k, x, *, specs, transpose):
    # what making it takes, at the least
    require(64 * max(_shapes(x.shape, specs, transpose)[0]), "the table of taps")
    shape, flat, flat_y, taps = _prepared(x.shape, specs, transpose, k.dtype)
    y = k.empty(shape)
    k.resample(x.reshape(flat), *taps, y.reshape(flat_y))
    return y


def _gradient(g, ctx):
    return RESAMPLE(g, specs=ctx.attrs["specs"], transpose=not ctx.attrs["transpose"])


# Source positions up to 50 are rounded to the element type, which moves weights by up to 50 eps;
# the float64 expectation is not.
RESAMPLE = Op(
    "resample", "r", forward, reference.resample, per_input(_gradient), check, kernels=("resample",),
    tolerance=256, shapes=lambda x, *, specs, transpose: (tuple(_shapes(x, specs, transpose)[0]),),
    per_sample=lambda shape, *, specs, transpose: len(shape) >= len(specs) + 2,
    bytes=lambda x, *, specs, transpose: x.nbytes
    + x.itemsize * math.prod(_shapes(x.shape, specs, transpose)[0]))
