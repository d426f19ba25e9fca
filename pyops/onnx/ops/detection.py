"""Boxes and regions, whose numbers depend on data."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...ops.gather import TAKE
from ...ops.places import SUPPRESS, cut
from ...ops.typed import as_type
from ..limits import PER_NODE
from .row import known, op, rank, traced


@op("NonMaxSuppression")
def non_max_suppression(call):
    """(selected, 3) of batch, class and box. Greedy by score; a box goes if it overlaps one kept by
    more than iou_threshold. Neubeck & Van Gool (2006).
    """
    boxes, scores = call[0], call[1]
    most, iou, least = (None if call[i] is None else call.number(i, "a limit") for i in (2, 3, 4))
    if len(boxes.shape) != 3 or len(scores.shape) != 3:
        raise ValueError(
            f"boxes (batch, boxes, 4) and scores (batch, classes, boxes), got {tuple(boxes.shape)} and "
            f"{tuple(scores.shape)}"
        )
    batch, classes, n = scores.shape
    most = 0 if most is None else max(0, min(most, n))
    call.work(batch * classes * (n * 64 + most * n * 16 + (1 << 15)))
    call.room((batch, classes, most, 3), np.int64, copies=2)
    chosen, count = SUPPRESS(boxes, scores, most=most, iou=0.0 if iou is None else iou,
                             least=-math.inf if least is None else least,
                             center=bool(call.attr("center_point_box", 0)))
    return cut(chosen, count)


@op("RoiAlign")
def roi_align(call):
    """Mean or maximum of bilinear samples in each bin of a region, 0 where a region is empty. He et
    al., "Mask R-CNN" (2017).
    """
    x, rois, batches = call.inputs
    h, w = call.attr("output_height", 1), call.attr("output_width", 1)
    ratio, mode = call.attr("sampling_ratio", 0), call.attr("mode", "avg")
    if rank(x) != 4 or rank(rois) != 2 or rois.shape[1] != 4 or tuple(batches.shape) != tuple(rois.shape[:1]):
        raise ValueError(f"takes an image, regions (n, 4) and their batches (n,), got {tuple(x.shape)}, "
                         f"{tuple(rois.shape)}, {tuple(batches.shape)}")
    if min(h, w) < 1 or not 0 <= ratio < 1 << 15 or mode not in ("avg", "max") or 0 in x.shape:
        raise ValueError(f"output {h} x {w}, sampling_ratio {ratio}, mode {mode!r}, an image {tuple(x.shape)}")
    if mode == "avg":
        return mean_regions(call, x, rois, batches, (h, w), ratio)
    return greatest_samples(call, h, w, ratio) if traced(*call.inputs) and ratio else greatest_known(call, h, w, ratio)


def half_pixel(call):
    return call.version >= 16 and call.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"


def of_samples(x, rois, batches):
    """(n, 5): the sample of each region in front of its corners, in the type of x; an index that is none is
    found when they are looked up."""
    samples = np.arange(x.shape[0], dtype=x.dtype)
    which = TAKE(samples, as_type(batches, np.int64), dim=0, wrap=False)
    return F.cat([F.reshape(which, (-1, 1)), as_type(rois, x.dtype)], 1)


def pooled(call, x, size, count, rows, function):
    """function(x) in a type that kernels take, in x's. rows: of pixels that a region may take."""
    call.room((count, x.shape[1], *size), np.float32, copies=2)
    call.work(count * x.shape[1] * (rows * x.shape[3] + math.prod(size) * x.shape[3]) + PER_NODE)
    if x.dtype in (np.float32, np.float64):
        return function(x)
    return as_type(function(as_type(x, np.float32)), x.dtype)


def mean_regions(call, x, rois, batches, size, ratio):
    rows = min(2 * ratio * size[0], x.shape[2]) if ratio else x.shape[2]
    return pooled(call, x, size, rois.shape[0], rows,
                  lambda x: F.roi_align(x, of_samples(x, rois, batches), size, float(call.attr("spatial_scale", 1.0)),
                                        ratio, half_pixel(call)))


@op("MaxRoiPool")
def max_roi_pool(call):
    """The greatest pixel in each bin of a region of whole pixels. Girshick, "Fast R-CNN" (2015)."""
    x, rois = call[0], call[1]
    size = tuple(call.attr("pooled_shape"))
    if rank(x) != 4 or rank(rois) != 2 or rois.shape[1] != 5 or len(size) != 2 or min(size) < 1:
        raise ValueError(f"takes an image, regions (n, 5) and pooled_shape of two sizes, got {tuple(x.shape)}, "
                         f"{tuple(rois.shape)} and {size}")
    return pooled(call, x, size, rois.shape[0], x.shape[2] + 2 * size[0],
                  lambda x: F.roi_pool(x, as_type(rois, x.dtype), size, float(call.attr("spatial_scale", 1.0))))


