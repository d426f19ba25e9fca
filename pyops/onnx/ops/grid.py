"""GridSample: an image read at positions between its pixels, over any number of axes. Jaderberg et
al., "Spatial transformer networks" (2015).
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from .resize import cubic
from .row import known, op

TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}


@op("GridSample")
def grid_sample(call):
    x, grid = known(call[0], "the image"), known(call[1], "the grid")
    mode, around = (
        call.attr("mode", "bilinear" if call.version < 20 else "linear"),
        call.attr("padding_mode", "zeros"),
    )
    n, corners = x.ndim - 2, bool(call.attr("align_corners", 0))
    if n < 1 or grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or grid.shape[-1] != n or 0 in x.shape[2:]:
        raise ValueError(f"an image of shape {x.shape} and a grid of {grid.shape} do not fit")
    if mode not in TAPS or around not in ("zeros", "border", "reflection") or not np.isfinite(grid).all():
        raise ValueError(
            f"mode {mode!r}, padding_mode {around!r}, positions "
            f"{'finite' if np.isfinite(grid).all() else 'not finite'}"
        )
    shape = call.room((*x.shape[:2], *grid.shape[1:-1]), np.float64, copies=6)
    call.work(64 * math.prod(shape) * TAPS[mode] ** n)
    axes = [
        along(grid[..., n - 1 - i].astype(np.float64), x.shape[2 + i], mode, around, corners)
        for i in range(n)
    ]  # the grid's last number is of the first axis
    y = np.zeros(shape)
    batch = np.arange(x.shape[0]).reshape(-1, *[1] * (grid.ndim - 2))
    for taps in product(*axes):
        weight = math.prod(w for _, w in taps)
        values = x[(batch, slice(None), *(at for at, _ in taps))]  # (batch, ..., channels)
        y += np.moveaxis(np.where(weight[..., None] == 0, 0, values * weight[..., None]), -1, 1)
    return y.astype(x.dtype)


def along(position, size, mode, around, corners):
    """(index, weight) of each tap along one axis; weight 0 for those that lie outside and are taken
    as zeros.
    """
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    at = (position + 1) / 2 * (high - low) + low
    if TAPS[mode] < 4 and around == "reflection":
        at = reflected(at, low, high)
    if around != "zeros" and TAPS[mode] < 4:
        at = np.clip(at, 0, size - 1)
    first = np.round(at) if mode == "nearest" else np.floor(at) - (TAPS[mode] == 4)
    taps = []
    for k in range(TAPS[mode]):
        index = first + k
        distance = np.abs(at - index)
        weight = (
            np.ones(at.shape)
            if mode == "nearest"
            else np.maximum(1 - distance, 0)
            if TAPS[mode] == 2
            else cubic(distance, -0.75)
        )
        if around == "zeros":
            weight = np.where((index < 0) | (index >= size), 0, weight)
        elif around == "reflection":
            index = reflected(index, low, high)
        taps.append((np.clip(index, 0, size - 1).astype(np.int64), weight))
    return taps


def reflected(at, low, high):
    """Mirrored at both ends, as often as it takes."""
    if high == low:
        return np.full(at.shape, low)
    turn = np.mod(at - low, 2 * (high - low))
    return low + np.minimum(turn, 2 * (high - low) - turn)
