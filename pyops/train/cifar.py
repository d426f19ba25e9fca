"""CIFAR-10 and CIFAR-100 in their binary form: https://www.cs.toronto.edu/~kriz/cifar.html.

A record is a label byte (of CIFAR-100 a coarse and a fine one) and 3072 pixels: 1024 red, 1024
green, 1024 blue, row by row.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np

from .dataset import ArrayDataset, Split, to_unit

PIXELS = 3 * 32 * 32
FORMS = {   # label bytes, classes, files to train on and to test on, class names
    10: (1, 10, [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"], "batches.meta.txt"),
    100: (2, 100, ["train.bin"], ["test.bin"], "fine_label_names.txt"),
}


def read_cifar(path, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of one file: uint8 (N, 32, 32, 3) and int64 (N,), of CIFAR-100 the fine
    labels.

    OSError where it cannot be read; ValueError naming the file where its size or a label
    is not of the format.
    """
    if classes not in FORMS:
        raise ValueError(f"read_cifar: classes must be 10 or 100, got {classes}")
    bytes_of_label, highest = FORMS[classes][:2]
    data, record = np.fromfile(Path(path), np.uint8), bytes_of_label + PIXELS
    if not len(data) or len(data) % record:
        raise ValueError(f"{path}: not a binary file of CIFAR-{classes}, or a truncated one: {len(data)} "
                         f"bytes are no whole number of records of {record}")
    data = data.reshape(-1, record)
    labels = data[:, bytes_of_label - 1].astype(np.int64)
    if labels.max() >= highest:
        raise ValueError(f"{path}: not a binary file of CIFAR-{classes}: labels go up to {labels.max()}, "
                         f"expected at most {highest - 1}")
    return np.ascontiguousarray(data[:, bytes_of_label:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels


def cifar(directory, classes: int = 10, **settings) -> Split:
    """CIFAR-10 or -100 from the folder of its binary files. settings: of ArrayDataset; augment and
    mix are for training only.

    FileNotFoundError names a file that is missing; see read_cifar for the rest.
    """
    if classes not in FORMS:
        raise ValueError(f"cifar: classes must be 10 or 100, got {classes}")
    directory, (_, _, train, test, names) = Path(directory), FORMS[classes]
    missing = [name for name in (*train, *test) if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{directory}: has no {', '.join(missing)}")
    listed = (directory / names).read_text().split() if (directory / names).is_file() else None
    parts = [
        [np.concatenate(arrays) for arrays in zip(*(read_cifar(directory / name, classes) for name in files))]
        for files in (train, test)]
    plain = {"prepare": settings.get("prepare", to_unit), "classes": listed}
    return Split(ArrayDataset(*parts[0], **{**plain, **settings}), ArrayDataset(*parts[1], **plain),
                 f"CIFAR-{classes}")