def greatest_known(call, h, w, ratio):
    x, rois, batches = (known(v, "an operand") for v in call.inputs)
    scale = call.attr("spatial_scale", 1.0)
    if not np.isfinite(rois).all():
        raise ValueError("regions must be finite")
    if np.any((batches < 0) | (batches >= len(x))):
        raise ValueError(f"batches must be in [0, {len(x)})")
    half = half_pixel(call)
    out = np.zeros(call.room((len(rois), x.shape[1], h, w), x.dtype), x.dtype)
    for r, (roi, batch) in enumerate(zip(rois.astype(np.float64), batches)):
        x1, y1, x2, y2 = roi * scale - (0.5 if half else 0)
        wide, high = x2 - x1, y2 - y1
        if not half:
            wide, high = max(wide, 1), max(high, 1)
        rows, columns = ratio or math.ceil(high / h), ratio or math.ceil(wide / w)
        if rows < 1 or columns < 1:
            continue
        call.work(PER_NODE + 64 * x.shape[1] * h * rows * w * columns)
        call.room((x.shape[1], h * rows, w * columns), np.float64, copies=6)
        ys = y1 + (np.arange(h)[:, None] + (np.arange(rows) + 0.5) / rows) * high / h
        xs = x1 + (np.arange(w)[:, None] + (np.arange(columns) + 0.5) / columns) * wide / w
        parts = corner_values(x[batch], ys.reshape(-1), xs.reshape(-1))
        # ONNX takes the greatest of the weighted corners, not of their sums
        out[r] = np.max([p.reshape(-1, h, rows, w, columns).max((2, 4)) for p in parts], 0)
    return out


def greatest_samples(call, h, w, ratio):
    """The greatest of weighted corners in a Program, where the number of samples is known: four rows of
    the image's pixels for each sample.
    """
    x, rois, batches = call.inputs
    (n, c, high, wide), count, rows, columns = x.shape, rois.shape[0], h * ratio, w * ratio
    call.room((count, rows, columns, c), x.dtype, copies=6)
    call.work(16 * count * rows * columns * c)
    half = half_pixel(call)
    rois = F.sub(F.mul(rois, call.attr("spatial_scale", 1.0)), 0.5 if half else 0.0)

    def along(first, bins, size):
        """Of one axis: (the lower row, its weight), (the upper row, its weight), whether within."""
        start, end = (F.getitem(rois, (slice(None), slice(first + i, first + i + 1))) for i in (0, 2))
        length = F.sub(end, start) if half else F.maximum(F.sub(end, start), 1.0)
        grid = (np.arange(bins)[:, None] + (np.arange(ratio) + 0.5) / ratio).reshape(1, -1) / bins
        at = F.add(start, F.mul(length, grid.astype(x.dtype)))
        inside = F.logical_and(F.ge(at, -1.0), F.le(at, float(size)))
        at = F.clamp(at, 0.0, float(size - 1))
        low = F.floor(at)
        part, below = F.sub(at, low), as_type(low, np.int64)
        return (below, F.sub(1.0, part)), (F.minimum(F.add(below, np.int64(1)), np.int64(size - 1)), part), inside

    ys, xs = along(1, h, high), along(0, w, wide)
    pixels = F.reshape(F.permute(x, (0, 2, 3, 1)), (n * high * wide, c))
    base = F.mul(F.reshape(as_type(batches, np.int64), (count, 1, 1)), np.int64(high * wide))
    seen = F.logical_and(F.reshape(ys[2], (count, rows, 1)), F.reshape(xs[2], (count, 1, columns)))
    parts = []
    for row, fy in ys[:2]:
        for column, fx in xs[:2]:
            place = F.add(base, F.add(F.mul(F.reshape(row, (count, rows, 1)), np.int64(wide)),
                                      F.reshape(column, (count, 1, columns))))
            weight = F.where(seen, F.mul(F.reshape(fy, (count, rows, 1)), F.reshape(fx, (count, 1, columns))), 0.0)
            value = TAKE(pixels, place, dim=0, wrap=False)
            parts.append(F.mul(value, F.reshape(weight, (count, rows, columns, 1))))
    bins = [F.amax(F.reshape(p, (count, h, ratio, w, ratio, c)), (2, 4)) for p in parts]
    y = F.maximum(F.maximum(bins[0], bins[1]), F.maximum(bins[2], bins[3]))
    return F.permute(y, (0, 3, 1, 2))


def corner_values(image, ys, xs):
    """The four weighted neighbours of each sample; samples more than a pixel outside are zero."""
    h, w = image.shape[1:]
    inside = ((ys >= -1) & (ys <= h))[:, None] & ((xs >= -1) & (xs <= w))
    ys, xs = np.clip(ys, 0, h - 1), np.clip(xs, 0, w - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    fy, fx = (ys - top)[:, None], xs - left
    return [
        image[:, r[:, None], c] * weight * inside
        for r, c, weight in (
            (top, left, (1 - fy) * (1 - fx)),
            (top, right, (1 - fy) * fx),
            (bottom, left, fy * (1 - fx)),
            (bottom, right, fy * fx),
        )
    ]
