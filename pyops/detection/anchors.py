"""Boxes that lie on a grid over the image, of a few sizes and shapes at each place: what proposals
and detections are counted from. NumPy, made once a size.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

__all__ = ["Anchors", "DefaultBoxes", "RETINANET", "RPN_PYRAMID", "cell_anchors"]

KEPT = 16   # sizes of images whose boxes are remembered


def cell_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """(ratios x sizes, 4) float32 around the origin: each shape (height over width) in each
    size (the square root of the area), rounded to whole pixels. Ren et al. (2015), section 3.1.
    """
    scales, heights = np.asarray(sizes, np.float32), np.sqrt(np.asarray(ratios, np.float32))
    w, h = ((1 / heights)[:, None] * scales).reshape(-1), (heights[:, None] * scales).reshape(-1)
    return np.round(np.stack([-w, -h, w, h], 1) / 2)


class Anchors:
    """sizes, ratios: for each map of features its sizes in pixels of the image and its shapes.

    anchors(image, maps) gives for each map (height, width) the boxes (height x width x each, 4)
    float32, row by row, those of a place together. The stride is the image's size over the map's,
    rounded down.
    """

    def __init__(self, sizes: Sequence[Sequence[float]], ratios: Sequence[Sequence[float]]) -> None:
        if len(sizes) != len(ratios) or not sizes:
            raise ValueError(f"Anchors: as many ratios as sizes, one of each a map, got {len(ratios)} and {len(sizes)}")
        self.cells = [cell_anchors(s, r) for s, r in zip(sizes, ratios)]
        self.each = [len(cell) for cell in self.cells]   # boxes at a place
        self._made = lru_cache(KEPT)(self._of)

    def __call__(self, image: tuple[int, int], maps: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        if len(maps) != len(self.cells):
            raise ValueError(f"Anchors: made for {len(self.cells)} maps, got {len(maps)}")
        return self._made(tuple(image), tuple(map(tuple, maps)))

    def _of(self, image: tuple[int, int], maps: tuple[tuple[int, int], ...]) -> list[np.ndarray]:
        found = []
        for cell, (height, width) in zip(self.cells, maps):
            y = np.arange(height, dtype=np.float32) * (image[0] // height)
            x = np.arange(width, dtype=np.float32) * (image[1] // width)
            places = np.stack(np.broadcast_arrays(x, y[:, None], x, y[:, None]), -1).reshape(-1, 1, 4)
            boxes = (places + cell).reshape(-1, 4)
            boxes.flags.writeable = False
            found.append(boxes)
        return found

    def __deepcopy__(self, memo: object) -> Anchors:   # nothing of it changes
        return self

    def __reduce__(self):
        return restored, (type(self), {"cells": self.cells, "each": self.each})


def restored(kind, state):
    made = object.__new__(kind)
    made.__dict__.update(state)
    made._made = lru_cache(KEPT)(made._of)
    return made


# Five levels of a pyramid: one size each and three shapes (Lin et al., "Feature Pyramid Networks", 2017), and
# three sizes a third of an octave apart (Lin et al., "Focal Loss", 2017).
RPN_PYRAMID = tuple((size,) for size in (32, 64, 128, 256, 512)), ((0.5, 1.0, 2.0),) * 5
RETINANET = (tuple((size, int(size * 2 ** (1 / 3)), int(size * 2 ** (2 / 3))) for size in (32, 64, 128, 256, 512)),
             ((0.5, 1.0, 2.0),) * 5)


class DefaultBoxes:
    """SSD's: at each place of each map a square of the map's scale, one between that and the
    next map's, and two of each ratio. Liu et al. (2016), section 2.2.

    scales: of the maps and one more, relative to the image; None: evenly from `least` to `most`, then
    1. steps: pixels between places for each map; None: the image over the map. clip: sizes are cut at
    the image's.
    """

    def __init__(self, ratios: Sequence[Sequence[float]], least: float = 0.15, most: float = 0.9,
                 scales: Sequence[float] | None = None, steps: Sequence[float] | None = None,
                 clip: bool = True) -> None:
        n = len(ratios)
        if scales is None:
            scales = ([least + (most - least) * k / (n - 1) for k in range(n)] + [1.0] if n > 1 else [least, most])
        if len(scales) != n + 1 or (steps is not None and len(steps) != n):
            raise ValueError(f"DefaultBoxes: {n} maps take {n + 1} scales and {n} steps, got {len(scales)} and "
                             f"{None if steps is None else len(steps)}")
        self.steps = steps
        self.shapes = []
        for k, of_map in enumerate(ratios):
            between = math.sqrt(scales[k] * scales[k + 1])
            shapes = [(scales[k], scales[k]), (between, between)]
            for ratio in of_map:
                w, h = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
                shapes += [(w, h), (h, w)]
            self.shapes.append(np.array(shapes, np.float32))
        self.each = [len(shapes) for shapes in self.shapes]
        if clip:
            self.shapes = [shapes.clip(0, 1) for shapes in self.shapes]

    def __call__(self, image: tuple[int, int], maps: Sequence[tuple[int, int]]) -> np.ndarray:
        """(boxes, 4) float32, corners in pixels: map by map, row by row, those of a place together."""
        if len(maps) != len(self.shapes):
            raise ValueError(f"DefaultBoxes: made for {len(self.shapes)} maps, got {len(maps)}")
        found = []
        for k, ((height, width), shapes) in enumerate(zip(maps, self.shapes)):
            across, down = ((width, height) if self.steps is None
                            else (image[1] / self.steps[k], image[0] / self.steps[k]))
            x = ((np.arange(width, dtype=np.float32) + np.float32(0.5)) / np.float32(across))
            y = ((np.arange(height, dtype=np.float32) + np.float32(0.5)) / np.float32(down))
            places = np.stack(np.broadcast_arrays(x, y[:, None]), -1).reshape(-1, 1, 2)
            half = shapes * np.float32(0.5)
            found.append(np.concatenate([places - half, places + half], -1).reshape(-1, 4))
        return np.concatenate(found) * np.array([image[1], image[0]] * 2, np.float32)
