"""What each position of a layer sees in an image, and for which class it speaks. Olah et al., "The
Building Blocks of Interpretability" (Distill, 2018)."""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import functional as F
from .attribution import positive
from .evidence import at_maps
from .objective import Objective, direction
from .subject import checked, subject
from .visualise import visualise

BATCH, COSINE = 16, 1.0


def attribution_grid(model: Any, image: np.ndarray, target: int | Objective, layer: str | None = None) -> np.ndarray:
    """(h, w): how much the answer of each position of a layer's maps weighs for the score, the sum
    over channels of map times gradient. For which of two classes a position speaks:
    objective.score(a) - objective.score(b). layer: None for the last maps of more than one pixel."""
    maps, g = at_maps("attribution_grid", subject(model), checked("attribution_grid", image), target, layer)
    return (maps.astype(np.float64) * g).sum(0)


class Seen(NamedTuple):
    """images: float32 (h, w, C, H, W) in 0 .. 1, what excites a position's channels as the image does.
    lengths: (h, w), of the positions' answers."""
    images: np.ndarray
    lengths: np.ndarray


def activation_grid(model: Any, image: np.ndarray, layer: str, *, cells: int = 8, size: int | None = None,
                    steps: int = 100, **how: Any) -> Seen:
    """An image of `size` pixels a side (None: the input's) for each position of a layer's maps, means
    of which are taken until there are at most `cells` a side. how: as of visualise."""
    image = checked("activation_grid", image)
    positive("activation_grid", cells=cells, steps=steps)
    looked = subject(model)
    maps = looked.look(image[None], [layer])[layer]
    if maps.ndim != 4:
        raise ValueError(f"activation_grid: {layer} answers with {maps.shape}, which are no maps (N, C, H, W)")
    height, width = (min(cells, n) for n in maps.shape[2:])
    means = np.asarray(F.adaptive_avg_pool2d(np.ascontiguousarray(maps), (height, width)))[0]
    vectors = means.reshape(len(means), -1).T
    shape = (image.shape[0], size or image.shape[1], size or image.shape[2])
    images = directions(looked, layer, vectors, shape, steps=steps, **how)
    return Seen(images.reshape(height, width, *shape), np.linalg.norm(vectors, axis=1).reshape(height, width))


def directions(model: Any, layer: str, vectors: np.ndarray, shape: tuple[int, int, int], **how: Any) -> np.ndarray:
    """An image for each of vectors (M, C), float32 (M, C, H, W); grey where a vector is 0."""
    images = np.full((len(vectors), *shape), 0.5, np.float32)
    alive = np.flatnonzero(np.abs(vectors).max(1) > 0)
    for begin in range(0, len(alive), BATCH):
        chosen = alive[begin:begin + BATCH]
        # of length 1, so that those with short answers climb as far
        units = vectors[chosen] / np.linalg.norm(vectors[chosen], axis=1, keepdims=True)
        images[chosen] = visualise(model, direction(layer, units, COSINE), shape, count=len(chosen), **how).images
    return images


def mosaic(images: np.ndarray, gap: int = 1, strength: np.ndarray | None = None) -> np.ndarray:
    """(C, h * H, w * W) of images (h, w, C, H, W), white lines of `gap` between. strength: (h, w) in
    0 .. 1, how far each is from grey."""
    if strength is not None:
        images = 0.5 + (images - 0.5) * strength[..., None, None, None]
    padded = np.pad(images, [(0, 0)] * 3 + [(0, gap)] * 2, constant_values=1)
    rows, columns, channels, height, width = padded.shape
    page = padded.transpose(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
    return page[:, :page.shape[1] - gap, :page.shape[2] - gap]
