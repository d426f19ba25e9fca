"""Images in folders, a folder a class, decoded as they are asked for: in the loader's worker
threads, ahead of the training."""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..files.eight_bits import as_shown
from .dataset import to_unit

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp"}


class Skipped(NamedTuple):
    path: Path
    why: str

    def __str__(self):
        return f"{self.path}: {self.why}"


class ImageFolder:
    """root/CLASS/**/IMAGE: classes are the folders' names in alphabetical order,
    labels their numbers.

    size: (height, width) of the network's input. An image is scaled until it covers resize
    (default: size) and cut there: from the middle, or in training at a random place. channels:
    3 for colour, 1 for grey. prepare, augment, mix: as of ArrayDataset, on uint8 (n, H, W, C)
    or, with one channel, (n, H, W). classes: names in the order of their labels, as of the
    training set for a test set.

    All images are decoded once when the set is made, in `workers` threads. Those that cannot be are
    left out and listed in `skipped`, or with strict=True raise ValueError that lists them.
    FileNotFoundError where root is no folder; ValueError where nothing is left.
    """

    def __init__(self, root, size: tuple[int, int], *, resize: tuple[int, int] | None = None,
                 channels: int = 3, prepare: Callable = to_unit, augment: Callable | None = None,
                 mix: Callable | None = None, classes=None, strict: bool = False, workers: int = 4):
        self.root, self.size, self.resize, self.channels = (Path(root), tuple(size), tuple(resize or size),
                                                            channels)
        if channels not in (1, 3) or len(self.size) != 2 or min(self.size) < 1 or any(
                a < b for a, b in zip(self.resize, self.size)):
            raise ValueError("ImageFolder: channels must be 1 or 3, size (height, width), and resize at "
                             f"least size, got {channels}, {size}, {resize}")
        self.prepare, self.augment, self.mix = prepare, augment, mix
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root}: no such folder")
        folders = sorted(p.name for p in self.root.iterdir() if p.is_dir() and not p.name.startswith("."))
        self.classes = tuple(folders if classes is None else classes)
        if unknown := sorted(set(folders) - set(self.classes)):
            raise ValueError(f"{self.root}: folders {', '.join(unknown)} are none of the classes "
                             f"{', '.join(self.classes)}")
        found = [(path, label) for label, name in enumerate(self.classes)
                 for path in sorted((self.root / name).rglob("*"))
                 if path.suffix.lower() in SUFFIXES and path.is_file()]
        with ThreadPoolExecutor(max(1, workers), "pyops-check") as pool:
            faults = list(pool.map(self._fault, [path for path, _ in found]))
        self.skipped = [Skipped(path, why) for (path, _), why in zip(found, faults) if why]
        if strict and self.skipped:
            raise ValueError(f"{self.root}: {len(self.skipped)} of {len(found)} images cannot be read:\n  "
                             + "\n  ".join(map(str, self.skipped)))
        kept = [one for one, why in zip(found, faults) if not why]
        if not kept:
            raise ValueError(
                f"{self.root}: no image can be read: {len(found)} files in {len(self.classes)} class folders "
                f"end in {', '.join(sorted(SUFFIXES))}; {len(self.skipped)} of them are damaged")
        self.paths, self.labels = [path for path, _ in kept], np.array([label for _, label in kept], np.int64)

    def __repr__(self):
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return (f"ImageFolder({str(self.root)!r}, {len(self.paths)} images, {len(self.classes)} classes, "
                f"size={self.size}{skipped})")

    def __len__(self):
        return len(self.labels)

    def report(self) -> str:
        """How many images each class has, and what was skipped and why."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        lines = [f"{self.root}: {len(self)} images",
                 *(f"  {name}: {count}" for name, count in zip(self.classes, counts))]
        return "\n".join(lines + ([f"skipped {len(self.skipped)}:", *(f"  {one}" for one in self.skipped)]
                                  if self.skipped else []))

    def _fault(self, path: Path) -> str:
        try:
            self.decoded(path)
        except Exception as why:   # decoders raise of many kinds for damaged files
            return f"{type(why).__name__}: {why}"
        return ""

    def _again(self, path: Path, rng: np.random.Generator | None) -> np.ndarray:
        try:
            return self.decoded(path, rng)
        except Exception as why:
            raise OSError(f"{path}: could be read when the set was made, and cannot now: "
                          f"{type(why).__name__}: {why}") from why

    def decoded(self, path: Path, rng: np.random.Generator | None = None) -> np.ndarray:
        return load_image(path, self.size, self.resize, self.channels, rng)

    def take(self, indices, rng: np.random.Generator | None = None):
        images, targets = np.stack([self._again(self.paths[i], rng) for i in indices]), self.labels[indices]
        if rng is not None and self.augment is not None:
            images = self.augment(images, rng)
        inputs = self.prepare(images)
        return (self.mix(inputs, targets, rng) if rng is not None and self.mix is not None
                else (inputs, targets))


def load_image(path, size: tuple[int, int], resize: tuple[int, int], channels: int = 3,
               rng: np.random.Generator | None = None) -> np.ndarray:
    """uint8 (H, W, 3), or (H, W) with one channel: scaled to cover `resize`, then cut to `size`, at
    random with a generator.

    Turned as its EXIF data says, transparency on white, 16 bits and floats as eight. Raises what
    Pillow raises for a file that is no image or a damaged one, ValueError for NaN.
    """
    from PIL import Image
    mode = "RGB" if channels == 3 else "L"
    with Image.open(path) as file:
        file.draft(mode, resize[::-1])   # JPEG: decodes no finer than is needed
        image = as_shown(file).convert(mode)
    height, width = resize
    scale = max(height / image.height, width / image.width)
    image = image.resize((max(width, round(image.width * scale)), max(height, round(image.height * scale))),
                         Image.Resampling.BILINEAR)
    spare = image.height - size[0], image.width - size[1]
    top, left = (n // 2 for n in spare) if rng is None else (int(rng.integers(n + 1)) for n in spare)
    return np.asarray(image)[top:top + size[0], left:left + size[1]]
