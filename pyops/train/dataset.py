"""Datasets: labelled images of which a batch can be taken by number, from any thread.

A dataset has `labels` (N,), `classes` (names, or None) and

    take(indices, rng=None) -> (inputs, targets)

inputs: float32 (n, C, H, W). targets: labels (n,), or class probabilities (n, classes) where images
were mixed. With a generator, images are augmented, and all that is random comes from that
generator: so a batch depends on its number, not on which thread made it or when.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .data import Digits, shifted, to_input


def to_unit(images: np.ndarray) -> np.ndarray:
    """uint8 images (N, H, W) or (N, H, W, C) as float32 (N, C, H, W) in 0 .. 1; float images (N, C,
    H, W) as they are."""
    if images.dtype != np.uint8:
        return np.ascontiguousarray(images, np.float32)
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, np.float32) / np.float32(255)


class Normalize:
    """(x / 255 - mean) / std by channel, for uint8 (N, H, W, C): what `prepare` of a dataset may
    be.

    mean, std: one number a channel, of pixels in 0 .. 1. ValueError where a std is not positive.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (mean, std))
        if not (self.std > 0).all():
            raise ValueError(f"Normalize: std must be positive, got {list(std)}")

    def __repr__(self):
        return f"Normalize(mean={self.mean.ravel().tolist()}, std={self.std.ravel().tolist()})"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return (to_unit(images) - self.mean) / self.std


class ArrayDataset:
    """Images that lie in memory.

    images: uint8 (N, H, W) or (N, H, W, C), or float (N, C, H, W). labels: integers (N,).
    prepare(images) makes the network's float32 (N, C, H, W) of a batch (default: to_unit).
    augment(images, rng) changes a batch as it is stored, before prepare; mix(inputs, labels,
    rng) -> (inputs, targets) works on what prepare made, such as mixup. ValueError where
    lengths or axes do not fit.
    """

    def __init__(self, images, labels, prepare: Callable = to_unit, augment: Callable | None = None,
                 mix: Callable | None = None, classes: Sequence[str] | None = None):
        self.images, self.labels = np.asarray(images), np.asarray(labels)
        if (len(self.images) != len(self.labels) or self.labels.ndim != 1
                or self.labels.dtype.kind not in "iu"):
            raise ValueError(f"ArrayDataset: {len(self.images)} images need as many integer labels (N,), got "
                             f"{self.labels.dtype} {self.labels.shape}")
        if not len(self.labels):
            raise ValueError("ArrayDataset: there are no images")
        self.prepare, self.augment, self.mix = prepare, augment, mix
        self.classes = None if classes is None else tuple(classes)

    def __len__(self):
        return len(self.labels)

    def __repr__(self):
        classes = f", {len(self.classes)} classes" if self.classes else ""
        return f"ArrayDataset({len(self)} images, {self.images.dtype}{list(self.images.shape[1:])}{classes})"

    def take(self, indices, rng: np.random.Generator | None = None):
        images, targets = self.images[indices], self.labels[indices]
        if rng is not None and self.augment is not None:
            images = self.augment(images, rng)
        inputs = self.prepare(images)
        return (self.mix(inputs, targets, rng) if rng is not None and self.mix is not None
                else (inputs, targets))


class Split(NamedTuple):
    """A dataset to train on and one to test on."""
    train: Any
    test: Any
    name: str = "data"

    def __str__(self):
        return f"{self.name}: {len(self.train)} images to train on, {len(self.test)} to test"


def split_of(data, shift: int = 0) -> Split:
    """What a Trainer takes, as a Split: Digits (their training images move by up to `shift` pixels)
    or a pair of datasets."""
    if isinstance(data, Digits):
        move = (lambda images, rng: shifted(images, shift, rng)) if shift else None
        return Split(ArrayDataset(data.train_images, data.train_labels, to_input, move),
                     ArrayDataset(data.test_images, data.test_labels, to_input), data.name)
    if isinstance(data, Split):
        return data
    if isinstance(data, tuple) and len(data) == 2 and all(hasattr(part, "take") for part in data):
        return Split(*data)
    raise TypeError(
        f"data must be Digits, a Split or two datasets (training, test), got {type(data).__name__}")
