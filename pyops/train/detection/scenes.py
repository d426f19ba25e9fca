"""Pictures of several handwritten digits each, to train detectors on within minutes.

The digits are scikit-learn's 1,797 (8x8 pixels, from UCI), in random bright colours and sizes,
overlapping, on darker backgrounds with a gradient and noise, among clutter: strokes, and pieces of
digits that are none any more. A digit's box is that of its ink. A scene is a function of (seed,
number); digits of training scenes and of test scenes are different handwriting.
"""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .annotations import Annotations, Picture
from .dataset import DetectionDataset, Sample, collated

CLASSES = tuple("0123456789")
PARTS = ("train", "test")
TEST_SHARE, SPLIT_SEED = 0.2, 0
INK = 0.35            # of the darkest possible: what counts as ink of a digit's box
DARK = 110            # of 255: the lightest that a background is, before noise


@dataclass(frozen=True)
class SceneSettings:
    """size: of a scene, (height, width). digits: fewest and most. sides: of a digit in pixels,
    least and most. overlap: the largest share of a digit's box that another one's may cover.
    clutter: the most strokes and pieces."""
    size: tuple[int, int] = (64, 64)
    digits: tuple[int, int] = (1, 5)
    sides: tuple[int, int] = (12, 32)
    overlap: float = 0.3
    clutter: int = 4

    def __post_init__(self):
        low, high = self.sides
        fits = (len(self.size) == 2 and 0 <= self.digits[0] <= self.digits[1] and 8 <= low <= high <= min(self.size)
                and 0 <= self.overlap <= 1 and self.clutter >= 0)
        if not fits:
            raise ValueError("SceneSettings: digits must be 0 <= fewest <= most, sides 8 <= least <= most <= the "
                             f"scene's, overlap 0 .. 1 and clutter at least 0, got {self}")


def handwriting(part: str) -> tuple[np.ndarray, np.ndarray]:
    """(float32 (n, 8, 8) in 0 .. 1, labels (n,)) of scikit-learn's digits: for "test" a fifth of
    them, for "train" the others."""
    from sklearn.datasets import load_digits
    if part not in PARTS:
        raise ValueError(f"scenes: part must be train or test, got {part!r}")
    source = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(source.target))
    test, train = np.split(order, [round(TEST_SHARE * len(order))])
    chosen = train if part == "train" else test
    return (source.images[chosen] / 16).astype(np.float32), source.target[chosen].astype(np.int64)


class Scenes(DetectionDataset):
    """`count` scenes as a dataset whose images have the settings' size.

    part: whose handwriting, "train" or "test". fresh: in training (take with a generator) every
    scene is drawn anew, so that no epoch sees one twice; else number i is always the same.
    """

    def __init__(self, count: int, part: str = "train", seed: int = 0, fresh: bool = False,
                 settings: SceneSettings | None = None, augment=None):
        if not hasattr(count, "__index__") or count < 1:
            raise ValueError(f"Scenes: count must be a positive int, got {count!r}")
        self.settings, self.part, self.seed, self.fresh = settings or SceneSettings(), part, seed, fresh
        self.ink, self.digit = handwriting(part)
        super().__init__(Annotations(f"digit scenes ({part})", CLASSES, []), self.settings.size, augment)
        self.count, self._made = count, {}

    def __len__(self):
        return self.count

    def __repr__(self):
        return f"Scenes({self.count}, {self.part!r}, seed={self.seed}{', fresh' if self.fresh else ''})"

    def picture(self, index: int) -> Picture:
        if not 0 <= index < self.count:
            raise IndexError(f"Scenes: there are {self.count}, got number {index}")
        if index not in self._made:
            stream = [self.seed, PARTS.index(self.part), index]
            scene = drawn(self.ink, self.digit, self.settings, np.random.default_rng(stream))
            boxes = scene.boxes.astype(np.float64)
            self._made[index] = Picture(
                f"{self.part}_{index:05d}.png", None, self.settings.size, boxes, scene.labels,
                np.zeros(len(boxes), bool), (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), (), index + 1,
                scene.image)
        return self._made[index]

    def take(self, indices: Sequence[int], rng: np.random.Generator | None = None):
        if rng is None or not self.fresh:
            return super().take(indices, rng)

        def new():
            return drawn(self.ink, self.digit, self.settings, rng)
        samples = [new() for _ in indices]
        return collated([s if self.augment is None else self.augment(s, rng, new) for s in samples])

    def pictures(self) -> list[Picture]:
        return [self.picture(i) for i in range(self.count)]


