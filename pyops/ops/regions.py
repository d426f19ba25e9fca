"""Features of regions of an image: roi_align, roi_pool, and their position-sensitive forms."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Array, Arrays, Sizes
from .shape import cat
from .spatial import axes
from .typed import dtype_of

reference = LateFunctions("pyops.kernels.detection.reference")

__all__ = ["ps_roi_align", "ps_roi_pool", "roi_align", "roi_pool"]

MOST_SAMPLES = 4096   # kernels/detection/regions.cpp
FARTHEST = 1 << 30   # kernels/detection/roi_pool.cpp


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
    return ROI_ALIGN(input, _rows("roi_align", input, boxes), size=size, scale=float(spatial_scale),
                     ratio=int(sampling_ratio), aligned=bool(aligned), out=out)


def roi_pool(input: Arrays, boxes: Arrays | Sequence[Arrays], output_size: Sizes, spatial_scale: float = 1.0, *,
             out: Arrays | None = None) -> Arrays:
    """Of each region a grid of output_size, the greatest of its cells' pixels, 0 of a cell without any.

    Corners are multiplied by spatial_scale and rounded, halves away from 0, and both pixels belong
    to the region; cells begin and end at whole pixels, counted exactly. NaN is the greatest.
    Arguments and result as in roi_align; the gradient goes to the first of equal pixels.
    torchvision's signature. ValueError where shapes do not fit, or a region is not finite, of no
    sample, or 2^30 pixels away. Source: Girshick, "Fast R-CNN" (2015).
    """
    size = axes(output_size, 2, "roi_pool", "output_size", 1)
    return ROI_POOL(input, _rows("roi_pool", input, boxes), size=size, scale=float(spatial_scale), out=out)


def ps_roi_align(input: Arrays, boxes: Arrays | Sequence[Arrays], output_size: Sizes, spatial_scale: float = 1.0,
                 sampling_ratio: int = -1, *, out: Arrays | None = None) -> Arrays:
    """roi_align (aligned) of which every cell has channels of its own: of input (N, C oh ow, H, W)
    channel (c oh + i) ow + j is read for cell (i, j) of the result's channel c. (K, C, oh, ow).

    Arguments and errors as in roi_align. Source: Li et al., "Light-Head R-CNN" (2017).
    """
    size = axes(output_size, 2, "ps_roi_align", "output_size", 1)
    return PS_ROI_ALIGN(input, _rows("ps_roi_align", input, boxes), size=size, scale=float(spatial_scale),
                        ratio=int(sampling_ratio), out=out)


def ps_roi_pool(input: Arrays, boxes: Arrays | Sequence[Arrays], output_size: Sizes, spatial_scale: float = 1.0, *,
                out: Arrays | None = None) -> Arrays:
    """Of each region a grid of output_size, the means of its cells' pixels, where every cell has channels
    of its own, as in ps_roi_align; 0 of a cell without pixels.

    Corners are rounded as in roi_pool, but the pixel of the second is outside. Cells are cut at the
    edges of the image (torchvision's result leaves out its last row and column, its gradient does
    not). Source: Dai et al., "R-FCN" (2016).
    """
    size = axes(output_size, 2, "ps_roi_pool", "output_size", 1)
    return PS_ROI_POOL(input, _rows("ps_roi_pool", input, boxes), size=size, scale=float(spatial_scale), out=out)


# ---- arguments

def _rows(name: str, input: Arrays, boxes: Arrays | Sequence[Arrays]) -> Arrays:
    """(K, 5), the sample of each region in front."""
    if not isinstance(boxes, (list, tuple)):
        return boxes   # type: ignore[return-value]
    if any(len(b.shape) != 2 or b.shape[1] != 4 for b in boxes) or len(boxes) != input.shape[0]:
        raise ValueError(f"{name}: boxes must be {input.shape[0]} arrays (L, 4), got "
                         f"{[tuple(b.shape) for b in boxes]}")
    dtype = np.dtype(dtype_of(input))
    return cat([cat([np.full((b.shape[0], 1), n, dtype), b], 1) for n, b in enumerate(boxes)], 0)


# ---- rows

def check_ratio(name: str, ratio: int) -> None:
    if ratio > MOST_SAMPLES:
        raise ValueError(f"{name}: sampling_ratio must be at most {MOST_SAMPLES}, got {ratio}")


def rows(name: str, tolerance: float, *, cells: bool, whole: bool) -> Op:
    """The row of a way to pool regions. cells: each has channels of its own; whole: in whole pixels."""
    def check_shapes(x: Array, regions: Array, size: tuple[int, int]) -> None:
        if len(x.shape) != 4 or min(x.shape[2:]) < 1 or len(regions.shape) != 2 or regions.shape[1] != 5:
            raise ValueError(f"{name}: takes input (N, C, H, W), of at least one pixel, and boxes (K, 5), got "
                             f"{x.shape} and {regions.shape}")
        if cells and x.shape[1] % (size[0] * size[1]):
            raise ValueError(f"{name}: channels must be a multiple of the {size[0]} x {size[1]} cells, got "
                             f"{x.shape[1]}")
        if x.shape[2] * x.shape[3] > FARTHEST:
            raise ValueError(f"{name}: an image must have at most 2^30 pixels, got {x.shape}")

    def check(x: Array, regions: Array, *, size: tuple[int, int], scale: float, ratio: int = 0, **_: Any) -> None:
        check_shapes(x, regions, size)
        check_ratio(name, ratio)
        with np.errstate(invalid="ignore", over="ignore"):
            at = regions[:, 1:] * scale
            extent = np.abs(at[:, 2:] - at[:, :2]) / np.array(size[::-1])
            near = (np.abs(at) < FARTHEST).all(1) if whole else (extent < MOST_SAMPLES - 1).all(1)
            right = (regions[:, 0] >= 0) & (regions[:, 0] < x.shape[0]) & np.isfinite(at).all(1) & near
        if not right.all():
            bound = "lie within 2^30 pixels" if whole else f"have less than {MOST_SAMPLES - 1} pixels along a cell"
            raise ValueError(f"{name}: a box must be finite, of one of the {x.shape[0]} samples, and {bound}, got "
                             f"{regions[~right][0].tolist()}")

    def shapes(x: Any, regions: Any, *, size: tuple[int, int], **_: Any) -> tuple[tuple[int, ...], ...]:
        return ((regions[0], x[1] // (size[0] * size[1]) if cells else x[1], *size),)

    def forward(k: Any, x: Array, regions: Array, *, size: tuple[int, int], **how: Any) -> Array:
        check_shapes(x, regions, size)
        known = k.host(regions)
        if known is not None:
            check(x, known, size=size, **how)
        y: Array = k.empty(shapes(x.shape, regions.shape, size=size)[0])
        getattr(k, name)(x, regions, *how.values(), y)
        return y

    def size_of(x: Any, regions: Any, *, size: tuple[int, int], **_: Any) -> int:
        return int(x.nbytes + regions.shape[0] * x.shape[1] * (1 if cells else size[0] * size[1]) * x.itemsize)

    return Op(name, "rr", forward, getattr(reference, name), _gradient(name), check, kernels=(name,),
              tolerance=tolerance, bytes=size_of, shapes=shapes)


def _gradient(name: str) -> Callable[[Context], tuple[Any, None]]:
    """roi_pool's asks where the greatest pixels were; that of the others needs the input's shape alone."""
    def of_input(k: Any, g: Array, x: Array, regions: Array, **how: Any) -> Array:
        dx: Array = k.empty(x.shape)
        k.roi_pool_backward(g, x, regions, how["scale"], dx)
        return dx

    def of_shape(k: Any, g: Array, regions: Array, *, shape: tuple[int, ...], **how: Any) -> Array:
        dx: Array = k.empty(shape)
        getattr(k, f"{name}_backward")(g, regions, *how.values(), dx)
        return dx

    asks = name == "roi_pool"
    row = Op(f"{name}_backward", "rrr" if asks else "rr", of_input if asks else of_shape,
             getattr(reference, f"{name}_backward"), kernels=(f"{name}_backward",))

    def gradient(ctx: Context) -> tuple[Any, None]:
        x, regions = ctx.inputs
        how = {key: value for key, value in ctx.attrs.items() if key != "size"}
        return row(ctx.g, x, regions, **how) if asks else row(ctx.g, regions, shape=tuple(x.shape), **how), None
    return gradient


# gradients of regions that meet add up
ROI_ALIGN = rows("roi_align", 16, cells=False, whole=False)
PS_ROI_ALIGN = rows("ps_roi_align", 16, cells=True, whole=False)
ROI_POOL = rows("roi_pool", 16, cells=False, whole=True)
PS_ROI_POOL = rows("ps_roi_pool", 64, cells=True, whole=True)
