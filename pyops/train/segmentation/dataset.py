"""Images with a mask each, and batches of them for training."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...files.eight_bits import as_shown
from ...nn.sizes import positive
from ..detection.annotations import Picture

NOTHING = 255


class MaskSample(NamedTuple):
    """image: uint8 (H, W, 3). mask: uint8 (H, W), classes, 255 where nothing is labelled."""
    image: np.ndarray
    mask: np.ndarray


class MaskDataset:
    """Pairs of files, or of arrays, as a dataset.

    samples: MaskSamples, pairs of paths, or Pictures of read_coco, whose class c is number c + 1, after
    the ground. size: (height, width) that images are resized to, masks
    by the nearest pixel; None: as they are, all of one size. augment(sample, rng) -> MaskSample.
    classes: names of the masks' numbers, from 0 on, no two alike. ValueError, at the sample, for a
    mask of another size than its image or with a class that there is not.
    """

    def __init__(self, samples: Sequence, classes: Sequence[str], size: tuple[int, int] | None = None,
                 augment: Callable | None = None, name: str = "masks"):
        if not len(samples):
            raise ValueError("MaskDataset: there are no images")
        self.samples, self.classes, self.size = list(samples), checked_names(classes), size
        self.augment, self.name = augment, name
        if size is not None and (not isinstance(size, Sequence) or len(size) != 2):
            raise ValueError(f"MaskDataset: size must be (height, width) or None, got {size!r}")
        if size is not None:
            positive("MaskDataset", height=size[0], width=size[1])

    def __len__(self):
        return len(self.samples)

    def __repr__(self):
        return f"MaskDataset({self.name!r}, {len(self)} images, {len(self.classes)} classes, size={self.size})"

    def sample(self, index: int) -> MaskSample:
        one, where = self.samples[index], f"image {index}"
        if isinstance(one, Picture):
            from .coco import labelled
            one, where = labelled(one), str(one.name)
        elif not isinstance(one, MaskSample):
            where = str(one[0])
            one = MaskSample(read_image(one[0]), read_mask(one[1]))
        if one.image.dtype != np.uint8 or one.image.ndim != 3 or one.image.shape[2] != 3 or 0 in one.image.shape:
            raise ValueError(f"{where}: an image must be uint8 (height, width, 3), got {one.image.dtype} "
                             f"{one.image.shape}")
        if one.mask.ndim != 2:
            raise ValueError(f"{where}: a mask must be (height, width), got {one.mask.shape}")
        if one.image.shape[:2] != one.mask.shape:
            raise ValueError(f"{where}: is {one.image.shape[1]}x{one.image.shape[0]}, its mask "
                             f"{one.mask.shape[1]}x{one.mask.shape[0]}")
        wrong = np.setdiff1d(one.mask, [*range(len(self.classes)), NOTHING])
        if len(wrong):
            raise ValueError(f"{where}: its mask holds {', '.join(map(str, wrong[:5]))}; classes are 0 to "
                             f"{len(self.classes) - 1}, and {NOTHING} is not labelled")
        return one if self.size is None else resized(one, self.size)

    def take(self, indices: Sequence[int], rng: np.random.Generator | None = None):
        """(images float32 (n, 3, H, W) in 0 .. 1, masks int64 (n, H, W)), augmented with a
        generator."""
        samples = [self.sample(int(i)) for i in indices]
        if rng is not None and self.augment is not None:
            samples = [self.augment(sample, rng) for sample in samples]
        return collated(samples)


def checked_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Classes' names, 1 to 255 of them, no two alike. TypeError or ValueError for others."""
    names = tuple(classes)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"MaskDataset: classes must be names, one for each of the masks' numbers, got {classes!r}")
    if not 1 <= len(names) <= NOTHING:
        raise ValueError(f"MaskDataset: needs 1 to {NOTHING} classes ({NOTHING} is what is not labelled), got "
                         f"{len(names)}")
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice or "" in names:
        raise ValueError("MaskDataset: " + (f"class {twice[0]!r} is named twice" if twice else "a class has no name")
                         + f" among {', '.join(map(repr, names))}")
    return names


def collated(samples: Sequence[MaskSample]):
    """Samples of one size as a batch."""
    sizes = {sample.mask.shape for sample in samples}
    if len(sizes) > 1:
        raise ValueError(f"a batch needs images of one size, got {', '.join(map(str, sorted(sizes)))}; give size=")
    images = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    return (np.ascontiguousarray(images, np.float32) / np.float32(255),
            np.stack([s.mask for s in samples]).astype(np.int64))


def resized(sample: MaskSample, size: tuple[int, int]) -> MaskSample:
    from PIL import Image
    if sample.mask.shape == tuple(size):
        return sample
    image, mask = (np.asarray(Image.fromarray(a).resize(size[::-1], how)) for a, how in
                   zip(sample, (Image.Resampling.BILINEAR, Image.Resampling.NEAREST)))
    return MaskSample(image, mask)


def read_image(path) -> np.ndarray:
    """uint8 (H, W, 3) of any image that Pillow opens, turned as its EXIF data says, transparency on
    white. Of 16 bits, or of floats, the values are scaled: from 0 to 65,535, 255 or 1, whichever holds
    them. ValueError for NaN and infinity."""
    from PIL import Image
    with Image.open(path) as found:
        try:
            return np.asarray(as_shown(found).convert("RGB"))
        except ValueError as why:
            raise ValueError(f"{path}: {why}") from why


def read_mask(path) -> np.ndarray:
    """uint8 (H, W): a grey image's values, or a palette's numbers (Pascal VOC's masks). ValueError
    for colours, which name no class, and for values above 255."""
    from PIL import Image
    with Image.open(path) as found:
        if found.mode not in ("L", "P", "1", "I", "I;16"):
            raise ValueError(f"{path}: a mask must be of one channel or a palette, whose numbers are the classes; it "
                             f"is {found.mode}")
        values = np.asarray(found).astype(np.int64)
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"{path}: holds class {values.max()}; a mask has 0 to 254, and 255 for what is not labelled")
    return values.astype(np.uint8)


def read_folder(folder, images: str = "images", masks: str = "masks") -> list[tuple[Path, Path]]:
    """Pairs (image, mask): folder/images/NAME.* and folder/masks/NAME.png, in the order of names.
    Pascal VOC's folders are images="JPEGImages", masks="SegmentationClass", and those of its images
    that have masks are taken. FileNotFoundError where there is no such folder; ValueError where no
    image has a mask, or, but of VOC, one has none."""
    folder = Path(folder)
    found = {}
    for name in (images, masks):
        if not (folder / name).is_dir():
            raise FileNotFoundError(f"{folder / name}: no such folder")
        found[name] = {path.stem: path for path in sorted((folder / name).iterdir()) if path.is_file()}
    pairs = [(path, found[masks][stem]) for stem, path in found[images].items() if stem in found[masks]]
    alone = [path for stem, path in found[images].items() if stem not in found[masks]]
    if not pairs:
        raise ValueError(f"{folder}: no image of {images} has a mask of its name in {masks}")
    if alone and masks != "SegmentationClass":
        raise ValueError(f"{alone[0]}: has no mask of its name in {folder / masks}")
    return pairs
