"""Operators that torchvision's detectors are traced with (capture.py), with fake kernels: what torch
computes by them is what torchvision does.

Suppression and regions are rows of ours in a Program; pasting masks and reading keypoints stay
torchvision's Python, as single calls.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .. import functional as F
from ..graph.counted import Counted
from ..ops.typed import as_type
from . import counted
from .aten import TABLE
from .counted import filled, same_length
from .library import library

SCHEMAS = (
    "batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor",
    "pyramid_roi_align(Tensor[] maps, Tensor boxes, Tensor levels, SymInt height, SymInt width, float[] scales, "
    "int sampling_ratio) -> Tensor",
    "paste_masks(Tensor masks, Tensor boxes, SymInt height, SymInt width, int padding) -> Tensor",
    "keypoints_of_heatmaps(Tensor maps, Tensor boxes) -> (Tensor, Tensor)",
)
for _schema in SCHEMAS:
    library.define(_schema)
TRICK = 4000   # numbers of boxes: up to there torchvision moves classes apart, which rounds


# ---- what torch computes: torchvision's own

def batched_nms(boxes, scores, idxs, threshold):
    from torchvision.ops import boxes as ops
    return ops.batched_nms(boxes, scores, idxs, threshold)


def pyramid_roi_align(maps, boxes, levels, height, width, scales, ratio):
    result = torch.zeros((len(boxes), maps[0].shape[1], height, width), dtype=maps[0].dtype)
    for level, (features, scale) in enumerate(zip(maps, scales)):
        at = torch.where(levels == level)[0]
        result[at] = torch.ops.torchvision.roi_align(features, boxes[at], scale, height, width, ratio, False)
    return result


def paste_masks(masks, boxes, height, width, padding):
    from torchvision.models.detection import roi_heads
    return roi_heads.paste_masks_in_image(masks, boxes, (height, width), padding).clone()


def keypoints_of_heatmaps(maps, boxes):
    from torchvision.models.detection import roi_heads
    points, scores = roi_heads.heatmaps_to_keypoints(maps, boxes)
    return points.contiguous(), scores


for _function in (batched_nms, pyramid_roi_align, paste_masks, keypoints_of_heatmaps):
    library.impl(_function.__name__, _function, "CPU")


def fake(name: str, shapes) -> None:
    torch.library.register_fake(f"pyops::{name}", shapes, lib=library)


fake("batched_nms", lambda boxes, *_: boxes.new_empty([torch.library.get_ctx().new_dynamic_size()], dtype=torch.int64))
fake("pyramid_roi_align", lambda maps, boxes, levels, height, width, *_: maps[0].new_empty(
    (boxes.shape[0], maps[0].shape[1], height, width)))
fake("paste_masks", lambda masks, boxes, height, width, padding: masks.new_empty((masks.shape[0], 1, height, width)))
fake("keypoints_of_heatmaps", lambda maps, boxes: (
    maps.new_empty((boxes.shape[0], maps.shape[1], 3), dtype=torch.float32),
    maps.new_empty((boxes.shape[0], maps.shape[1]), dtype=torch.float32)))


# ---- what a Program computes

@counted.takes("pyops.batched_nms.default")
def suppress(boxes, scores, groups, threshold):
    """Which boxes stay, as torchvision finds them: few boxes are moved apart by their groups."""
    n = boxes.shape[0]
    if not n:
        raise counted.Refused("no boxes")
    given = [v for v in (boxes, scores, groups) if isinstance(v, Counted)]
    count = same_length(given).count if given else np.asarray(n, np.int64)
    corners, of = counted.plain(boxes), as_type(counted.plain(groups), np.int64)
    if 4 * n <= TRICK or given:
        farthest = F.amax(filled(boxes, -math.inf), (0, 1))
        step = F.add(farthest, np.ones((), boxes.dtype))
        moved = F.add(corners, F.reshape(F.mul(as_type(of, boxes.dtype), step), (n, 1)))
        one = F.mul(of, 0)
        if 4 * n <= TRICK:
            corners, of = moved, one
        else:
            few = F.le(F.mul(count, 4), TRICK)
            corners, of = F.where(few, moved, corners), F.where(few, one, of)
    if not given:
        return counted.suppressed(corners, counted.plain(scores), of, threshold)
    return counted.suppressed(Counted(corners, 0, count), scores, Counted(of, 0, count), threshold)


@counted.takes("pyops.pyramid_roi_align.default")
def pool(maps, boxes, levels, height, width, scales, ratio):
    if any(isinstance(x, Counted) for x in maps) or not isinstance(boxes, Counted) or boxes.axis:
        raise counted.Refused("maps whose number a run decides")
    same_length([boxes, levels])
    found = F.pyramid_roi_align(maps, filled(boxes, 0), filled(levels, 0), (height, width), scales, ratio)
    return Counted(found, 0, boxes.count)


TABLE["pyops.batched_nms.default"] = suppress
TABLE["pyops.pyramid_roi_align.default"] = lambda maps, boxes, levels, height, width, scales, ratio: (
    F.pyramid_roi_align(maps, boxes, levels, (height, width), scales, ratio))
counted.BEGIN.add("pyops.batched_nms.default")
