"""Boxes and regions: data-dependent, in NumPy."""
from __future__ import annotations

import numpy as np

from .row import known, op


def corners(boxes, center):
    if center:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    y1, x1, y2, x2 = np.moveaxis(boxes, -1, 0)
    return np.stack([np.minimum(y1, y2), np.minimum(x1, x2), np.maximum(y1, y2), np.maximum(x1, x2)], -1)


@op("NonMaxSuppression")
def non_max_suppression(call):
    """(selected, 3) of batch, class and box. Greedy by score; a box goes if it overlaps one kept by more than iou_threshold. Neubeck & Van Gool (2006)."""
    boxes, scores = known(call[0], "the boxes"), known(call[1], "the scores")
    most, iou, least = (None if v is None else known(v, "a limit").reshape(-1)[0] for v in (call[2], call[3], call[4]))
    found = []
    for batch in range(boxes.shape[0]):
        box = corners(boxes[batch].astype(np.float64), call.attr("center_point_box", 0))
        area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
        for kind in range(scores.shape[1]):
            score = scores[batch, kind]
            order = [i for i in np.argsort(-score, kind="stable") if least is None or score[i] > least]
            kept = []
            while order and len(kept) < (0 if most is None else most):
                best = order.pop(0)
                kept.append(best)
                rest = np.array(order, int)
                low, high = np.maximum(box[best, :2], box[rest, :2]), np.minimum(box[best, 2:], box[rest, 2:])
                shared = np.prod(np.maximum(high - low, 0), -1)
                order = list(rest[shared <= (0.0 if iou is None else iou) * (area[best] + area[rest] - shared)])
            found += [[batch, kind, i] for i in kept]
    return np.array(found, np.int64).reshape(-1, 3)


@op("RoiAlign")
def roi_align(call):
    """Mean or maximum of bilinear samples in each bin of a region. He et al., "Mask R-CNN" (2017)."""
    x, rois, batches = (known(v, "an operand") for v in call.inputs)
    h, w = call.attr("output_height", 1), call.attr("output_width", 1)
    ratio, scale = call.attr("sampling_ratio", 0), call.attr("spatial_scale", 1.0)
    half = call.version >= 16 and call.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    out = np.zeros((len(rois), x.shape[1], h, w), x.dtype)
    for r, (roi, batch) in enumerate(zip(rois, batches)):
        x1, y1, x2, y2 = roi * scale - (0.5 if half else 0)
        wide, high = x2 - x1, y2 - y1
        if not half:
            wide, high = max(wide, 1), max(high, 1)
        rows, columns = ratio or int(np.ceil(high / h)), ratio or int(np.ceil(wide / w))
        ys = y1 + (np.arange(h)[:, None] + (np.arange(rows) + 0.5) / rows) * high / h
        xs = x1 + (np.arange(w)[:, None] + (np.arange(columns) + 0.5) / columns) * wide / w
        parts = corner_values(x[batch], ys.reshape(-1), xs.reshape(-1))
        if call.attr("mode", "avg") == "avg":
            samples = sum(parts).reshape(-1, h, rows, w, columns)
            out[r] = samples.mean((2, 4))
        else:   # ONNX takes the greatest of the weighted corners, not of their sums
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
    return [image[:, r[:, None], c] * weight * inside for r, c, weight in (
        (top, left, (1 - fy) * (1 - fx)), (top, right, (1 - fy) * fx), (bottom, left, fy * (1 - fx)), (bottom, right, fy * fx))]
