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
    if traced(*call.inputs) and call.attr("sampling_ratio", 0) > 0:
        return sampled_regions(call)
    x, rois, batches = (known(v, "an operand") for v in call.inputs)
    h, w = call.attr("output_height", 1), call.attr("output_width", 1)
    ratio, scale = call.attr("sampling_ratio", 0), call.attr("spatial_scale", 1.0)
    mode = call.attr("mode", "avg")
    if x.ndim != 4 or rois.ndim != 2 or rois.shape[1] != 4 or batches.shape != rois.shape[:1] or 0 in x.shape:
        raise ValueError(
            f"takes an image, regions (n, 4) and their batches (n,), got {x.shape}, {rois.shape}, "
            f"{batches.shape}"
        )
    if min(h, w) < 1 or not 0 <= ratio < 1 << 15 or mode not in ("avg", "max") or not np.isfinite(rois).all():
        raise ValueError(
            f"output {h} x {w}, sampling_ratio {ratio}, mode {mode!r}, regions "
            f"{'finite' if np.isfinite(rois).all() else 'not finite'}"
        )
    if np.any((batches < 0) | (batches >= len(x))):
        raise ValueError(f"batches must be in [0, {len(x)})")
    half = call.version >= 16 and call.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
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
        if mode == "avg":
            samples = sum(parts).reshape(-1, h, rows, w, columns)
            out[r] = samples.mean((2, 4))
        else:  # ONNX takes the greatest of the weighted corners, not of their sums
            out[r] = np.max([p.reshape(-1, h, rows, w, columns).max((2, 4)) for p in parts], 0)
    return out


def sampled_regions(call):
    """RoiAlign in a Program, where the number of samples is known: four rows of the image's pixels for
    each sample.
    """
    x, rois, batches = call.inputs
    h, w, ratio, mode = (call.attr(n, d) for n, d in (
        ("output_height", 1), ("output_width", 1), ("sampling_ratio", 0), ("mode", "avg")))
    if rank(x) != 4 or rank(rois) != 2 or rois.shape[1] != 4 or tuple(batches.shape) != rois.shape[:1]:
        raise ValueError(
            f"takes an image, regions (n, 4) and their batches (n,), got {tuple(x.shape)}, "
            f"{tuple(rois.shape)}, {tuple(batches.shape)}"
        )
    if min(h, w) < 1 or ratio >= 1 << 15 or mode not in ("avg", "max") or 0 in x.shape:
        raise ValueError(f"output {h} x {w}, sampling_ratio {ratio}, mode {mode!r}, an image {tuple(x.shape)}")
    (n, c, high, wide), count, rows, columns = x.shape, rois.shape[0], h * ratio, w * ratio
    call.room((count, rows, columns, c), x.dtype, copies=6)
    call.work(16 * count * rows * columns * c)
    half = call.version >= 16 and call.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
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
    bins = [F.reshape(p, (count, h, ratio, w, ratio, c)) for p in parts]
    if mode == "avg":
        y = F.mean(F.add(F.add(bins[0], bins[1]), F.add(bins[2], bins[3])), (2, 4))
    else:
        y = F.amax(bins[0], (2, 4))
        for part in bins[1:]:
            y = F.maximum(y, F.amax(part, (2, 4)))
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
