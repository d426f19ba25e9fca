"""Digits to train on: the UCI digits that scikit-learn carries, and MNIST from its IDX files."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .idx import read_idx

SIDE = 32               # LeNet-5's input
PAPER, INK = -0.1, 1.175   # grey levels in it; over the paper's images mean and variance become about 0 and 1
TEST_SHARE, SPLIT_SEED = 0.2, 0


@dataclass(frozen=True)
class Digits:
    """Grey images (N, 32, 32), uint8, ink 255 on 0, and their digits (N,), for
    training and for testing.

    box: the side of the square that the ink of a digit fills within the 32 x 32 pixels.
    """
    name: str
    box: int
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def __repr__(self):
        return f"<Digits {self}>"

    def __str__(self):
        return f"{self.name}: {len(self.train_labels)} images to train on, {len(self.test_labels)} to test"


def uci_digits() -> Digits:
    """The 1797 digits of scikit-learn (from UCI's "Optical recognition of handwritten digits"),
    8x8 pixels of 0 .. 16.

    Each pixel becomes 3x3, and a border of 4 pads the 24x24 to 32x32. A fixed fifth, drawn at
    random, is for testing.
    """
    from sklearn.datasets import load_digits
    source = load_digits()
    images = padded(scaled(source.images).repeat(3, axis=1).repeat(3, axis=2))
    labels = source.target.astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    return Digits("UCI digits", 24, images[train], labels[train], images[test], labels[test])


def scaled(images: np.ndarray) -> np.ndarray:
    """0 .. 16 as 0 .. 255."""
    return np.round(images * (255 / 16)).astype(np.uint8)


def padded(images: np.ndarray) -> np.ndarray:
    """(N, h, w) with zeros around, in the middle of (N, 32, 32)."""
    room = [SIDE - n for n in images.shape[1:]]
    return np.pad(images, [(0, 0), *((r // 2, r - r // 2) for r in room)])


def mnist(directory) -> Digits:
    """MNIST, or any set of digits in files of its names and format, gzipped or not.

    Raises FileNotFoundError or ValueError that name the file and what is wrong with it.
    """
    directory = Path(directory)
    arrays = []
    for part in ("train", "t10k"):
        images_path, labels_path = find(directory, f"{part}-images", 3), find(directory, f"{part}-labels", 1)
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or images.dtype != np.uint8 or max(images.shape[1:]) > SIDE or 0 in images.shape:
            raise ValueError(f"{images_path}: expected uint8 images of at most {SIDE}x{SIDE}, got "
                             f"{images.dtype} of shape {images.shape}")
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
            raise ValueError(
                f"{labels_path}: expected {len(images)} labels, got {labels.dtype} of shape {labels.shape}")
        if labels.min() < 0 or labels.max() > 9:
            raise ValueError(f"{labels_path}: labels must be 0 .. 9, got {labels.min()} .. {labels.max()}")
        arrays += [padded(images), labels.astype(np.int64)]
    return Digits(f"MNIST in {directory}", 20, *arrays)


def find(directory: Path, stem: str, axes: int) -> Path:
    """The file `stem`-idx`axes`-ubyte, with or without .gz, or with a dot in its name
    as some copies have."""
    names = [f"{stem}{dot}idx{axes}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise FileNotFoundError(f"{directory}: has none of {', '.join(names)}")


def to_input(images: np.ndarray) -> np.ndarray:
    """uint8 images (N, 32, 32) as the network's float32 (N, 1, 32, 32)."""
    return images[:, None] * np.float32((INK - PAPER) / 255) + np.float32(PAPER)


def shifted(images: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to `most` pixels along each axis at random; zeros come in."""
    if not most:
        return images
    wide = np.pad(images, [(0, 0), (most, most), (most, most)])
    top, left = rng.integers(0, 2 * most + 1, (2, len(images), 1))
    rows, columns = top + np.arange(images.shape[1]), left + np.arange(images.shape[2])
    return wide[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def batches(images: np.ndarray, labels: np.ndarray, size: int, rng: np.random.Generator | None = None,
            shift: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(inputs, labels) of up to `size` images; in a random order and randomly shifted if rng is
    given."""
    order = np.arange(len(labels)) if rng is None else rng.permutation(len(labels))
    for begin in range(0, len(order), size):
        chosen = order[begin:begin + size]
        picked = images[chosen] if rng is None else shifted(images[chosen], shift, rng)
        yield to_input(picked), labels[chosen]
