"""What heads say of anchors, read from their maps (N, anchors x numbers, H, W)."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import functional as F

__all__ = ["Best", "best", "in_rows"]


class Best(NamedTuple):
    """logits (N, k), labels (N, k) int64, deltas and references (N, k, 4) of pairs of an anchor and
    a class, the largest logit first."""
    logits: Any
    labels: Any
    deltas: Any
    references: Any


def best(logits: Any, deltas: Any, anchors: np.ndarray, classes: int, count: int) -> Best:
    """The `count` pairs of an anchor and a class with the largest logits, or all where there are fewer.

    logits: (N, A x classes, H, W); deltas: (N, A x 4, H, W); anchors: (H x W x A, 4). They are read
    where the maps have them: nothing is moved for the sake of those that are not chosen.
    """
    n, channels, height, width = map(int, logits.shape)
    area, each = height * width, channels // classes
    value, at = F.topk(F.reshape(logits, (n, channels * area)), min(count, channels * area))
    channel, place = F.floor_divide(at, area), F.remainder(at, area)
    anchor, label = F.floor_divide(channel, classes), F.remainder(channel, classes)
    own, flat = F.add(F.mul(anchor, 4 * area), place), F.reshape(deltas, (n, 4 * each * area))
    delta = F.stack([F.gather(flat, 1, F.add(own, i * area)) for i in range(4)], -1)
    reference = F.embedding(F.add(F.mul(place, each), anchor), anchors.astype(deltas.dtype, copy=False))
    return Best(value, label, delta, reference)


def in_rows(maps: Any, last: int) -> Any:
    """(N, H x W x anchors, last) of maps (N, anchors x last, H, W)."""
    n, channels, height, width = maps.shape
    split = F.reshape(maps, (n, channels // last, last, height, width))
    return F.reshape(F.permute(split, (0, 3, 4, 1, 2)), (n, height * width * channels // last, last))
