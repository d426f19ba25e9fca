"""Augmentation of an image and its mask alike: what moves pixels moves both.

Each is called with (sample, rng) and returns another MaskSample.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .dataset import NOTHING, MaskSample

__all__ = ["Brightness", "Compose", "Crop", "Elastic", "Flip", "Rotate"]


class Compose:
    """One after another."""

    def __init__(self, *steps: Callable):
        self.steps = steps

    def __call__(self, sample: MaskSample, rng: np.random.Generator) -> MaskSample:
        for step in self.steps:
            sample = step(sample, rng)
        return sample


@dataclass(frozen=True)
class Flip:
    """Left and right change places, with probability p; vertical: up and down, too."""
    p: float = 0.5
    vertical: bool = False

    def __call__(self, sample, rng):
        for axis in (1, 0)[:1 + self.vertical]:
            if rng.random() < self.p:
                sample = MaskSample(*(np.flip(a, axis) for a in sample))
        return MaskSample(*map(np.ascontiguousarray, sample))


@dataclass(frozen=True)
class Crop:
    """A piece of `size` (height, width) from anywhere; what lies outside is black, and not labelled."""
    size: tuple[int, int]

    def __call__(self, sample, rng):
        pads = [(0, max(0, n - have)) for n, have in zip(self.size, sample.mask.shape)]
        image = np.pad(sample.image, (*pads, (0, 0)))
        mask = np.pad(sample.mask, pads, constant_values=NOTHING)
        top, left = (int(rng.integers(have - n + 1)) for have, n in zip(mask.shape, self.size))
        window = slice(top, top + self.size[0]), slice(left, left + self.size[1])
        return MaskSample(image[window], mask[window])


@dataclass(frozen=True)
class Rotate:
    """By up to so many degrees either way, about the middle; corners become black, and not
    labelled."""
    degrees: float = 15.0

    def __call__(self, sample, rng):
        from PIL import Image
        angle = float(rng.uniform(-self.degrees, self.degrees))
        image = Image.fromarray(sample.image).rotate(angle, Image.Resampling.BILINEAR)
        mask = Image.fromarray(sample.mask).rotate(angle, Image.Resampling.NEAREST, fillcolor=NOTHING)
        return MaskSample(np.asarray(image), np.asarray(mask))


@dataclass(frozen=True)
class Elastic:
    """Smooth random displacements: normal numbers of deviation `strength` pixels on a coarse grid of
    `cells` a side, between which they are interpolated (Ronneberger et al., 2015, section 3.1).
    Needs SciPy."""
    strength: float = 3.0
    cells: int = 3

    def __call__(self, sample, rng):
        from scipy.ndimage import map_coordinates
        size = sample.mask.shape
        places = [p.astype(np.float64) for p in np.meshgrid(*map(np.arange, size), indexing="ij")]
        grid = [p * (self.cells / max(1, n - 1)) for p, n in zip(places, size)]
        moved = [p + map_coordinates(rng.normal(0, self.strength, (self.cells + 1,) * 2), grid, order=3, mode="nearest")
                 for p in places]
        image = np.stack([map_coordinates(sample.image[..., c].astype(np.float32), moved, order=1, mode="reflect")
                          for c in range(sample.image.shape[2])], -1)
        mask = map_coordinates(sample.mask, moved, order=0, mode="reflect")
        return MaskSample(np.clip(np.rint(image), 0, 255).astype(np.uint8), mask)


@dataclass(frozen=True)
class Brightness:
    """Times a factor of 1 - by to 1 + by, plus up to `shift` of 255 either way. The mask stays."""
    by: float = 0.2
    shift: float = 0.1

    def __call__(self, sample, rng):
        factor, more = rng.uniform(1 - self.by, 1 + self.by), 255 * rng.uniform(-self.shift, self.shift)
        image = np.clip(np.rint(sample.image.astype(np.float32) * factor + more), 0, 255).astype(np.uint8)
        return MaskSample(image, sample.mask)
