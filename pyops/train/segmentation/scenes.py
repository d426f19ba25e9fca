"""Digits scattered on textured ground, each pixel labelled with the digit that it shows: 0 for the
ground, d + 1 for digit d. The drawing is that of the detectors' scenes (train/detection/scenes.py)."""
from __future__ import annotations

import numpy as np

from ..detection.scenes import (
    INK,
    PARTS,
    SceneSettings,
    background,
    bright,
    enlarged,
    handwriting,
    paint,
    piece,
    stroke,
)
from .dataset import MaskSample, collated

CLASSES = ("ground", *"0123456789")
COVERS = 0.4   # of the ink: from here on a pixel is the digit's
TRIES = 20     # to find a digit a place


class DigitMasks:
    """`count` scenes as a dataset of masks. part: whose handwriting, "train" or "test". fresh: in
    training every scene is drawn anew; else number i is always the same."""

    classes = CLASSES

    def __init__(self, count: int, part: str = "train", seed: int = 0, fresh: bool = False,
                 settings: SceneSettings | None = None):
        if not hasattr(count, "__index__") or count < 1:
            raise ValueError(f"DigitMasks: count must be a positive int, got {count!r}")
        self.settings, self.part, self.seed, self.fresh = settings or SceneSettings(), part, seed, fresh
        self.ink, self.digit = handwriting(part)
        self.count, self._made = count, {}

    def __len__(self):
        return self.count

    def __repr__(self):
        return f"DigitMasks({self.count}, {self.part!r}, seed={self.seed}{', fresh' if self.fresh else ''})"

    def sample(self, index: int) -> MaskSample:
        if not 0 <= index < self.count:
            raise IndexError(f"DigitMasks: there are {self.count}, got number {index}")
        if index not in self._made:
            stream = [self.seed, PARTS.index(self.part), index]
            self._made[index] = drawn(self.ink, self.digit, self.settings, np.random.default_rng(stream))
        return self._made[index]

    def take(self, indices, rng: np.random.Generator | None = None):
        """(images float32 (n, 3, H, W) in 0 .. 1, masks int64 (n, H, W))."""
        if rng is not None and self.fresh:
            return collated([drawn(self.ink, self.digit, self.settings, rng) for _ in indices])
        return collated([self.sample(int(i)) for i in indices])


def drawn(ink: np.ndarray, digit: np.ndarray, settings: SceneSettings, rng: np.random.Generator) -> MaskSample:
    """One scene. What is drawn later covers what was drawn before: at most `overlap` of the smaller one
    of two digits' boxes, or, where that is 1, as it comes."""
    image, mask = background(settings.size, rng), np.zeros(settings.size, np.uint8)
    for _ in range(int(rng.integers(settings.clutter + 1))):
        (stroke if rng.random() < 0.5 else piece)(image, ink, settings, rng)
    boxes = np.empty((0, 4))
    for _ in range(int(rng.integers(settings.digits[0], settings.digits[1] + 1))):
        number, side = int(rng.integers(len(ink))), int(round(np.exp(rng.uniform(*np.log(settings.sides)))))
        one = enlarged(ink[number], (side, max(4, int(side * rng.uniform(0.75, 1.1)))), rng.uniform(-15, 15))
        corner, one = placed(one, boxes, settings, rng)
        if corner is None:
            continue
        (top, left), (h, w) = corner, one.shape
        boxes = np.append(boxes, [[top, left, top + h, left + w]], 0)
        paint(image, one, (top, left), bright(rng))
        part = mask[top:top + h, left:left + w]
        part[one > COVERS] = digit[number] + 1
    return MaskSample(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask)


def placed(one: np.ndarray, boxes: np.ndarray, settings: SceneSettings, rng):
    """Where a digit goes, and what of it is drawn: no place where in TRIES none was free enough."""
    height, width = settings.size
    if settings.overlap < 1:
        rows, columns = (np.flatnonzero((one > INK).any(axis)) for axis in (1, 0))
        if not len(rows):
            return None, one
        one = one[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    one = one[:height, :width]
    h, w = one.shape
    if settings.overlap >= 1:
        return (int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))), one
    corners = rng.integers(0, (height - h + 1, width - w + 1), (TRIES, 2))
    shared = np.clip(np.minimum(corners[:, None] + (h, w), boxes[:, 2:]) - np.maximum(corners[:, None], boxes[:, :2]),
                     0, None).prod(2)
    smaller = np.minimum(h * w, (boxes[:, 2:] - boxes[:, :2]).prod(1))
    free = np.flatnonzero((shared <= settings.overlap * smaller).all(1))
    return (tuple(corners[free[0]].tolist()) if len(free) else None), one
