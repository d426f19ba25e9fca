"""Features of regions of an image: roi_align."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays, Sizes
from .shape import cat
from .spatial import axes
from .typed import NO_CUDA, dtype_of

reference = LateFunctions("pyops.kernels.detection.reference")

__all__ = ["roi_align"]

MOST_SAMPLES = 4096   # kernels/detection/regions.cpp


def roi_align(input: Arrays, boxes: Arrays | Sequence[Arrays], output_size: Sizes, spatial_scale: float = 1.0,
              sampling_ratio: int = -1, aligned: bool = False, *, out: Arrays | None = None) -> Arrays:
    """Of each region a grid of output_size, the means of samples that lie evenly in its cells.

    input: (N, C, H, W), float32 or float64; boxes: (K, 5) rows (sample, x1, y1, x2, y2) of input's
    type, or a list of N arrays (L, 4) without the sample. spatial_scale: what coordinates are
    multiplied by. sampling_ratio: samples along each axis of a cell, not positive: as many as it has
    pixels. aligned: pixels have their centres at whole numbers plus a half. Returns (K, C, oh, ow).
    The gradient goes to input. torchvision's signature. Raises ValueError where shapes do not fit, or
    a region is not finite, of no sample, or has more than 4096 pixels along a cell. Source: He et al.
    (2017).
    """
    size = axes(output_size, 2, "roi_align", "output_size", 1)
    if isinstance(boxes, (list, tuple)):
        if any(len(b.shape) != 2 or b.shape[1] != 4 for b in boxes) or len(boxes) != input.shape[0]:
            raise ValueError(f"roi_align: boxes must be {input.shape[0]} arrays (L, 4), got "
                             f"{[tuple(b.shape) for b in boxes]}")
        dtype = np.dtype(dtype_of(input))
        boxes = cat([cat([np.full((b.shape[0], 1), n, dtype), b], 1) for n, b in enumerate(boxes)], 0)
    return ROI_ALIGN(input, boxes, size=size, scale=float(spatial_scale), ratio=int(sampling_ratio),
                     aligned=bool(aligned), out=out)


# ---- rows

def check_shapes(x: Array, regions: Array) -> None:
    if len(x.shape) != 4 or min(x.shape[2:]) < 1 or len(regions.shape) != 2 or regions.shape[1] != 5:
        raise ValueError(f"roi_align: takes input (N, C, H, W), of at least one pixel, and boxes (K, 5), got {x.shape} "
                         f"and {regions.shape}")


def check(x: Array, regions: Array, *, size: tuple[int, int], scale: float, **_: Any) -> None:
    check_shapes(x, regions)
    with np.errstate(invalid="ignore", over="ignore"):
        extent = np.abs(regions[:, 3:] - regions[:, 1:3]) * abs(scale) / np.array(size[::-1])
        right = (regions[:, 0] >= 0) & (regions[:, 0] < x.shape[0]) & np.isfinite(regions * scale).all(1) & (
            extent < MOST_SAMPLES - 1).all(1)
    if not right.all():
        raise ValueError(f"roi_align: a box must be finite, of one of the {x.shape[0]} samples, and have less than "
                         f"{MOST_SAMPLES - 1} pixels along a cell, got {regions[~right][0].tolist()}")


def forward(k: Any, x: Array, regions: Array, *, size: tuple[int, int], scale: float, ratio: int,
            aligned: bool) -> Array:
    check_shapes(x, regions)
    known = k.host(regions)
    if known is not None:
        check(x, known, size=size, scale=scale)
    y: Array = k.empty((regions.shape[0], x.shape[1], *size))
    k.roi_align(x, regions, scale, ratio, aligned, y)
    return y


def backward(k: Any, g: Array, regions: Array, *, shape: tuple[int, ...], scale: float, ratio: int,
             aligned: bool) -> Array:
    dx: Array = k.empty(shape)
    k.roi_align_backward(g, regions, scale, ratio, aligned, dx)
    return dx


def gradient(ctx: Context) -> tuple[Any, None]:
    how = {name: value for name, value in ctx.attrs.items() if name != "size"}
    return ROI_ALIGN_BACKWARD(ctx.g, ctx.inputs[1], shape=tuple(ctx.inputs[0].shape), **how), None


ROI_ALIGN_BACKWARD = Op("roi_align_backward", "rr", backward, reference.roi_align_backward,
                        kernels=("roi_align_backward",), todo=NO_CUDA)
# places are rounded to the element type, as in grid_sample
ROI_ALIGN = Op("roi_align", "rr", forward, reference.roi_align, gradient, check, kernels=("roi_align",),
               tolerance=1024, todo=NO_CUDA,
               bytes=lambda x, regions, *, size, **_: x.nbytes + regions.shape[0] * x.shape[1] * size[0] * size[1] * 4)
