"""Pictures of arrays, many on a sheet, as PNG."""
from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# pixels between tiles, of a line of text, and of a tile's shorter side at least
GAP, LINE, LEAST = 6, 13, 64
# Three colours through which heat runs: no, some, much evidence
COLD, WARM, HOT = np.array([[20, 30, 90], [230, 130, 40], [255, 250, 200]], np.float32)


def as_pixels(array: np.ndarray) -> np.ndarray:
    """Floats (H, W), (1, H, W) or (3, H, W) stretched over 0 .. 255; uint8 (H, W) or (H, W, 3) as
    it is. uint8 (H, W, 3)."""
    if array.dtype != np.uint8:
        if array.ndim == 3 and array.shape[0] in (1, 3):
            array = array.transpose(1, 2, 0)
        low, high = float(np.nanmin(array)), float(np.nanmax(array))
        array = np.clip(255 * (np.nan_to_num(array) - low) / max(high - low, 1e-12), 0, 255).astype(np.uint8)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(
            f"sheet: a tile must be (H, W), (1, H, W), (3, H, W), or uint8 (H, W, 3), got {array.shape}")
    return np.broadcast_to(array, (*array.shape[:2], 3)) if array.shape[2] == 1 else array


def heat(values: np.ndarray) -> np.ndarray:
    """(H, W) as colours, uint8 (H, W, 3): dark blue for the least, over orange, to near
    white for the most."""
    share = (values - values.min()) / max(float(values.max() - values.min()), 1e-12)
    lower, upper = np.clip(2 * share, 0, 1)[..., None], np.clip(2 * share - 1, 0, 1)[..., None]
    return ((COLD + (WARM - COLD) * lower) + (HOT - WARM) * upper).astype(np.uint8)


def overlay(image: np.ndarray, values: np.ndarray, share: float = 0.5) -> np.ndarray:
    """heat(values) over the image, both of the same height and width, as uint8 (H, W, 3)."""
    return (share * heat(values) + (1 - share) * as_pixels(image)).astype(np.uint8)


def sheet(path, tiles: Sequence[tuple[np.ndarray, str]], title: str = "", columns: int | None = None) -> None:
    """Writes tiles, each an array as as_pixels takes it with a line of text, row by row as one PNG.
    Small ones are enlarged to hard pixels."""
    from PIL import Image, ImageDraw
    pictures = []
    for array, _ in tiles:
        pixels = as_pixels(np.asarray(array))
        times = max(1, math.ceil(LEAST / min(pixels.shape[:2])))
        pictures.append(Image.fromarray(np.ascontiguousarray(pixels.repeat(times, 0).repeat(times, 1))))
    columns = columns or max(1, math.ceil(math.sqrt(len(tiles))))
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    width = max([p.width for p in pictures] + [math.ceil(measure.textlength(text)) for _, text in tiles]
                + [LEAST])
    height = max([p.height for p in pictures] + [0]) + (LINE if any(text for _, text in tiles) else 0)
    rows, head = math.ceil(len(tiles) / columns), LINE + GAP if title else 0
    size = (max(columns * (width + GAP) + GAP, math.ceil(measure.textlength(title)) + 2 * GAP),
            rows * (height + GAP) + GAP + head)
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), title, fill="black")
    for i, (picture, (_, text)) in enumerate(zip(pictures, tiles)):
        x, y = GAP + i % columns * (width + GAP), GAP + head + i // columns * (height + GAP)
        page.paste(picture, (x, y))
        draw.text((x, y + picture.height), text, fill="black")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
