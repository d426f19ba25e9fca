"""DetectionDataset: batches of images of one size with their boxes, for training."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .annotations import Annotations, Picture

GREY = 114   # what letterboxes are filled with


class Sample(NamedTuple):
    """image: uint8 (H, W, 3). boxes: float32 (k, 4), x1, y1, x2, y2 in its pixels. labels: int64
    (k,)."""
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


class DetectionDataset:
    """Annotations as a dataset.

    size: (height, width) that images are scaled to, whole, with grey around (letterbox). augment(
    sample, rng, another) -> Sample changes an image and its boxes; another() draws one more sample
    of the set, for those that mix several. ValueError where size is none.
    """

    def __init__(self, annotations: Annotations, size: tuple[int, int], augment: Callable | None = None):
        self.annotations, self.size, self.augment = annotations, tuple(size), augment
        if len(self.size) != 2 or not all(hasattr(n, "__index__") and n > 0 for n in self.size):
            raise ValueError(f"DetectionDataset: size must be a positive height and width, got {size}")
        self.classes = annotations.classes

    def __len__(self):
        return len(self.annotations.pictures)

    def __repr__(self):
        return (f"DetectionDataset({self.annotations.source!r}, {len(self)} images, {len(self.classes)} classes, "
                f"size={self.size})")

    def picture(self, index: int) -> Picture:
        return self.annotations.pictures[index]

    def sample(self, index: int) -> Sample:
        """An image as it is with what is trained on: no crowds, nothing difficult."""
        picture = self.picture(index)
        kept = ~picture.crowd
        return Sample(picture.load(), picture.boxes[kept].astype(np.float32), picture.labels[kept])

    def take(self, indices: Sequence[int], rng: np.random.Generator | None = None):
        """(images float32 (n, 3, H, W) in 0 .. 1, a target {"boxes", "labels"} each), augmented
        with a generator."""
        samples = [self.sample(int(i)) for i in indices]
        if rng is not None and self.augment is not None:
            samples = [self.augment(s, rng, lambda: self.sample(int(rng.integers(len(self))))) for s in samples]
        return collated([letterboxed(s, self.size) for s in samples])


def collated(samples: Sequence[Sample]):
    """Samples of one size as a batch."""
    images = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    return (np.ascontiguousarray(images, np.float32) / np.float32(255),
            [{"boxes": s.boxes, "labels": s.labels} for s in samples])


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) at another height and width, bilinear, without aliasing."""
    if image.shape[:2] == tuple(size):
        return image
    from PIL import Image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


def letterboxed(sample: Sample, size: tuple[int, int], fill: int = GREY) -> Sample:
    """The sample whole on a canvas of `size`, as large as it goes, in the middle."""
    height, width = sample.image.shape[:2]
    if (height, width) == tuple(size):
        return sample
    scale = min(size[0] / height, size[1] / width)
    inner = [max(1, min(s, round(n * scale))) for n, s in zip((height, width), size)]
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas = np.full((*size, 3), fill, np.uint8)
    canvas[top:top + inner[0], left:left + inner[1]] = resized(sample.image, tuple(inner))
    factor = np.array([inner[1] / width, inner[0] / height] * 2, np.float32)
    return Sample(canvas, sample.boxes * factor + np.array([left, top] * 2, np.float32), sample.labels)
