"""Labels as colours, alone and over the image."""
from __future__ import annotations

import numpy as np

__all__ = ["PALETTE", "coloured", "overlay"]

SOME_PIXELS = 1 << 18


def voc_palette(count: int = 256) -> np.ndarray:
    """(count, 3) uint8, Pascal VOC's colours: bits 0, 3, 6 ... of a class are red's highest bits
    downwards, 1, 4, 7 ... green's, 2, 5, 8 ... blue's."""
    classes = np.arange(count)
    colours = np.zeros((count, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = classes >> (3 * level + channel) & 1
            colours[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return colours


PALETTE = voc_palette()


def coloured(labels: np.ndarray, palette: np.ndarray = PALETTE) -> np.ndarray:
    """(H, W, 3) uint8. ValueError where a label has no colour."""
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        raise ValueError(f"coloured: labels must be (height, width) whole numbers, got {labels.shape} {labels.dtype}")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(palette):
        raise ValueError(f"coloured: labels must be 0 to {len(palette) - 1}, got {labels.min()} to {labels.max()}")
    return palette[labels]


def overlay(image: np.ndarray, labels: np.ndarray, share: float = 0.5, palette: np.ndarray = PALETTE) -> np.ndarray:
    """The image with its labels' colours over it, (H, W, 3) uint8. Class 0, the ground, stays clear.

    image: (H, W, 3) or (H, W), uint8. share: of the colour, 0 to 1.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.shape[:2] != np.shape(labels) or image.ndim not in (2, 3):
        raise ValueError(f"overlay: image must be uint8 of the labels' size {np.shape(labels)}, got {image.shape} "
                         f"{image.dtype}")
    if not 0 <= share <= 1:
        raise ValueError(f"overlay: share must be 0 to 1, got {share!r}")
    labels = np.asarray(labels)
    result = np.empty((*labels.shape, 3), np.uint8)
    rows = max(1, SOME_PIXELS // max(1, labels.shape[1]))   # at once: as floats they are 24 times as large
    for top in range(0, len(labels), rows):
        some = slice(top, top + rows)
        alpha = np.where(labels[some, :, None] == 0, 0, share)
        pixels = image[some] if image.ndim == 3 else image[some, :, None]
        result[some] = np.rint(pixels * (1 - alpha) + coloured(labels[some], palette) * alpha)
    return result
