"""What happens to images before a network of torchvision's kind sees them: normalised, resized so
that the short side has a certain length, and padded to a multiple of the coarsest stride."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F
from ...detection.targets import Target, checked_targets
from .detector import Detector

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Transform", "TransformingDetector", "scale_boxes"]

# Of the pixels of ImageNet, by channel
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Transform:
    """min_size: the length of the short side, unless the long one would exceed max_size. fixed: a
    size (height, width) instead, whatever the image's shape. divisible: sides are padded to
    multiples of it, with zeros right and below."""

    def __init__(self, min_size: int = 800, max_size: int = 1333, mean: Sequence[float] = IMAGENET_MEAN,
                 std: Sequence[float] = IMAGENET_STD, divisible: int = 32,
                 fixed: tuple[int, int] | None = None) -> None:
        for name, value in (("min_size", min_size), ("max_size", max_size), ("divisible", divisible)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Transform: {name} must be a positive int, got {value!r}")
        self.min_size, self.max_size, self.divisible, self.fixed = min_size, max_size, divisible, fixed
        self.mean, self.std = (np.array(v, float).reshape(-1, 1, 1) for v in (mean, std))

    def size(self, height: int, width: int) -> tuple[int, int]:
        """What an image of this size is resized to."""
        if self.fixed is not None:
            return self.fixed
        scale = min(self.min_size / min(height, width), self.max_size / max(height, width))
        return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))

    def padded(self, size: tuple[int, int]) -> tuple[int, int]:
        height, width = (-(-n // self.divisible) * self.divisible for n in size)
        return height, width

    def resized(self, images: Any) -> Any:
        """(N, 3, h, w) of images (N, 3, H, W) of floats."""
        x = F.div(F.sub(images, self.mean.astype(images.dtype)), self.std.astype(images.dtype))
        height, width = map(int, images.shape[2:])
        return F.interpolate(x, self.size(height, width), mode="bilinear", align_corners=False)

    def __call__(self, images: Any) -> tuple[Any, tuple[int, int]]:
        """The network's input, and the size (h, w) of what is image in it."""
        x = self.resized(images)
        size = (int(x.shape[2]), int(x.shape[3]))
        return pad_to(x, self.padded(size)), size

    def batch(self, images: Sequence[Any]) -> tuple[Any, list[tuple[int, int]]]:
        """The input for images (1, 3, H, W) of different sizes, padded to the largest, and the size
        of each in it."""
        resized = [self.resized(image) for image in images]
        sizes = [(int(x.shape[2]), int(x.shape[3])) for x in resized]
        largest = self.padded((max(h for h, _ in sizes), max(w for _, w in sizes)))
        return F.cat([pad_to(x, largest) for x in resized], 0), sizes


def pad_to(x: Any, size: tuple[int, int]) -> Any:
    """Zeros right and below, up to a size (height, width)."""
    below, right = size[0] - int(x.shape[2]), size[1] - int(x.shape[3])
    return F.pad(x, (0, right, 0, below)) if below or right else x


def scale_boxes(boxes: Any, size: tuple[int, int], to: tuple[int, int]) -> Any:
    """Boxes (..., 4) in pixels of an image of `size` (height, width), in those of one of size `to`."""
    y, x = (np.float32(n) / np.float32(m) for n, m in zip(to, size))
    return F.mul(boxes, np.array([x, y, x, y], boxes.dtype))


class TransformingDetector(Detector):
    """A detector with a `transform`: what its network sees is larger or smaller than what it is
    given."""
    transform: Transform

    def training_batch(self, images: Any, targets: Sequence[Mapping[str, Any]], first: int,
                       classes: int) -> tuple[Any, list[tuple[int, int]], list[Target]]:
        """The network's input, the size of each image in it, and the targets in those pixels.

        images: (N, 3, H, W), or a list of (3, H, W) of different sizes. first, classes: of labels.
        ValueError as checked_targets.
        """
        if isinstance(images, (list, tuple)):
            given = [self.floats(np.asarray(image)[None]) for image in images]
            x, sizes = self.transform.batch(given)
        else:
            given = [self.floats(images)]
            x, size = self.transform(given[0])
            sizes, given = [size] * int(x.shape[0]), given * int(x.shape[0])
        before = [(int(g.shape[2]), int(g.shape[3])) for g in given]
        truth = checked_targets(type(self).__name__, targets, before, first, classes)
        return x, sizes, [Target(scale_boxes(t.boxes, size, to), t.labels) for t, size, to in zip(truth, before, sizes)]
