"""Pictures to learn from, in -1 .. 1, the range of a generator's tanh."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import functional as F
from ..dataset import Split

MARGIN = 1 / 8   # of the side, around a digit


class PictureDataset:
    """images: float32 (N, C, H, W) in -1 .. 1. labels: whole numbers (N,), or pictures (N, ...) that
    belong to them. take(indices) -> (images, labels). ValueError where lengths differ, or values lie
    outside."""

    def __init__(self, images, labels, classes: Sequence[str] | None = None, name: str = "pictures"):
        self.images, self.labels = np.ascontiguousarray(images, np.float32), np.asarray(labels)
        if self.images.ndim != 4 or len(self.images) != len(self.labels) or not len(self.images):
            raise ValueError(f"PictureDataset: images must be (N, C, H, W) with N labels, got {self.images.shape} and "
                             f"{self.labels.shape}")
        if not np.abs(self.images).max() <= 1:
            raise ValueError("PictureDataset: images must lie in -1 .. 1, got "
                             f"{self.images.min()} .. {self.images.max()}")
        self.classes, self.name = None if classes is None else tuple(classes), name

    def __len__(self):
        return len(self.images)

    def __repr__(self):
        return f"PictureDataset({self.name}, {len(self)} of {list(self.images.shape[1:])})"

    def take(self, indices, rng: np.random.Generator | None = None):
        return self.images[indices], self.labels[indices]


def digit_pictures(size: int = 32) -> Split:
    """scikit-learn's 1797 handwritten digits, 8x8 pixels of 0 .. 16, enlarged bilinearly to size x
    size with a margin; ink is 1, paper -1. A fixed fifth is for testing."""
    from ..detection.scenes import handwriting
    parts = []
    for part in ("train", "test"):
        ink, digit = handwriting(part)
        parts.append(PictureDataset(enlarged(ink, size), digit, "0123456789", f"digits ({part})"))
    return Split(*parts, "handwritten digits")


def enlarged(ink: np.ndarray, size: int) -> np.ndarray:
    """(N, h, w) in 0 .. 1 as (N, 1, size, size) in -1 .. 1."""
    margin = round(size * MARGIN)
    inner = size - 2 * margin
    grown = np.asarray(F.interpolate(np.ascontiguousarray(ink[:, None]), (inner, inner), mode="bilinear"))
    return np.clip(np.pad(grown, [(0, 0), (0, 0), (margin, margin), (margin, margin)]) * 2 - 1, -1, 1)
