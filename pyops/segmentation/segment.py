"""Labels of an image of any size: whole, or tile by tile with room around each."""
from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from ..core.tape import no_grad

__all__ = ["segment"]

SCORES = 1 << 27   # bytes of logits at most that a whole image's answer may take


def segment(model: Any, image: np.ndarray, tile: int | None = None, margin: int = 64,
            mode: str = "reflect", scores: bool = False, scale: float | None = None) -> np.ndarray:
    """The class of each pixel, (H, W) uint8 (int64 from 256 classes on), or with scores=True the
    logits (classes, H, W) float32.

    model: a Segmenter, or a Program of one made for tiles of that size. image: (C, H, W) float32 as
    the model takes it, of any size. tile: the side of the pieces that are worked on by themselves;
    None: the whole image at once where its scores stay small, else 512. margin: pixels that a tile
    sees around those that it labels. mode: what stands around the image, "reflect" (mirrored, as in
    U-Net's paper) or "zeros". A U-Net without padding makes its margin itself (the overlap-tile
    strategy; Ronneberger et al., 2015, figure 2). scale: of an image of uint8, by which each piece
    is multiplied when its turn comes, 1 / 255 say; so a large image is never whole in floats.
    Raises ValueError for an image that is not (C, H, W) of floats, holds NaN or infinity, or a tile
    below 1: whole numbers from 0 to 255 would pass for pixels that the model was not trained on.
    """
    if "torch" in sys.modules and isinstance(model, sys.modules["torch"].nn.Module):
        raise TypeError(f"segment: takes networks of pyops and Programs, got a torch module {type(model).__name__}")
    image = checked(image, scale)
    if mode not in ("reflect", "zeros"):
        raise ValueError(f"segment: mode must be 'reflect' or 'zeros', got {mode!r}")
    if tile is not None and tile < 1 or margin < 0:
        raise ValueError(f"segment: tile must be at least 1 and margin at least 0, got {tile!r} and {margin!r}")
    _, height, width = image.shape
    if tile is None:
        tile = max(height, width) if 4 * 32 * height * width <= SCORES else 512
    if unpadded(model):
        seen = model.fitting_size(min(tile, max(height, width)))
        tile = model.result_size(seen)
        margin = (seen - tile) // 2
    elif tile >= max(height, width):
        margin = 0
    result: np.ndarray | None = None
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            rows, columns = min(tile, height - top), min(tile, width - left)
            logits = answer(model, image, (top, left), (rows, columns), tile, margin, mode, scale)
            part = logits if scores else logits.argmax(0)
            if result is None:
                kind = np.float32 if scores else np.uint8 if len(logits) <= 256 else np.int64
                result = np.empty((*part.shape[:-2], height, width), kind)
            result[..., top:top + rows, left:left + columns] = part
    assert result is not None
    return result


def checked(image: Any, scale: float | None) -> np.ndarray:
    image = np.asarray(image)
    if scale is not None and (image.dtype != np.uint8 or not 0 < scale < math.inf):
        raise ValueError(f"segment: scale must be positive and is for images of uint8, got {scale!r} and {image.dtype}")
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"segment: image must be (channels, height, width), got {image.shape}")
    if scale is not None:
        return image
    if image.dtype.kind != "f":
        raise ValueError(f"segment: image must hold floats as the model takes them, 0 to 1 say, got {image.dtype}")
    image = image.astype(np.float32, copy=False)
    if not np.isfinite(image).all():
        raise ValueError("segment: image holds NaN or infinity")
    return image


def answer(model: Any, image: np.ndarray, corner: tuple[int, int], size: tuple[int, int], tile: int,
           margin: int, mode: str, scale: float | None) -> np.ndarray:
    """Logits (classes, rows, columns) of the pixels from `corner` on."""
    (top, left), (rows, columns) = corner, size
    height, width = seen_size(model, size, tile, margin)
    piece = window(image, top - margin, left - margin, height, width, mode)
    if scale is not None:
        piece = piece.astype(np.float32) * np.float32(scale)
    with no_grad():
        logits = model.logits(piece[None]) if hasattr(model, "logits") else model(piece[None])
    logits = np.asarray(getattr(logits, "data", logits))[0]
    if logits.ndim != 3:
        raise ValueError(f"segment: the model must return scores (1, classes, H, W) of an image, got "
                         f"{(1, *logits.shape)}")
    first = 0 if unpadded(model) else margin
    return logits[:, first:first + rows, first:first + columns]


def seen_size(model: Any, size: tuple[int, int], tile: int, margin: int) -> tuple[int, int]:
    """Of the piece that a model is shown: as large as it must be for networks, which say what its
    sides must be multiples of, and at least; a Program has one size."""
    multiple = getattr(model, "multiple", None)
    if multiple is None or unpadded(model):
        return tile + 2 * margin, tile + 2 * margin
    least = getattr(model, "least", 1)
    rows, columns = (-(-max(least, n + 2 * margin) // multiple) * multiple for n in size)
    return rows, columns


def unpadded(model: Any) -> bool:
    return getattr(model, "padded", True) is False


def window(image: np.ndarray, top: int, left: int, height: int, width: int, mode: str) -> np.ndarray:
    """A copy of (C, height, width) from (top, left) on, which may lie outside of the image."""
    if mode == "reflect":
        rows, columns = (mirrored(np.arange(start, start + length), side) for start, length, side in
                         ((top, height, image.shape[1]), (left, width, image.shape[2])))
        return np.ascontiguousarray(image[:, rows[:, None], columns])
    piece = np.zeros((len(image), height, width), np.float32)
    inner = image[:, max(top, 0):top + height, max(left, 0):left + width]
    down, right = max(-top, 0), max(-left, 0)
    piece[:, down:down + inner.shape[1], right:right + inner.shape[2]] = inner
    return piece


def mirrored(places: np.ndarray, side: int) -> np.ndarray:
    """Places on a line that is mirrored at its first and last pixel, again and again."""
    if side == 1:
        return np.zeros_like(places)
    places = np.abs(places) % (2 * side - 2)
    return np.where(places < side, places, 2 * side - 2 - places)
