"""Features of regions from the levels of a pyramid."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays, Sizes
from .regions import FARTHEST, MOST_SAMPLES, check_ratio
from .spatial import axes

reference = LateFunctions("pyops.kernels.detection.reference")

__all__ = ["pyramid_roi_align"]


def pyramid_roi_align(maps: Sequence[Any], boxes: Arrays, levels: Arrays, output_size: Sizes,
                      spatial_scales: Sequence[float], sampling_ratio: int = -1, aligned: bool = False) -> Arrays:
    """roi_align of each region from the map of its level: what torchvision's MultiScaleRoIAlign computes
    once it knows the levels.

    maps: (N, C, H, W) each, H and W of their own, with a spatial scale each; boxes: (K, 5) rows (sample,
    x1, y1, x2, y2); levels: (K,) int64, places in maps (one outside counts as the nearest). All else as
    roi_align. Returns (K, C, oh, ow); the gradient goes to the maps. Source: Lin et al. (2017).
    """
    size = axes(output_size, 2, "pyramid_roi_align", "output_size", 1)
    found: Arrays = PYRAMID_ROI_ALIGN(boxes, levels, *maps, size=size, scales=tuple(map(float, spatial_scales)),
                                      ratio=int(sampling_ratio), aligned=bool(aligned))
    return found


# ---- rows

def pyramid_shapes(regions: Array, levels: Array, maps: Sequence[Array], scales: tuple[float, ...]) -> None:
    if not maps or len(scales) != len(maps):
        raise ValueError(f"pyramid_roi_align: as many spatial scales as maps, got {len(scales)} and {len(maps)}")
    if any(len(x.shape) != 4 or x.shape[:2] != maps[0].shape[:2] or min(x.shape[2:]) < 1
           or x.shape[2] * x.shape[3] > FARTHEST for x in maps):
        raise ValueError("pyramid_roi_align: maps are (N, C, H, W) with one N and C, of 1 to 2^30 pixels, got "
                         f"{[tuple(x.shape) for x in maps]}")
    if len(regions.shape) != 2 or regions.shape[1] != 5 or tuple(levels.shape) != tuple(regions.shape[:1]):
        raise ValueError(f"pyramid_roi_align: takes boxes (K, 5) and levels (K,), got {tuple(regions.shape)} and "
                         f"{tuple(levels.shape)}")


def pyramid_check(regions: Array, levels: Array, *maps: Array, size: tuple[int, int], scales: tuple[float, ...],
                  ratio: int = 0, **_: Any) -> None:
    pyramid_shapes(regions, levels, maps, scales)
    check_ratio("pyramid_roi_align", ratio)
    scale = np.array(scales)[np.clip(levels, 0, len(maps) - 1)][:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        at = regions[:, 1:] * scale
        extent = np.abs(at[:, 2:] - at[:, :2]) / np.array(size[::-1])
        right = (regions[:, 0] >= 0) & (regions[:, 0] < maps[0].shape[0]) & np.isfinite(at).all(1) & (
            extent < MOST_SAMPLES - 1).all(1)
    if not right.all():
        raise ValueError(f"pyramid_roi_align: a box must be finite, of one of the {maps[0].shape[0]} samples, and have "
                         f"less than {MOST_SAMPLES - 1} pixels along a cell, got {regions[~right][0].tolist()}")


def pyramid_forward(k: Any, regions: Array, levels: Array, *maps: Array, size: tuple[int, int],
                    scales: tuple[float, ...], ratio: int, aligned: bool) -> Array:
    pyramid_shapes(regions, levels, maps, scales)
    known, of_level = k.host(regions), k.host(levels)
    if known is not None and of_level is not None:
        pyramid_check(known, of_level, *maps, size=size, scales=scales, ratio=ratio)
    y: Array = k.empty((regions.shape[0], maps[0].shape[1], *size))
    for level, (x, scale) in enumerate(zip(maps, scales)):
        k.roi_align_level(x, regions, levels, level, len(maps) - 1, scale, ratio, aligned, y)
    return y


def pyramid_backward(k: Any, g: Array, regions: Array, levels: Array, *, shapes: tuple[tuple[int, ...], ...],
                     scales: tuple[float, ...], ratio: int, aligned: bool) -> tuple[Array, ...]:
    found = tuple(k.empty(shape) for shape in shapes)
    for level, (dx, scale) in enumerate(zip(found, scales)):
        k.roi_align_level_backward(g, regions, levels, level, len(shapes) - 1, scale, ratio, aligned, dx)
    return found


def pyramid_gradient(ctx: Context) -> tuple[Any, ...]:
    regions, levels, *maps = ctx.inputs
    how = {name: value for name, value in ctx.attrs.items() if name != "size"}
    return None, None, *PYRAMID_ROI_ALIGN_BACKWARD(ctx.g, regions, levels, shapes=tuple(tuple(x.shape) for x in maps),
                                                   **how)


PYRAMID_ROI_ALIGN_BACKWARD = Op("pyramid_roi_align_backward", "rri", pyramid_backward,
                                reference.pyramid_roi_align_backward, kernels=("roi_align_level_backward",))
PYRAMID_ROI_ALIGN = Op(
    "pyramid_roi_align", "rir*", pyramid_forward, reference.pyramid_roi_align, pyramid_gradient, pyramid_check,
    kernels=("roi_align_level",), tolerance=1024, checks_indices=True,   # a level is the nearest one
    bytes=lambda regions, levels, *maps, size, **_: sum(x.nbytes for x in maps)
    + regions.shape[0] * maps[0].shape[1] * size[0] * size[1] * 4)