def drawn(ink: np.ndarray, digit: np.ndarray, settings: SceneSettings, rng: np.random.Generator) -> Sample:
    """One scene."""
    height, width = settings.size
    image = background(settings.size, rng)
    for _ in range(int(rng.integers(settings.clutter + 1))):
        (stroke if rng.random() < 0.5 else piece)(image, ink, settings, rng)
    boxes: list[np.ndarray] = []
    labels: list[int] = []
    for _ in range(int(rng.integers(settings.digits[0], settings.digits[1] + 1))):
        number = int(rng.integers(len(ink)))
        side = int(round(np.exp(rng.uniform(*np.log(settings.sides)))))
        mask = enlarged(ink[number], (side, max(4, int(side * rng.uniform(0.75, 1.1)))), rng.uniform(-15, 15))
        rows, columns = (np.flatnonzero((mask > INK).any(axis)) for axis in (1, 0))
        if not len(rows):
            continue
        mask = mask[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        h, w = mask.shape
        for _ in range(20):     # a place where it hides none, nor much of one
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            box = np.array([left, top, left + w, top + h], np.float32)
            if all(covered(box, other) <= settings.overlap for other in boxes):
                paint(image, mask, (top, left), bright(rng))
                boxes.append(box)
                labels.append(int(digit[number]))
                break
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return Sample(pixels, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64))


def background(size: tuple[int, int], rng) -> np.ndarray:
    """float32 (H, W, 3) in 0 .. 255: a gradient between two colours, with noise."""
    y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in size)
    angle = rng.uniform(0, 2 * np.pi)
    along = (np.cos(angle) * x[None] + np.sin(angle) * y[:, None])[..., None]
    first, second = rng.uniform(0, DARK, (2, 3)).astype(np.float32)
    grain = rng.normal(0, rng.uniform(2, 12), (*size, 1)).astype(np.float32)
    return np.clip(first + (second - first) * along + grain, 0, 255)


def bright(rng) -> np.ndarray:
    """A colour of ink: at least one channel is full, none is dark."""
    colour = rng.uniform(DARK + 40, 255, 3).astype(np.float32)
    colour[rng.integers(3)] = 255
    return colour


def enlarged(ink: np.ndarray, size: tuple[int, int], degrees: float) -> np.ndarray:
    """The 8x8 ink at `size`, turned, float32 in 0 .. 1."""
    from PIL import Image
    wide = np.pad(ink, 2)
    scale = wide.shape[0] / ink.shape[0]
    picture = Image.fromarray(np.rint(wide * 255).astype(np.uint8)).resize(
        (round(size[1] * scale), round(size[0] * scale)), Image.Resampling.BICUBIC)
    return np.asarray(picture.rotate(degrees, Image.Resampling.BILINEAR), np.float32) / 255


def paint(image: np.ndarray, mask: np.ndarray, corner: tuple[int, int], colour) -> None:
    part = image[corner[0]:corner[0] + mask.shape[0], corner[1]:corner[1] + mask.shape[1]]
    share = np.minimum(mask * 1.15, 1)[..., None]
    part += (colour - part) * share


def stroke(image: np.ndarray, ink, settings: SceneSettings, rng) -> None:
    """A line across a part of the scene."""
    from PIL import Image, ImageDraw
    height, width = settings.size
    canvas = Image.new("L", (width, height))
    ends = rng.uniform([0, 0, 0, 0], [width, height, width, height])
    ImageDraw.Draw(canvas).line(ends.tolist(), fill=255, width=int(rng.integers(1, 4)))
    paint(image, np.asarray(canvas, np.float32) / 255 * rng.uniform(0.4, 0.8), (0, 0), rng.uniform(0, 255, 3))


def piece(image: np.ndarray, ink: np.ndarray, settings: SceneSettings, rng) -> None:
    """A quarter of a digit, too little to be one."""
    one = ink[rng.integers(len(ink))]
    y, x = rng.integers(0, 2, 2) * 4
    side = int(rng.integers(4, max(5, settings.sides[1] // 2)))
    mask = enlarged(np.pad(one[y:y + 4, x:x + 4], 2), (side, side), rng.uniform(0, 360))
    mask = mask[:settings.size[0], :settings.size[1]]
    corner = [int(rng.integers(n - m + 1)) for n, m in zip(settings.size, mask.shape)]
    paint(image, mask, (corner[0], corner[1]), rng.uniform(0, 255, 3))


def covered(a: np.ndarray, b: np.ndarray) -> float:
    """The share of the smaller of two boxes that the other one covers."""
    both = float(np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)))
    return both / float(min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))


def write_coco(scenes: Scenes, folder) -> Path:
    """The scenes as files: folder/images/*.png and folder/PART.json of COCO. Returns the JSON's
    path."""
    from PIL import Image
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for picture in scenes.pictures():
        Image.fromarray(picture.load()).save(folder / "images" / picture.name)
        height, width = picture.size
        images.append({"id": picture.id, "file_name": picture.name, "height": height, "width": width})
        for box, label, area in zip(picture.boxes.tolist(), picture.labels.tolist(), picture.area.tolist()):
            annotations.append({"id": len(annotations) + 1, "image_id": picture.id, "category_id": label, "iscrowd": 0,
                                "area": area, "bbox": [*box[:2], box[2] - box[0], box[3] - box[1]]})
    path = folder / f"{scenes.part}.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [
        {"id": i, "name": name} for i, name in enumerate(CLASSES)]}))
    return path
