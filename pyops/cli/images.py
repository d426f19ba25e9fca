"""A picture from a file as LeNet-5 saw digits in training."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files.eight_bits import as_shown
from . import UsageError


def open_grey(path: Path) -> np.ndarray:
    """The image's grey levels (h, w), 0 .. 255, as viewers show it. UsageError where there is one only."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UsageError("reading an image needs Pillow: pip install 'pyops-kernels[train]'") from error
    try:
        with Image.open(path) as image:
            grey = np.asarray(as_shown(image).convert("L"), np.float32)
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read as an image: {error}") from error
    if grey.min() == grey.max():
        raise UsageError(f"{path}: the image has one grey level only: nothing is drawn on it")
    return grey


def prepare(grey: np.ndarray, box: int) -> np.ndarray:
    """uint8 (32, 32) as the training images are: light ink on black, the digit scaled to fill a box
    of `box` pixels in the middle. grey: of two levels or more."""
    from PIL import Image
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > 127:   # paper is what the border shows most of
        grey = 255 - grey
    grey = grey - grey.min()
    grey *= 255 / grey.max()
    rows, columns = (np.flatnonzero((grey > 64).any(axis)) for axis in (1, 0))
    ink = grey[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    height, width = (max(1, round(n * box / max(ink.shape))) for n in ink.shape)
    ink = np.asarray(Image.fromarray(ink.astype(np.uint8)).resize(
        (width, height), Image.Resampling.BOX if max(ink.shape) >= box else Image.Resampling.NEAREST))
    canvas = np.zeros((32, 32), np.uint8)
    top, left = (32 - height) // 2, (32 - width) // 2
    canvas[top:top + height, left:left + width] = ink
    return canvas
