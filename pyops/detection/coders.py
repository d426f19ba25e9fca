"""Boxes as the numbers that a network is trained to give, relative to a box that is known, and back.

Functions of arrays and Tensors (..., 4); gradients flow through decoding.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import functional as F

__all__ = ["BoxCoder", "SSD_VARIANCES", "centres", "corners", "ssd_coder"]

SSD_VARIANCES = (0.1, 0.2)   # of centres and of sizes; what SSD divides its targets by


def parts(boxes: Any) -> list[Any]:
    """The four columns (..., 1)."""
    return [boxes[..., i:i + 1] for i in range(4)]


def centres(boxes: Any) -> Any:
    """Corners (x1, y1, x2, y2) as centre and size (cx, cy, w, h)."""
    x1, y1, x2, y2 = parts(boxes)
    w, h = F.sub(x2, x1), F.sub(y2, y1)
    return F.cat([F.add(x1, F.mul(w, 0.5)), F.add(y1, F.mul(h, 0.5)), w, h], -1)


def corners(boxes: Any) -> Any:
    """Centre and size (cx, cy, w, h) as corners (x1, y1, x2, y2)."""
    x, y, w, h = parts(boxes)
    w, h = F.mul(w, 0.5), F.mul(h, 0.5)
    return F.cat([F.sub(x, w), F.sub(y, h), F.add(x, w), F.add(y, h)], -1)


class BoxCoder:
    """(dx, dy, dw, dh) of a box beside a reference of centre (x, y) and size (w, h): the centre's
    shift in the reference's widths and heights, and the logarithm of the sizes' quotient, each times
    its weight. Girshick et al. (2014), appendix C.

    largest: what dw and dh are cut to, so that no size overflows.
    """

    def __init__(self, weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
                 largest: float = math.log(1000 / 16)) -> None:
        if len(weights) != 4 or not all(w > 0 for w in weights):
            raise ValueError(f"BoxCoder: weights must be four positive numbers, got {weights}")
        self.weights, self.largest = tuple(map(float, weights)), largest

    def encode(self, boxes: Any, references: Any) -> Any:
        """The deltas of boxes (..., 4) beside references (..., 4), both corners."""
        x, y, w, h = parts(centres(boxes))
        rx, ry, rw, rh = parts(centres(references))
        wx, wy, ww, wh = self.weights
        return F.cat([F.div(F.mul(F.sub(x, rx), wx), rw), F.div(F.mul(F.sub(y, ry), wy), rh),
                      F.mul(F.log(F.div(w, rw)), ww), F.mul(F.log(F.div(h, rh)), wh)], -1)

    def decode(self, deltas: Any, references: Any) -> Any:
        """Corners (..., 4) of deltas beside references; the shapes broadcast, so that one
        reference may have a box for each class."""
        dx, dy, dw, dh = parts(deltas)
        rx, ry, rw, rh = parts(centres(references))
        wx, wy, ww, wh = self.weights
        x, y = F.add(F.mul(scaled(dx, wx), rw), rx), F.add(F.mul(scaled(dy, wy), rh), ry)
        w, h = (F.mul(F.mul(F.exp(F.clamp(scaled(d, by), max=self.largest)), r), 0.5)
                for d, by, r in ((dw, ww, rw), (dh, wh, rh)))
        return F.cat([F.sub(x, w), F.sub(y, h), F.add(x, w), F.add(y, h)], -1)


def scaled(value: Any, weight: float) -> Any:
    return value if weight == 1 else F.div(value, weight)


def ssd_coder() -> BoxCoder:
    """SSD's, whose variances are one over weights. Liu et al. (2016)."""
    centre, size = (1 / v for v in SSD_VARIANCES)
    return BoxCoder((centre, centre, size, size))


def clip(boxes: Any, size: tuple[int, int]) -> Any:
    """Boxes cut at the edges of an image of size (height, width)."""
    h, w = size
    limit = np.array([w, h, w, h], boxes.dtype)
    return F.minimum(F.maximum(boxes, np.zeros((), boxes.dtype)), limit)
