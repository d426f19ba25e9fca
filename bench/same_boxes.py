"""Whether two detectors found the same: of each box of one, the other's of the same class that overlaps most."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pyops import functional as F


class Boxes(NamedTuple):
    """boxes (n, 4), corners; scores (n,); labels (n,)."""
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def best(self, count: int) -> Boxes:
        order = np.argsort(-self.scores, kind="stable")[:count]
        return Boxes(self.boxes[order], self.scores[order], self.labels[order])


def agreeing(ours: Sequence[Boxes], theirs: Sequence[Boxes], overlap: float = 0.9, score: float = 0.03) -> int:
    """How many of our boxes, over all images, have one of theirs of the same class beside them, whose IoU is
    at least `overlap` and whose score differs by at most `score`. A box of theirs answers for one of ours."""
    found = 0
    for mine, other in zip(ours, theirs, strict=True):
        if not len(mine.boxes) or not len(other.boxes):
            continue
        near = np.asarray(F.box_iou(np.float32(mine.boxes), np.float32(other.boxes)))
        near = np.where((mine.labels[:, None] == other.labels)
                        & (abs(mine.scores[:, None] - other.scores) <= score), near, 0)
        for row in near:
            best = row.argmax()
            if row[best] >= overlap:
                found += 1
                near[:, best] = 0
    return found
