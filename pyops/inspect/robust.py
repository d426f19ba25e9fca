"""Images as seen a little moved, turned and scaled: what a network answers to then is no noise."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor, grad

GREY = 0.5   # around the image


@dataclass(frozen=True)
class Robustness:
    """jitter: pixels either way. scale: sizes (least, most). rotation: degrees either way. Each is
    drawn evenly, once a step for the whole batch."""
    jitter: float = 8.0
    scale: tuple[float, float] = (0.9, 1.1)
    rotation: float = 5.0

    def __post_init__(self):
        if not (np.isfinite([self.jitter, *self.scale, self.rotation]).all() and self.jitter >= 0
                and 0 < self.scale[0] <= self.scale[1] and 0 <= self.rotation):
            raise ValueError("Robustness: jitter and rotation must not be negative and scale must be (least, most) "
                             f"above 0, got {self.jitter}, {self.rotation} and {self.scale}")

    @property
    def still(self) -> bool:
        return not self.jitter and not self.rotation and self.scale == (1, 1)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """(2, 3): where a pixel of the result lies in the image, both in -1 .. 1."""
        angle, times = np.deg2rad(rng.uniform(-self.rotation, self.rotation)), rng.uniform(*self.scale)
        height, width = size
        moved = rng.uniform(-self.jitter, self.jitter, 2) * 2 / (width, height)
        cos, sin = np.cos(angle) / times, np.sin(angle) / times
        return np.array([[cos, -sin * height / width, moved[0]], [sin * width / height, cos, moved[1]]])


class Seen:
    """images (N, C, H, W) as `place` (2, 3) has them, grey around."""

    def __init__(self, images: np.ndarray, place: np.ndarray):
        self.leaf = Tensor(images, requires_grad=True)
        grid = F.affine_grid(np.broadcast_to(place.astype(images.dtype), (len(images), 2, 3)).copy(), images.shape,
                             align_corners=False)
        self.moved = F.grid_sample(self.leaf - GREY, grid, "bilinear", "zeros", False)
        self.images = self.moved.data + images.dtype.type(GREY)

    def pull(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient for the images from that for what was seen."""
        return np.asarray(grad([self.moved], [self.leaf], [np.ascontiguousarray(gradient)])[0])
