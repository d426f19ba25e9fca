"""Boxes that stay where several say the same: non-maximum suppression, by class and of all classes
at once."""
from __future__ import annotations

import math
from typing import Any, Literal

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays
from .places import cut
from .shape import reshape
from .spatial import MOST, axes, bounded
from .typed import as_type

reference = LateFunctions("pyops.kernels.detection.reference")

__all__ = ["batched_nms", "multiclass_nms", "soft_nms"]

KINDS = ("greedy", "diou", "soft_linear", "soft_gaussian")   # their places: kernels/detection/multiclass.cpp


def multiclass_nms(boxes: Arrays, scores: Arrays, iou_threshold: float = 0.5, score_threshold: float = 0.0,
                   max_detections: int = 100, candidates: int | None = None, max_per_class: int | None = None,
                   class_agnostic: bool = False,
                   kind: Literal["greedy", "diou", "soft_linear", "soft_gaussian"] = "greedy",
                   sigma: float = 0.5) -> tuple[Arrays, Arrays, Arrays, Arrays]:
    """The best boxes of each sample that no better box of their class overlaps too much:
    (boxes (N, M, 4), scores (N, M), labels (N, M) int64, count (N,) int64), M = max_detections, best
    score first and zeros behind the first `count`.

    boxes: (N, K, 4) corners (x1, y1, x2, y2), or (N, K, C, 4) with a box for each class; scores:
    (N, K, C), all float32 or float64. A box counts for each class whose score is above
    score_threshold; of equal scores the first of the array is the better one. One goes if its
    intersection over union with a better one that stays is above iou_threshold, in the arithmetic and
    the order of torchvision's nms. candidates: the best so many of each class are looked at;
    max_per_class: so many of each class stay. class_agnostic: boxes of other classes suppress, too.

    kind: "diou" compares the intersection over union less the squared distance of the centres over
    the squared diagonal of the box around both (Zheng et al., 2020). "soft_linear" multiplies scores
    by 1 - iou instead where that is above iou_threshold, "soft_gaussian" by exp(-iou^2 / sigma), and
    a box goes when its score is not above score_threshold (Bodla et al., 2017).

    A score that is NaN is above no threshold; a box of NaN, or with x2 < x1 or y2 < y1, neither goes nor makes
    others go. ValueError for other shapes, a threshold or sigma out of range, a number below 1.
    """
    if kind not in KINDS:
        raise ValueError(f"multiclass_nms: kind must be one of {', '.join(KINDS)}, got {kind!r}")
    limit = {name: MOST if value is None else axes(value, 1, "multiclass_nms", name, 1)[0]
             for name, value in (("candidates", candidates), ("max_per_class", max_per_class))}
    room, = axes(max_detections, 1, "multiclass_nms", "max_detections", 1)
    found, best, labels, _, count = MULTICLASS_NMS(
        boxes, scores, iou=float(iou_threshold), least=float(score_threshold), room=room,
        candidates=limit["candidates"], per_class=limit["max_per_class"], agnostic=bool(class_agnostic),
        kind=KINDS.index(kind), sigma=float(sigma))
    return found, best, labels, count


def batched_nms(boxes: Arrays, scores: Arrays, idxs: Arrays, iou_threshold: float) -> Arrays:
    """(count,) int64: which boxes (n, 4), corners (x1, y1, x2, y2), stay, best of the scores (n,) first,
    where one goes if a better one that stays and is of the same group overlaps it by more than
    iou_threshold. idxs: (n,) whole numbers, the group of each box: its class, its level or its sample.

    As torchvision's, but boxes are not moved apart by groups, which rounds their corners. float32 or
    float64; NaN as in multiclass_nms, but a score of NaN is least. ValueError for other shapes.
    """
    given = tuple(boxes.shape), tuple(scores.shape), tuple(idxs.shape)
    if len(given[0]) != 2 or given[0][1] != 4 or given[1] != given[0][:1] or given[2] != given[1]:
        raise ValueError("batched_nms: takes boxes (n, 4), scores (n,) and idxs (n,), got "
                         f"{', '.join(map(str, given))}")
    found: Arrays = cut(*BATCHED_NMS(boxes, scores, as_type(idxs, "int64"), iou=float(iou_threshold)))
    return found


