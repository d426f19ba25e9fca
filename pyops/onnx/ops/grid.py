"""GridSample and AffineGrid: an image read at positions between its pixels. Jaderberg et al.,
"Spatial transformer networks" (2015).
"""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from .row import known, op, rank, real

MODES = {"nearest": 0, "linear": 1, "bilinear": 1, "cubic": 2, "bicubic": 2}
OURS = ("nearest", "bilinear", "bicubic")
AROUND = {"zeros": 0, "border": 1, "reflection": 2}


@op("GridSample")
def grid_sample(call):
    """By F.grid_sample for images of two and three axes, by its definition for others."""
    x, grid = call[0], call[1]
    mode, around = (
        call.attr("mode", "bilinear" if call.version < 20 else "linear"),
        call.attr("padding_mode", "zeros"),
    )
    n, corners = rank(x) - 2, bool(call.attr("align_corners", 0))
    if (
        n < 1
        or rank(grid) != rank(x)
        or grid.shape[0] != x.shape[0]
        or grid.shape[-1] != n
        or 0 in x.shape[2:]
    ):
        raise ValueError(
            f"an image of shape {tuple(x.shape)} and a grid of {tuple(grid.shape)} do not fit"
        )
    if mode not in MODES or around not in AROUND:
        raise ValueError(f"mode {mode!r}, padding_mode {around!r}")
    shape = call.room((*x.shape[:2], *grid.shape[1:-1]), np.float64, copies=6)
    call.work(64 * math.prod(shape) * (1, 2, 4)[MODES[mode]] ** n)
    if n in (2, 3) and real(x, grid):
        return F.grid_sample(x, grid, OURS[MODES[mode]], around, corners)
    from ...kernels.grid_sample import reference

    x, grid = known(x, "the image"), known(grid, "the grid")
    y = reference.grid_sample(
        x.astype(np.float64), grid.astype(np.float64), mode=MODES[mode], around=AROUND[around], corners=corners
    )
    return y.astype(x.dtype)


@op("AffineGrid")
def affine_grid(call):
    """Positions of every pixel under an affine map: theta may be traced, size is known."""
    theta, size = call[0], call.numbers(1, "size")
    call.room((math.prod(size[:1] + size[2:]), max(len(size) - 2, 1)), np.float64, copies=4)
    return F.affine_grid(theta, size, bool(call.attr("align_corners", 0)))
