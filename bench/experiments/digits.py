"""Small grey digits, float32 (N, 1, side, side) in 0 .. 1: scikit-learn's, or MNIST's made smaller.

A convolution has little to do on digits of one size in one place: a linear classifier of the pixels
is nearly as good. `placed` turns, scales and moves them; then a linear classifier gets a third of
5-9 right after 1000 images, and a small convolutional network nearly all.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pyops.train import ArrayDataset, Split, augment, mnist

FOLDS = 5
MNIST_TRAIN, MNIST_TEST = 6000, 2000
MOVE = augment.Crop(3)   # by up to 3 pixels: in the middle of 16x16 a digit has 4 around it
placed = augment.Compose(augment.Rotate(20, (0.8, 1.2)), MOVE)


class Images(NamedTuple):
    images: np.ndarray
    labels: np.ndarray

    def only(self, low: int, high: int) -> Images:
        """Those of low <= digit < high, counted from 0."""
        chosen = (low <= self.labels) & (self.labels < high)
        return Images(self.images[chosen], self.labels[chosen] - low)

    def first(self, count: int) -> Images:
        return Images(self.images[:count], self.labels[:count])


def digits(seed: int, side: int = 16, directory: str | None = None,
           most: int | None = None) -> tuple[Images, Images]:
    """(to train on, to test on). side: 8 or 16 pixels. most: at most so many of each.

    Of scikit-learn's 1797 a fifth is for the test, another one for each of five seeds. Of MNIST's
    files in `directory` 6000 and 2000 are drawn.
    """
    train, test = _mnist(seed, side, directory) if directory else _sklearn(seed, side)
    return (train.first(most), test.first(most)) if most else (train, test)


def _sklearn(seed: int, side: int) -> tuple[Images, Images]:
    from sklearn.datasets import load_digits
    source = load_digits()
    room = (side - source.images.shape[1]) // 2
    images = np.pad((source.images[:, None] / 16).astype(np.float32),
                    [(0, 0), (0, 0), (room, room), (room, room)])
    folds = np.array_split(np.random.default_rng(0).permutation(len(images)), FOLDS)
    test = folds.pop(seed % FOLDS)
    return tuple(Images(images[part], source.target[part].astype(np.int64))
                 for part in (np.concatenate(folds), test))


def _mnist(seed: int, side: int, directory: str) -> tuple[Images, Images]:
    source, rng = mnist(directory), np.random.default_rng(seed)
    parts = []
    for images, labels, count in ((source.train_images, source.train_labels, MNIST_TRAIN),
                                  (source.test_images, source.test_labels, MNIST_TEST)):
        chosen = rng.permutation(len(labels))[:count]
        block = images.shape[1] // side
        means = images[chosen].reshape(-1, side, block, side,
                                       block).mean((2, 4), dtype=np.float32) / np.float32(255)
        parts.append(Images(means[:, None], labels[chosen]))
    return tuple(parts)


def placed_anew(train: Images, test: Images, seed: int) -> Split:
    """Training images placed anew in every epoch, test images once."""
    return Split(ArrayDataset(*train, augment=placed),
                 ArrayDataset(placed(test.images, np.random.default_rng(seed)), test.labels))


def as_they_are(train: Images, test: Images) -> Split:
    return Split(ArrayDataset(*train), ArrayDataset(*test))
