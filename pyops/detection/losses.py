"""Losses of boxes as wholes, pair by pair: how little two overlap."""
from __future__ import annotations

from math import pi
from typing import Any

from .. import functional as F
from ..core.tensor import Tensor

__all__ = ["ciou_loss", "diou_loss", "giou_loss", "iou_loss"]

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


def diou_loss(boxes: Any, others: Any) -> Any:
    """1 - IoU + the squared distance of the centres over the squared diagonal of the box around both
    (..., 1). Zheng et al., "Distance-IoU Loss" (2020)."""
    around = F.sub(F.maximum(boxes[..., 2:], others[..., 2:]), F.minimum(boxes[..., :2], others[..., :2]))
    apart = F.sub(F.add(boxes[..., :2], boxes[..., 2:]), F.add(others[..., :2], others[..., 2:]))
    squares = [F.sum(F.square(side), -1, keepdim=True) for side in (apart, around)]
    return F.add(iou_loss(boxes, others), F.div(F.mul(squares[0], 0.25), F.add(squares[1], SMALL)))


def ciou_loss(boxes: Any, others: Any) -> Any:
    """diou_loss and a term for proportions that differ (..., 1): v^2 / (1 - IoU + v) with v = 4 / pi^2
    (difference of atan(width / height))^2, whose weight v / (1 - IoU + v) takes no gradient. Zheng et
    al. (2020)."""
    angles = [F.atan(F.div(box[..., 2:3] - box[..., :1], F.add(box[..., 3:] - box[..., 1:2], SMALL)))
              for box in (boxes, others)]
    v = F.mul(F.square(F.sub(*angles)), 4 / pi ** 2)
    still, apart = (fixed(x) for x in (v, iou_loss(boxes, others)))
    return F.add(diou_loss(boxes, others), F.mul(v, F.div(still, F.add(F.add(apart, still), SMALL))))


def fixed(x: Any) -> Any:
    """The value without its gradient."""
    return x.detach() if isinstance(x, Tensor) else x
