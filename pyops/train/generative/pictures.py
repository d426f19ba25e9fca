"""Sheets of images that a network made, and the curves of its training."""
from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

GAP, LEAST = 2, 64   # pixels between images; the side below which an image is enlarged to hard pixels


def as_bytes(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) in -1 .. 1, C 1 or 3, as uint8 (N, H, W, 3). What is no number is 0."""
    images = np.nan_to_num(np.asarray(images, np.float32), nan=-1, posinf=1, neginf=-1)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"draw_sheet: images must be (N, 1 or 3, H, W), got {images.shape}")
    levels = np.clip(np.rint((images + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return np.broadcast_to(levels, (*levels.shape[:3], 3))


def draw_sheet(path, images: np.ndarray, columns: int | None = None, margin: int = GAP) -> None:
    """Images (N, C, H, W) in -1 .. 1, row by row, as one PNG, with `margin` pixels between them and
    around; small ones enlarged. margin=0: as they are."""
    from PIL import Image
    pixels = as_bytes(images)
    count, height, width, _ = pixels.shape
    columns = columns or max(1, math.ceil(math.sqrt(count)))
    times, rows = max(1, math.ceil(LEAST / max(1, min(height, width)))) if margin else 1, math.ceil(count / columns)
    h, w = height * times + margin, width * times + margin
    page = np.full((rows * h + margin, columns * w + margin, 3), 255, np.uint8)
    for i, one in enumerate(pixels):
        y, x = margin + i // columns * h, margin + i % columns * w
        page[y:y + h - margin, x:x + w - margin] = one.repeat(times, 0).repeat(times, 1)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(page).save(path)


def draw_curve(path, history: Sequence, title: str) -> None:
    """history: GenerativeEpochs. Losses on the left; on the right what else is known of each epoch."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator
    epochs = [e.number for e in history]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    losses, others = figure.subplots(1, 2)
    for axes, kind in ((losses, "losses"), (others, "said")):
        for name in dict.fromkeys(name for e in history for name in getattr(e, kind)):
            axes.plot(epochs, [getattr(e, kind).get(name, math.nan) for e in history], marker=".", label=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    losses.set(xlabel="epoch", ylabel="loss")
    others.set(xlabel="epoch", ylabel="share")
    figure.suptitle(title)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
