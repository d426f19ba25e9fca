"""Losses of boxes as wholes, pair by pair: how little two overlap."""
from __future__ import annotations

from typing import Any

from .. import functional as F

__all__ = ["giou_loss", "iou_loss"]

SMALL = 1e-7   # added to areas that are divided by


def shared(boxes: Any, others: Any) -> tuple[Any, Any]:
    """Areas (..., 1) of intersections and unions of corners (..., 4)."""
    corner = F.maximum(boxes[..., :2], others[..., :2])
    extent = F.clamp(F.sub(F.minimum(boxes[..., 2:], others[..., 2:]), corner), min=0)
    both = F.mul(extent[..., :1], extent[..., 1:])
    return both, F.sub(F.add(area(boxes), area(others)), both)


def area(boxes: Any) -> Any:
    return F.mul(F.sub(boxes[..., 2:3], boxes[..., :1]), F.sub(boxes[..., 3:], boxes[..., 1:2]))


def iou_loss(boxes: Any, others: Any) -> Any:
    """1 - intersection over union (..., 1)."""
    both, union = shared(boxes, others)
    return F.sub(1.0, F.div(both, F.add(union, SMALL)))


def giou_loss(boxes: Any, others: Any) -> Any:
    """1 - IoU + the share of the smallest box around both that neither fills (..., 1): two boxes
    that do not meet are drawn together. Rezatofighi et al. (2019)."""
    both, union = shared(boxes, others)
    corner, end = F.minimum(boxes[..., :2], others[..., :2]), F.maximum(boxes[..., 2:], others[..., 2:])
    around = area(F.cat([corner, end], -1))
    return F.sub(F.sub(1.0, F.div(both, F.add(union, SMALL))),
                 F.neg(F.div(F.sub(around, union), F.add(around, SMALL))))
