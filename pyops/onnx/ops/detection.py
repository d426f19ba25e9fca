"""Boxes and regions, whose numbers depend on data."""

from __future__ import annotations

import math

import numpy as np

from ...ops.places import SUPPRESS, cut
from ..limits import PER_NODE
from .row import known, op


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
