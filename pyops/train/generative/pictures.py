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
    """history: GenerativeEpochs. Losses, what else is known in shares of 1, and what is no share."""
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state
    from matplotlib.ticker import MaxNLocator
    losses, said = (by_name(history, kind) for kind in ("losses", "said"))
    shares = {name: line for name, line in said.items() if all(0 <= value <= 1 for _, value in line)}
    panels = [("loss", losses), ("share", shares), ("", {n: line for n, line in said.items() if n not in shares})]
    panels = [panel for panel in panels if panel[1]]
    figure = Figure(figsize=(4.8 * len(panels) + 0.4, 3.8), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for name, line in lines.items():
            axes.plot(*zip(*line), marker=".", label=name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(title)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def by_name(history: Sequence, kind: str) -> dict[str, list[tuple[int, float]]]:
    """name -> (epoch, value) of those epochs that have it."""
    found: dict[str, list[tuple[int, float]]] = {}
    for epoch in history:
        for name, value in getattr(epoch, kind).items():
            found.setdefault(name, []).append((epoch.number, value))
    return found