def soft_nms(boxes: Arrays, scores: Arrays, iou_threshold: float = 0.3, sigma: float = 0.5,
             score_threshold: float = 0.001, method: Literal["linear", "gaussian"] = "linear") -> tuple[Arrays, Arrays]:
    """(indices (count,) int64, scores (count,)) of boxes (n, 4), best first: a box that is taken lowers the scores (n,)
    of the others, and one whose score is not above score_threshold goes.

    method: "linear" multiplies by 1 - iou where that is above iou_threshold, "gaussian" by
    exp(-iou^2 / sigma). float32 or float64. Source: Bodla et al. (2017). ValueError for other shapes
    or a setting out of range.
    """
    if f"soft_{method}" not in KINDS:
        raise ValueError(f"soft_nms: method must be 'linear' or 'gaussian', got {method!r}")
    if len(boxes.shape) != 2 or tuple(scores.shape) != tuple(boxes.shape[:1]) or boxes.shape[1] != 4:
        raise ValueError(f"soft_nms: takes boxes (n, 4) and scores (n,), got {tuple(boxes.shape)} and "
                         f"{tuple(scores.shape)}")
    n, = bounded((boxes.shape[0],), "soft_nms", "the number of boxes")
    _, best, _, index, count = MULTICLASS_NMS(
        reshape(boxes, (1, n, 4)), reshape(scores, (1, n, 1)), iou=float(iou_threshold),
        least=float(score_threshold), room=n, candidates=MOST, per_class=MOST, agnostic=False,
        kind=KINDS.index(f"soft_{method}"), sigma=float(sigma))
    count = reshape(count, ())
    return cut(reshape(index, (n,)), count), cut(reshape(best, (n,)), count)


# ---- rows

def batched_check(boxes: Any, scores: Any, groups: Any, *, iou: float) -> None:
    if not 0 <= iou <= 1:
        raise ValueError(f"batched_nms: iou_threshold must be from 0 to 1, got {iou}")


def batched_forward(k: Any, boxes: Any, scores: Any, groups: Any, *, iou: float) -> tuple[Any, Any]:
    batched_check(boxes, scores, groups, iou=iou)
    chosen, count = k.empty(scores.shape, "int64"), k.empty((), "int64")
    k.batched_nms(boxes, scores, groups, iou, chosen, count)
    return chosen, count


BATCHED_NMS = Op("batched_nms", "rri", batched_forward, reference.batched_nms, None, batched_check,
                 kernels=("batched_nms",), tolerance=0, per_sample=False,
                 checks_indices=True,   # any number is a group
                 bytes=lambda boxes, scores, groups, **_: boxes.nbytes + scores.nbytes + groups.nbytes)


def shapes(boxes: Any, scores: Any, *, room: int, **_: Any) -> tuple[tuple[int, ...], ...]:
    n = scores[0]
    return (n, room, 4), (n, room), (n, room), (n, room), (n,)


def check(boxes: Any, scores: Any, *, iou: float, least: float, kind: int, sigma: float, **_: Any) -> None:
    corners, values = tuple(boxes.shape), tuple(scores.shape)
    if len(values) != 3 or corners not in ((*values[:2], 4), (*values, 4)) or values[2] < 1:
        raise ValueError("multiclass_nms: takes boxes (N, K, 4) or (N, K, C, 4) and scores (N, K, C), of at least "
                         f"one class, got {corners} and {values}")
    if math.prod(values[1:]) > MOST:
        raise ValueError(f"multiclass_nms: a sample may have 2^31 - 1 scores, got {values}")
    if not 0 <= iou <= 1:
        raise ValueError(f"multiclass_nms: iou_threshold must be from 0 to 1, got {iou}")
    if math.isnan(least) or kind >= KINDS.index("soft_linear") and least < 0:
        raise ValueError("multiclass_nms: score_threshold must be a number, and not negative where scores are lowered, "
                         f"got {least}")
    if not 0 < sigma < math.inf:
        raise ValueError(f"multiclass_nms: sigma must be positive and finite, got {sigma}")


def forward(k: Any, boxes: Any, scores: Any, *, iou: float, least: float, room: int, candidates: int,
            per_class: int, agnostic: bool, kind: int, sigma: float) -> tuple[Any, ...]:
    check(boxes, scores, iou=iou, least=least, kind=kind, sigma=sigma)
    types = (None, None, "int64", "int64", "int64")
    found, best, labels, index, count = map(k.empty, shapes(boxes.shape, scores.shape, room=room), types)
    k.multiclass_nms(boxes, scores, candidates, per_class, iou, least, agnostic, kind, sigma, found, best, labels,
                     index, count)
    return found, best, labels, index, count


# a soft score is a product of as many factors as there are better boxes
MULTICLASS_NMS = Op("multiclass_nms", "rr", forward, reference.multiclass_nms, None, check,
                    kernels=("multiclass_nms",), tolerance=64, shapes=shapes, per_sample=True,
                    bytes=lambda boxes, scores, **_: boxes.nbytes + scores.nbytes)
