"""Pictures to learn from, in -1 .. 1, the range of a generator's tanh."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..dataset import Split
from ..folder import SUFFIXES, load_image

TESTED = 10   # one in so many of a folder's images is for the test


class PictureDataset:
    """images: float (N, C, H, W) in -1 .. 1, or uint8, which are brought there as they are taken.
    labels: whole numbers (N,), or images (N, ...) that belong to them. paired=False: in training
    labels are taken at random, as they do not. ValueError where lengths differ, or values lie
    outside."""

    def __init__(self, images, labels, classes: Sequence[str] | None = None, name: str = "pictures",
                 paired: bool = True):
        images = np.asarray(images)
        self.images = images if images.dtype == np.uint8 else np.ascontiguousarray(images, np.float32)
        self.labels, self.paired = np.asarray(labels), paired
        if self.images.ndim != 4 or not len(self.images) or paired and len(self.images) != len(self.labels):
            raise ValueError(f"PictureDataset: images must be (N, C, H, W) with N labels, got {self.images.shape} and "
                             f"{self.labels.shape}")
        if self.images.dtype != np.uint8 and not np.abs(self.images).max() <= 1:
            raise ValueError("PictureDataset: images must lie in -1 .. 1, got "
                             f"{self.images.min()} .. {self.images.max()}")
        self.classes, self.name = None if classes is None else tuple(classes), name

    def __len__(self):
        return len(self.images)

    def __repr__(self):
        return f"PictureDataset({self.name}, {len(self)} of {list(self.images.shape[1:])})"

    def take(self, indices, rng: np.random.Generator | None = None):
        images = self.images[indices]
        if images.dtype == np.uint8:
            images = images * np.float32(2 / 255) - np.float32(1)
        if self.paired:
            return images, self.labels[indices]
        others = (np.asarray(indices) % len(self.labels) if rng is None
                  else rng.integers(len(self.labels), size=len(indices)))
        return images, self.labels[others]


def picture_folder(root, size: int, channels: int = 3) -> Split:
    """Images under a folder, each scaled to cover size x size and cut from the middle. Where they lie
    in folders of their own, these are the classes. Every tenth is for the test.

    FileNotFoundError where root is no folder; ValueError for an image that cannot be read, or fewer
    than twenty.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if len(paths) < 2 * TESTED:
        raise ValueError(f"{root}: {len(paths)} images are too few to learn from: {2 * TESTED} are the least")
    names = [p.relative_to(root).parts[0] if p.parent != root else "" for p in paths]
    classes = sorted(set(names))
    images = np.stack([read(path, size, channels) for path in paths])
    labels, test = np.array([classes.index(name) for name in names]), np.arange(len(paths)) % TESTED == 0
    return Split(*(PictureDataset(images[part], labels[part], classes if len(classes) > 1 else None, root.name)
                   for part in (~test, test)), root.name)


def read(path: Path, size: int, channels: int) -> np.ndarray:
    """uint8 (channels, size, size)."""
    try:
        image = load_image(path, (size, size), (size, size), channels)
    except Exception as why:   # decoders raise of many kinds
        raise ValueError(f"{path}: cannot be read as an image: {why}") from why
    return image.transpose(2, 0, 1) if channels == 3 else image[None]
