"""Labels as colours, alone and over the image."""
from __future__ import annotations

import numpy as np

__all__ = ["PALETTE", "coloured", "overlay"]


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
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, -1)
    alpha = np.where(np.asarray(labels)[..., None] == 0, 0, share)
    return np.rint(image * (1 - alpha) + coloured(labels, palette) * alpha).astype(np.uint8)
