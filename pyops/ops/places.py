"""Places that a run finds, as many as there are: what is not 0, and boxes that stay. Under the names of
torch and torchvision.

Rows have results with room for all that may be found, and say how many were; the public functions
cut them there.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Tensor
from ..core.types import Arrays
from .gather import TAKE
from .shape import broadcast_to, reshape, stack
from .spatial import bounded
from .typed import NO_CUDA, dtype_of
from .whole import floor_divide, remainder

typed = LateFunctions("pyops.kernels.typed.reference")
detection = LateFunctions("pyops.kernels.detection.reference")

__all__ = ["masked_select", "nms", "nonzero"]


def nonzero_forward(k: Any, x: Any) -> tuple[Any, Any]:
    places, count = k.empty((math.prod(x.shape),), "int64"), k.empty((), "int64")
    k.nonzero(x, places, count)
    return places, count


NONZERO = Op("nonzero", "a", nonzero_forward, typed.nonzero, kernels=("nonzero",), tolerance=0, todo=NO_CUDA,
             bytes=lambda x: x.nbytes + 8 * x.size, per_sample=lambda shape: False)


def suppress_check(boxes: Any, scores: Any, *, most: int, iou: float, least: float, center: bool) -> None:
    if (len(boxes.shape) != 3 or len(scores.shape) != 3 or boxes.shape[2] != 4
            or boxes.shape[:2] != (scores.shape[0], scores.shape[2])):
        raise ValueError(f"nms: takes boxes (n, b, 4) and scores (n, classes, b), got {tuple(boxes.shape)} and "
                         f"{tuple(scores.shape)}")
    if most < 0:
        raise ValueError(f"nms: at most so many boxes of a class must not be negative, got {most}")


def suppress_forward(k: Any, boxes: Any, scores: Any, **attrs: Any) -> tuple[Any, Any]:
    suppress_check(boxes, scores, **attrs)
    room = math.prod(scores.shape[:2]) * min(attrs["most"], scores.shape[2])
    chosen, count = k.empty((room, 3), "int64"), k.empty((), "int64")
    k.suppress(boxes, scores, attrs["most"], attrs["iou"], attrs["least"], attrs["center"], chosen, count)
    return chosen, count


SUPPRESS = Op("suppress", "rr", suppress_forward, detection.suppress, None, suppress_check,
              kernels=("suppress",), tolerance=0,
              bytes=lambda boxes, scores, **_: boxes.nbytes + scores.nbytes,
              per_sample=lambda shape, **_: False)


def cut(values: Any, count: Any, dim: int = 0) -> Any:
    """The first `count` entries along an axis; in a program, where the count is a run's, a value that is
    cut on its way out (graph/counted.py)."""
    if hasattr(values, "cut"):
        return values.cut(count, dim)
    count = count.data if isinstance(count, Tensor) else count
    return values[(slice(None),) * dim + (slice(0, int(count)),)]


def nonzero(input: Arrays, as_tuple: bool = False) -> Any:
    """(count, axes) int64: the indices of every value that is not 0, in order; as_tuple: a tuple of one
    array (count,) an axis instead. NaN is not 0."""
    shape = tuple(input.shape)
    places, count = NONZERO(input)
    if isinstance(places, np.ndarray):   # no more than there are
        columns = _columns(shape, places[:int(count)])
        if as_tuple:
            return tuple(columns)
        return np.stack(columns, 1) if columns else np.zeros((int(count), 0), np.int64)
    columns = []
    for a in range(len(shape)):
        step = max(1, math.prod(shape[a + 1:]))
        columns.append(remainder(floor_divide(places, step), max(1, shape[a])))
    if as_tuple:
        return tuple(cut(column, count) for column in columns)
    found = stack(columns, 1) if columns else reshape(places, (places.shape[0], 1))[:, :0]
    return cut(found, count)


def _columns(shape: tuple[int, ...], places: Any) -> list[Any]:
    """Indices along each axis, of places in the flattened array."""
    columns: list[Any] = []
    for n in reversed(shape[1:]):
        rest = places // n
        columns.insert(0, places - rest * n)
        places = rest
    return [places, *columns] if shape else []


def masked_select(input: Arrays, mask: Arrays) -> Arrays:
    """(count,): the values of input where mask is true, in order; the two broadcast. TypeError for a
    mask that is not of truth values."""
    if dtype_of(mask).kind != "b":
        raise TypeError(f"masked_select: mask must be of truth values, got {dtype_of(mask)}")
    if tuple(input.shape) != tuple(mask.shape):
        try:
            shape = np.broadcast_shapes(tuple(input.shape), tuple(mask.shape))
        except ValueError:
            raise ValueError(f"masked_select: input {tuple(input.shape)} and mask {tuple(mask.shape)} must "
                             "broadcast") from None
        input, mask = broadcast_to(input, shape), broadcast_to(mask, shape)
    flat = reshape(input, (-1,))
    places, count = NONZERO(mask)
    found: Arrays = cut(TAKE(flat, places, dim=0, wrap=False) if flat.shape[0] else flat, count)
    return found


def nms(boxes: Arrays, scores: Arrays, iou_threshold: float) -> Arrays:
    """(count,) int64: which boxes (n, 4), corners (x1, y1, x2, y2), stay, best of the scores (n,) first.
    One goes if its intersection over union with one that stays is above iou_threshold.

    float32 or float64. As torchvision's; Neubeck & Van Gool (2006). ValueError for other shapes.
    """
    if len(boxes.shape) != 2 or tuple(scores.shape) != tuple(boxes.shape[:1]) or boxes.shape[1] != 4:
        raise ValueError(f"nms: takes boxes (n, 4) and scores (n,), got {tuple(boxes.shape)} and "
                         f"{tuple(scores.shape)}")
    n = bounded((boxes.shape[0],), "nms", "the number of boxes")[0]
    chosen, count = SUPPRESS(reshape(boxes, (1, n, 4)), reshape(scores, (1, 1, n)), most=n,
                             iou=float(iou_threshold), least=-math.inf, center=False)
    found: Arrays = cut(chosen[:, 2], count)
    return found
