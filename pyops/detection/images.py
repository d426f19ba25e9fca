"""Images as detectors take them, from whatever an image may be: a file, a PIL.Image, an array."""
from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..files.eight_bits import as_shown, eight_bits

__all__ = ["as_image", "as_uint8"]


def as_image(source: Any) -> np.ndarray:
    """(3, H, W), uint8 or float32 in 0..1, of a path, a PIL.Image, or an array: (3, H, W), (H, W, 3) of
    uint8, or (H, W) of grey levels.

    An array of uint8 whose last axis has three entries is read as (H, W, 3). TypeError for another
    type, ValueError for another shape, for a file that is no image, and for numbers outside 0..1.
    """
    if isinstance(source, (str, os.PathLike)):
        return np.ascontiguousarray(opened(source).transpose(2, 0, 1))
    if hasattr(source, "convert"):   # of Pillow
        return np.ascontiguousarray(np.asarray(eight_bits(source).convert("RGB")).transpose(2, 0, 1))
    array = np.asarray(getattr(source, "data", source) if hasattr(source, "node") else source)
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype != np.uint8:
        raise TypeError(f"detect: an image is an array of uint8 or floats, got {array.dtype}")
    if array.ndim == 2:
        array = np.stack([array] * 3)
    elif array.ndim == 3 and array.shape[2] == 3 and (array.dtype == np.uint8 or array.shape[0] != 3):
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != 3 or 0 in array.shape:
        raise ValueError("detect: an image is (3, H, W), (H, W, 3) or (H, W), of at least one pixel, got "
                         f"{array.shape}")
    if array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"detect: an image of floats has numbers in 0..1, got {array.min()} to {array.max()}")
    return np.ascontiguousarray(array)


def opened(path: Any) -> np.ndarray:
    """(H, W, 3) uint8 of a file, turned as its EXIF says, transparency on white."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading an image needs Pillow: pip install 'pyops-kernels[train]'") from error
    try:
        with Image.open(path) as image:
            return np.asarray(as_shown(image).convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as an image: {error}") from error


def as_uint8(source: Any) -> np.ndarray:
    """(H, W, 3) uint8 of an image, to draw on."""
    image = as_image(source).transpose(1, 2, 0)
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    return np.ascontiguousarray(np.rint(image * 255).astype(np.uint8))
