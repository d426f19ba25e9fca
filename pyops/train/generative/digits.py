"""Pictures to learn from, in -1 .. 1, the range of a generator's tanh."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import functional as F
from ..dataset import Split

MARGIN = 1 / 8   # of the side, around a digit
SHEAR = 0.6      # of slanted digits: columns a row
CLASSES = tuple("0123456789")


class PictureDataset:
    """images: float32 (N, C, H, W) in -1 .. 1. labels: whole numbers (N,), or images (N, ...) that
    belong to them. paired=False: in training labels are taken at random, as they do not. ValueError
    where lengths differ, or values lie outside."""

    def __init__(self, images, labels, classes: Sequence[str] | None = None, name: str = "pictures",
                 paired: bool = True):
        self.images, self.labels, self.paired = np.ascontiguousarray(images, np.float32), np.asarray(labels), paired
        if self.images.ndim != 4 or not len(self.images) or paired and len(self.images) != len(self.labels):
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
        if self.paired:
            return self.images[indices], self.labels[indices]
        others = (np.asarray(indices) % len(self.labels) if rng is None
                  else rng.integers(len(self.labels), size=len(indices)))
        return self.images[indices], self.labels[others]


def digit_pictures(size: int = 32) -> Split:
    """scikit-learn's 1797 handwritten digits, 8x8 pixels of 0 .. 16, enlarged bilinearly to size x
    size with a margin; ink is 1, paper -1. A fixed fifth is for testing."""
    return Split(*(PictureDataset(enlarged(ink, size), digit, CLASSES, f"digits ({part})")
                   for part, ink, digit in both()), "handwritten digits")


def digit_masks(size: int = 32, back: bool = False) -> Split:
    """Pairs: where there is ink, as a mask of hard pixels in -1 or 1, and the digit itself; back: the
    other way round."""
    parts = []
    for part, ink, _ in both():
        mask, image = np.where(enlarged(ink, size, "nearest") > -0.2, 1, -1).astype(np.float32), enlarged(ink, size)
        parts.append(PictureDataset(*((image, mask) if back else (mask, image)), name=f"masks and digits ({part})"))
    return Split(*parts, "digits and their masks")


def slanted_digits(size: int = 32, shear: float = SHEAR) -> Split:
    """Digits as they are, and other digits slanted to the right, unpaired: of each part of the data one
    half and the other."""
    parts = []
    for part, ink, _ in both():
        upright, slanted = enlarged(ink[::2], size), sheared(enlarged(ink[1::2], size), shear)
        parts.append(PictureDataset(upright, slanted, name=f"upright and slanted ({part})", paired=False))
    return Split(*parts, "upright and slanted digits")


def small_digits(size: int = 32, factor: int = 2) -> Split:
    """Pairs for super-resolution: digits at size / factor, means of their pixels, and at size."""
    parts = []
    for part, ink, _ in both():
        image = enlarged(ink, size)
        small = np.asarray(F.avg_pool2d(image, factor))
        parts.append(PictureDataset(small, image, name=f"small and large digits ({part})"))
    return Split(*parts, "small and large digits")


def both():
    """(part, ink, digit) of the training and the test digits."""
    from ..detection.scenes import handwriting
    return [(part, *handwriting(part)) for part in ("train", "test")]


def enlarged(ink: np.ndarray, size: int, mode: str = "bilinear") -> np.ndarray:
    """(N, h, w) in 0 .. 1 as (N, 1, size, size) in -1 .. 1."""
    margin = round(size * MARGIN)
    inner = size - 2 * margin
    grown = np.asarray(F.interpolate(np.ascontiguousarray(ink[:, None]), (inner, inner), mode=mode))
    return np.clip(np.pad(grown, [(0, 0), (0, 0), (margin, margin), (margin, margin)]) * 2 - 1, -1, 1)


def sheared(images: np.ndarray, shear: float) -> np.ndarray:
    """Images (N, C, H, W) slanted to the right for a positive shear, columns a row, about their middle."""
    count, _, height, width = images.shape
    theta = np.tile(np.array([[[1, shear * height / width, 0], [0, 1, 0]]], np.float32), (count, 1, 1))
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    return np.asarray(F.grid_sample(images, grid, "bilinear", "border", False))


def slant(images: np.ndarray) -> np.ndarray:
    """How far ink leans to the right, columns a row, of each image (N, 1, H, W): the slope of its
    regression on the rows, upwards. 0 for an image without ink."""
    ink = (np.asarray(images, np.float64)[:, 0] + 1) / 2
    rows, columns = np.indices(ink.shape[1:])
    total = np.maximum(ink.sum((1, 2)), 1e-9)
    y, x = ((ink * axis).sum((1, 2)) / total for axis in (rows, columns))
    away = rows - y[:, None, None]
    spread = (ink * away ** 2).sum((1, 2))
    return -(ink * away * (columns - x[:, None, None])).sum((1, 2)) / np.maximum(spread, 1e-9)
