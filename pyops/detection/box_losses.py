"""Losses of boxes by how far they overlap: 1 - IoU and its relatives, with gradients.

Rezatofighi et al., "Generalized Intersection over Union" (2019); Zheng et al., "Distance-IoU Loss"
(2020).
"""
from __future__ import annotations

from math import pi
from typing import Any

from .. import functional as F
from ..core.tensor import Tensor

TINY = 1e-7   # keeps quotients finite


def overlap_loss(boxes: Any, target: Any, kind: str) -> Any:
    """(n,): 1 minus IoU, or GIoU, DIoU, CIoU, of boxes (n, 4) and target (n, 4), corners."""
    return 1 - overlap(boxes, target, kind)


def overlap(a: Any, b: Any, kind: str = "iou") -> Any:
    """(n,): IoU, or GIoU, DIoU, CIoU, of boxes a (n, 4) and b (n, 4), corners.

    As is usual, the weight of CIoU's term of proportions takes no gradient.
    """
    size_a, size_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    sides = F.relu(F.minimum(a[:, 2:], b[:, 2:]) - F.maximum(a[:, :2], b[:, :2]))
    shared = sides[:, 0] * sides[:, 1]
    union = size_a[:, 0] * size_a[:, 1] + size_b[:, 0] * size_b[:, 1] - shared
    iou = shared / (union + TINY)
    if kind == "iou":
        return iou
    around = F.maximum(a[:, 2:], b[:, 2:]) - F.minimum(a[:, :2], b[:, :2])
    if kind == "giou":
        whole = around[:, 0] * around[:, 1]
        return iou - (whole - union) / (whole + TINY)
    apart = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) * 0.5
    distance = F.sum(F.square(apart), 1) / (F.sum(F.square(around), 1) + TINY)
    if kind == "diou":
        return iou - distance
    angle = F.atan(size_b[:, 0] / size_b[:, 1]) - F.atan(size_a[:, 0] / size_a[:, 1])
    proportion = F.square(angle) * (4 / pi ** 2)
    fixed = proportion.detach() if isinstance(proportion, Tensor) else proportion
    still = iou.detach() if isinstance(iou, Tensor) else iou
    return iou - distance - proportion * (fixed / (1 - still + fixed + TINY))
