"""Handwritten digits as pictures to learn from, and pairs of them."""
from __future__ import annotations

import numpy as np

from ... import functional as F
from ..dataset import Split
from .dataset import PictureDataset

MARGIN = 1 / 8   # of the side, around a digit
SHEAR = 0.6      # of slanted digits: columns a row
CLASSES = tuple("0123456789")


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
