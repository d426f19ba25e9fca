"""Images read at positions between their pixels: grid_sample, and affine_grid, which makes the
positions of an affine map."""
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays
from .matmul import matmul
from .shape import reshape, transpose
from .typed import NO_CUDA, dtype_of

reference = LateFunctions("pyops.kernels.grid_sample.reference")

__all__ = ["affine_grid", "grid_sample"]

MODES = {"nearest": 0, "bilinear": 1, "bicubic": 2}   # as in reference.py
PADDINGS = {"zeros": 0, "border": 1, "reflection": 2}


def grid_sample(input: Arrays, grid: Arrays, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool | None = None, *, out: Arrays | None = None) -> Arrays:
    """The image at positions given by the grid: y[n, c, p] = input[n, c] at grid[n, p].

    input: (N, C, H, W) with grid (N, H', W', 2), or (N, C, D, H, W) with (N, D', H', W', 3), float32
    or float64. Positions are (x, y[, z]), x along W: -1 and 1 are the outer edges of the first and
    last pixel, or their centres with align_corners (None is False). mode: 'nearest' (of two as near
    the even one), 'bilinear' (trilinear of 5-D), 'bicubic'. padding_mode, for what lies outside:
    'zeros', 'border' (the nearest pixel), 'reflection'. A position that is NaN gives NaN. Returns
    (N, C, H', W') or (N, C, D', H', W'). Gradients go to input and grid (0 by 'nearest'). Raises
    ValueError where shapes do not fit, an axis of the image is empty, or a plane has 2^31 pixels.
    Source: Jaderberg et al. (2015).
    """
    if mode not in MODES:
        raise ValueError(f"grid_sample: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if padding_mode not in PADDINGS:
        raise ValueError(
            f"grid_sample: padding_mode must be one of {', '.join(PADDINGS)}, got {padding_mode!r}")
    return GRID_SAMPLE(input, grid, mode=MODES[mode], around=PADDINGS[padding_mode],
                       corners=bool(align_corners), out=out)


def affine_grid(theta: Arrays, size: Sequence[int], align_corners: bool | None = None) -> Arrays:
    """The grid of positions theta (x, y, 1) for grid_sample, of every pixel (x, y) of an image of
    `size`.

    theta: (N, 2, 3) with size (N, C, H, W), or (N, 3, 4) with (N, C, D, H, W), float32 or float64.
    align_corners: as in grid_sample. Returns (N, H, W, 2) or (N, D, H, W, 3). Raises ValueError
    where theta and size do not fit. Source: Jaderberg et al. (2015).
    """
    try:
        sizes = tuple(map(operator.index, size))
    except TypeError:
        raise TypeError(f"affine_grid: size must be ints, got {size}") from None
    axes = len(sizes) - 2
    if axes not in (2, 3) or tuple(theta.shape) != (sizes[0], axes, axes + 1) or min(sizes) < 1:
        raise ValueError("affine_grid: takes theta (N, 2, 3) with size (N, C, H, W) or (N, 3, 4) with "
                         f"(N, C, D, H, W), sizes positive, got {tuple(theta.shape)} and {sizes}")
    places = matmul(theta, pixels(sizes[2:], bool(align_corners), np.dtype(dtype_of(theta))))
    return reshape(transpose(places, 1, 2), (sizes[0], *sizes[2:], axes))


@lru_cache(64)
def pixels(size: tuple[int, ...], corners: bool, dtype: np.dtype[Any]) -> Array:
    """(axes + 1, pixels): x, y[, z] and 1 of each."""
    lines = [np.linspace(-1, 1, n) * (1 if corners else (n - 1) / n) if n > 1 else np.zeros(1) for n in size]
    places = [a.reshape(-1) for a in np.meshgrid(*lines, indexing="ij")[::-1]]
    made = np.stack([*places, np.ones(math.prod(size))]).astype(dtype)
    made.flags.writeable = False
    return made


# ---- rows

@lru_cache(4096)
def plan(x: tuple[int, ...], grid: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Validates; returns the image as the kernel takes it, five axes, the result's shape, and the grid's
    with one axis of positions."""
    axes = len(x) - 2
    if axes not in (2, 3) or len(grid) != axes + 2 or grid[-1] != axes or grid[0] != x[0]:
        raise ValueError("grid_sample: takes input (N, C, H, W) with grid (N, H', W', 2) or (N, C, D, H, W) "
                         f"with (N, D', H', W', 3), got {x} and {grid}")
    if min(x[2:]) < 1 or math.prod(x[2:]) >= 2**31:
        raise ValueError(f"grid_sample: an image must have 1 to 2^31 - 1 pixels a plane, got {x}")
    return (*x[:2], *(1,) * (3 - axes), *x[2:]), (*x[:2], *grid[1:-1]), (grid[0], math.prod(grid[1:-1]), axes)


def check(x: Array, grid: Array, **_: Any) -> Any:
    return plan(x.shape, grid.shape)


def forward(k: Any, x: Array, grid: Array, *, mode: int, around: int, corners: bool) -> Array:
    image, shape, places = plan(x.shape, grid.shape)
    y: Array = k.empty(shape)
    k.grid_sample(x.reshape(image), grid.reshape(places), mode, around, corners, y)
    return y


def input_gradient(k: Any, g: Array, grid: Array, *, size: tuple[int, ...], mode: int, around: int,
                   corners: bool) -> Array:
    image, _, places = plan((*g.shape[:2], *size), grid.shape)
    dx: Array = k.empty((*g.shape[:2], *size))
    k.grid_sample_input_gradient(g, grid.reshape(places), mode, around, corners, dx.reshape(image))
    return dx


def grid_gradient(k: Any, g: Array, x: Array, grid: Array, **how: Any) -> Array:
    image, _, places = plan(x.shape, grid.shape)
    dgrid: Array = k.empty(grid.shape)
    k.grid_sample_grid_gradient(g, x.reshape(image), grid.reshape(places), *how.values(), dgrid.reshape(places))
    return dgrid


def gradient(ctx: Context) -> tuple[Any, Any]:
    x, grid = ctx.inputs
    return (INPUT_GRADIENT(ctx.g, grid, size=tuple(x.shape[2:]), **ctx.attrs) if ctx.needs[0] else None,
            GRID_GRADIENT(ctx.g, x, grid, **ctx.attrs) if ctx.needs[1] else None)


def gradient_of_input_gradient(ctx: Context) -> tuple[Any, Any]:
    g, grid = ctx.inputs   # what it gives is linear in g, and the same sum of products for the grid
    how = {name: value for name, value in ctx.attrs.items() if name != "size"}
    return (GRID_SAMPLE(ctx.g, grid, **how) if ctx.needs[0] else None,
            GRID_GRADIENT(g, ctx.g, grid, **how) if ctx.needs[1] else None)


# Positions are rounded to the element type, which moves weights by the image's size x eps; the
# float64 expectation is not.
TOLERANCE = 256
GRID_GRADIENT = Op("grid_sample_grid_gradient", "rrr", grid_gradient, reference.grid_sample_grid_gradient,
                   kernels=("grid_sample_grid_gradient",), todo=NO_CUDA)
INPUT_GRADIENT = Op("grid_sample_input_gradient", "rr", input_gradient,
                    reference.grid_sample_input_gradient, gradient_of_input_gradient,
                    kernels=("grid_sample_input_gradient",), todo=NO_CUDA)
GRID_SAMPLE = Op("grid_sample", "rr", forward, reference.grid_sample, gradient, check,
                 kernels=("grid_sample",), tolerance=TOLERANCE, todo=NO_CUDA, per_sample=True,
                 bytes=lambda x, grid, **_: x.nbytes + grid.nbytes
                 + x.itemsize * math.prod(plan(x.shape, grid.shape)[1]))
