"""Boxes: their forms, areas and overlaps, and the losses of one box beside another. Under
torchvision.ops' names.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays, Reduction
from .comparison import ge, logical_and
from .elementwise import add, clamp, mul, sub
from .places import NONZERO, cut
from .reduction import mean, sum
from .shape import broadcast_to, getitem, reshape, stack

reference = LateFunctions("pyops.kernels.detection.reference")

__all__ = ["box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou",
           "complete_box_iou_loss", "distance_box_iou", "distance_box_iou_loss", "generalized_box_iou",
           "generalized_box_iou_loss", "remove_small_boxes"]

FORMS = ("xyxy", "xywh", "cxcywh")
EPS = 1e-7
IOU, GIOU, DIOU, CIOU = range(4)   # kernels/detection/iou.cpp


def box_convert(boxes: Arrays, in_fmt: Literal["xyxy", "xywh", "cxcywh"],
                out_fmt: Literal["xyxy", "xywh", "cxcywh"]) -> Arrays:
    """Boxes (..., 4) in another form: "xyxy" corners (x1, y1, x2, y2), "xywh" a corner, width and
    height, "cxcywh" the centre, width and height. ValueError for another form or shape."""
    _four("box_convert", boxes)
    for form in (in_fmt, out_fmt):
        if form not in FORMS:
            raise ValueError(f"box_convert: a form must be one of {', '.join(FORMS)}, got {form!r}")
    if in_fmt == out_fmt:
        return boxes
    x, y, z, t = _columns(boxes)
    if in_fmt == "xywh":
        z, t = add(x, z), add(y, t)
    elif in_fmt == "cxcywh":
        half, tall = mul(z, 0.5), mul(t, 0.5)
        x, y, z, t = sub(x, half), sub(y, tall), add(x, half), add(y, tall)
    if out_fmt == "xywh":
        z, t = sub(z, x), sub(t, y)
    elif out_fmt == "cxcywh":
        x, y, z, t = mul(add(x, z), 0.5), mul(add(y, t), 0.5), sub(z, x), sub(t, y)
    return _joined(x, y, z, t)


def box_area(boxes: Arrays, fmt: Literal["xyxy", "xywh", "cxcywh"] = "xyxy") -> Arrays:
    """(...): width times height of boxes (..., 4). ValueError for another form or shape."""
    _four("box_area", boxes)
    if fmt not in FORMS:
        raise ValueError(f"box_area: fmt must be one of {', '.join(FORMS)}, got {fmt!r}")
    x, y, z, t = _columns(boxes)
    return mul(sub(z, x), sub(t, y)) if fmt == "xyxy" else mul(z, t)


def clip_boxes_to_image(boxes: Arrays, size: Sequence[int]) -> Arrays:
    """Corners (..., 4) moved into an image of size (height, width). ValueError for another shape."""
    _four("clip_boxes_to_image", boxes)
    if len(size) != 2:
        raise ValueError(f"clip_boxes_to_image: size must be (height, width), got {size!r}")
    high, wide = size
    x1, y1, x2, y2 = _columns(boxes)
    return _joined(*(clamp(v, 0.0, float(most)) for v, most in ((x1, wide), (y1, high), (x2, wide), (y2, high))))


def remove_small_boxes(boxes: Arrays, min_size: float) -> Arrays:
    """(count,) int64: which of the corners (n, 4) are at least min_size wide and high; NaN is not."""
    if len(boxes.shape) != 2:
        raise ValueError(f"remove_small_boxes: takes boxes (n, 4), got {tuple(boxes.shape)}")
    _four("remove_small_boxes", boxes)
    x1, y1, x2, y2 = _columns(boxes)
    found: Arrays = cut(*NONZERO(logical_and(ge(sub(x2, x1), float(min_size)), ge(sub(y2, y1), float(min_size)))))
    return found


def box_iou(boxes1: Arrays, boxes2: Arrays, fmt: Literal["xyxy", "xywh", "cxcywh"] = "xyxy") -> Arrays:
    """(..., N, M): the area that each of boxes1 (..., N, 4) shares with each of boxes2 (..., M, 4)
    over that of both together, 0 where that is 0.

    float32 or float64; leading axes broadcast. A box with x2 < x1 or y2 < y1 shares nothing; NaN in
    a box is NaN. Both have gradients. ValueError for other forms or shapes.
    """
    if fmt != "xyxy":
        boxes1, boxes2 = box_convert(boxes1, fmt, "xyxy"), box_convert(boxes2, fmt, "xyxy")
    return _pairwise("box_iou", boxes1, boxes2, IOU, 0.0)


def generalized_box_iou(boxes1: Arrays, boxes2: Arrays) -> Arrays:
    """(..., N, M): box_iou less the part of the box around both that neither of them covers.
    Arguments as in box_iou. Source: Rezatofighi et al. (2019)."""
    return _pairwise("generalized_box_iou", boxes1, boxes2, GIOU, 0.0)


def distance_box_iou(boxes1: Arrays, boxes2: Arrays, eps: float = 1e-7) -> Arrays:
    """(..., N, M): box_iou less the squared distance of the centres over the squared diagonal of
    the box around both, plus eps. Arguments as in box_iou. Source: Zheng et al. (2020)."""
    return _pairwise("distance_box_iou", boxes1, boxes2, DIOU, eps)


def complete_box_iou(boxes1: Arrays, boxes2: Arrays, eps: float = 1e-7) -> Arrays:
    """(..., N, M): distance_box_iou less alpha v, where v = 4 / pi^2 (atan(w1 / h1) - atan(w2 / h2))^2
    and alpha = v / (1 - iou + v + eps), a constant to the gradient. Arguments as in box_iou.
    Source: Zheng et al. (2020)."""
    return _pairwise("complete_box_iou", boxes1, boxes2, CIOU, eps)


def generalized_box_iou_loss(boxes1: Arrays, boxes2: Arrays, reduction: Reduction = "none",
                             eps: float = 1e-7) -> Arrays:
    """1 - generalized IoU of each of boxes1 (..., 4) and the one at its place in boxes2.

    reduction: "none" (...), "mean" (0 of no boxes) or "sum". eps is added to every divisor.
    torchvision's signature. Source: Rezatofighi et al. (2019). ValueError where shapes differ.
    """
    return _loss("generalized_box_iou_loss", boxes1, boxes2, GIOU, reduction, eps)


def distance_box_iou_loss(boxes1: Arrays, boxes2: Arrays, reduction: Reduction = "none",
                          eps: float = 1e-7) -> Arrays:
    """1 - distance IoU; arguments as in generalized_box_iou_loss. Source: Zheng et al. (2020)."""
    return _loss("distance_box_iou_loss", boxes1, boxes2, DIOU, reduction, eps)


def complete_box_iou_loss(boxes1: Arrays, boxes2: Arrays, reduction: Reduction = "none",
                          eps: float = 1e-7) -> Arrays:
    """1 - complete IoU; arguments as in generalized_box_iou_loss, but eps is added to the divisor of
    alpha alone and 1e-7 to others, as in torchvision. Source: Zheng et al. (2020)."""
    return _loss("complete_box_iou_loss", boxes1, boxes2, CIOU, reduction, eps)


# ---- arguments

def _four(name: str, boxes: Arrays) -> None:
    if not len(boxes.shape) or boxes.shape[-1] != 4:
        raise ValueError(f"{name}: boxes must be of shape (..., 4), got {tuple(boxes.shape)}")


def _columns(boxes: Arrays) -> list[Any]:
    return [getitem(boxes, (Ellipsis, i)) for i in range(4)]


def _joined(*columns: Any) -> Arrays:
    return stack(list(columns), -1)


def _pairwise(name: str, a: Arrays, b: Arrays, kind: int, eps: float) -> Arrays:
    for boxes in (a, b):
        _four(name, boxes)
        if len(boxes.shape) < 2:
            raise ValueError(f"{name}: takes boxes (..., N, 4), got {tuple(boxes.shape)}")
    if tuple(a.shape[:-2]) != tuple(b.shape[:-2]):
        try:
            lead = np.broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
        except ValueError:
            raise ValueError(f"{name}: leading axes must broadcast, got {tuple(a.shape)} and "
                             f"{tuple(b.shape)}") from None
        a, b = (broadcast_to(v, (*lead, *v.shape[-2:])) for v in (a, b))
    eps = _eps(name, eps)
    lead, n, m = tuple(a.shape[:-2]), a.shape[-2], b.shape[-2]
    if len(lead) != 1:
        a, b = (reshape(v, (math.prod(lead), *v.shape[-2:])) for v in (a, b))
    y: Arrays = BOX_OVERLAP(a, b, kind=kind, e=0.0, f=eps, d=eps)
    return y if len(lead) == 1 else reshape(y, (*lead, n, m))


def _loss(name: str, a: Arrays, b: Arrays, kind: int, reduction: str, eps: float) -> Arrays:
    _four(name, a)
    if tuple(a.shape) != tuple(b.shape):
        raise ValueError(f"{name}: boxes1 and boxes2 must be of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    lead = tuple(a.shape[:-1])
    a, b = (reshape(v, (math.prod(lead), 1, 4)) for v in (a, b))
    eps = _eps(name, eps)
    other = EPS if kind == CIOU else eps
    loss = sub(1.0, reshape(BOX_OVERLAP(a, b, kind=kind, e=other, f=other, d=eps), lead))
    if reduction == "none":
        return loss
    return mean(loss) if reduction == "mean" and math.prod(lead) else sum(loss)


def _eps(name: str, eps: float) -> float:
    if not 0 <= eps < math.inf:
        raise ValueError(f"{name}: eps must be finite and not negative, got {eps}")
    return float(eps)


# ---- rows

def overlap_check(a: Any, b: Any, **_: Any) -> None:
    if len(a.shape) != 3 or len(b.shape) != 3 or a.shape[2] != 4 or b.shape[2] != 4 or a.shape[0] != b.shape[0]:
        raise ValueError(f"box_overlap: takes boxes (s, n, 4) and (s, m, 4), got {tuple(a.shape)} and {tuple(b.shape)}")


def overlap_forward(k: Any, a: Any, b: Any, *, kind: int, e: float, f: float, d: float) -> Any:
    overlap_check(a, b)
    y = k.empty((a.shape[0], a.shape[1], b.shape[1]))
    k.box_overlap(a, b, kind, e, f, d, y)
    return y


def overlap_backward(k: Any, g: Any, a: Any, b: Any, *, kind: int, e: float, f: float, d: float) -> tuple[Any, Any]:
    da, db = k.empty(a.shape), k.empty(b.shape)
    k.box_overlap_backward(g, a, b, kind, e, f, d, False, da)
    k.box_overlap_backward(g, b, a, kind, e, f, d, True, db)
    return da, db


BOX_OVERLAP_BACKWARD = Op("box_overlap_backward", "rrr", overlap_backward, reference.box_overlap_backward,
                          kernels=("box_overlap_backward",))
# a union is a difference, and what divides by it
BOX_OVERLAP = Op("box_overlap", "rr", overlap_forward, reference.box_overlap,
                 lambda ctx: BOX_OVERLAP_BACKWARD(ctx.g, *ctx.inputs, **ctx.attrs), overlap_check,
                 kernels=("box_overlap",), tolerance=256, per_sample=True,
                 shapes=lambda a, b, **_: ((a[0], a[1], b[1]),),
                 bytes=lambda a, b, **_: 4 * (a.size + b.size + a.shape[0] * a.shape[1] * b.shape[1]))
