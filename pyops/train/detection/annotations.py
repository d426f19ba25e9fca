"""Images and the objects in them, as files say it: what readers return, with what they found wrong.

Every box is checked in one place, so that all formats refuse the same things in the same words.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

BEYOND = 1.0     # pixels that a box may reach beyond its image: files round, and count from 0 or 1
LISTED = 20      # problems that an error names


class Problem(NamedTuple):
    """What is wrong, and where: a file, with its line or annotation."""
    where: str
    what: str

    def __str__(self):
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Picture:
    """An image and its objects.

    name: of the file, as the annotations have it. path: where it lies, or None with `pixels`, uint8
    (H, W, 3). size: (height, width). boxes: float64 (k, 4), x1, y1, x2, y2 in pixels from the
    outer corner of the first; labels: (k,) from 0; crowd: bool (k,), objects that are not trained
    on and need not be found: crowds of COCO, difficult ones of VOC; area: (k,) pixels, of the mask
    where the file has one; segmentation: a mask an object as COCO has it, polygons or RLE, or None.
    """
    name: str
    path: Path | None
    size: tuple[int, int]
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    segmentation: tuple = ()
    id: int | None = None
    pixels: np.ndarray | None = field(default=None, repr=False)

    def load(self) -> np.ndarray:
        """uint8 (H, W, 3). FileNotFoundError; ValueError for a file that is no image, or one of
        another size."""
        if self.pixels is not None:
            return self.pixels
        from ...detection.images import opened
        image = opened(self.path)
        if image.shape[:2] != self.size:
            raise ValueError(f"{self.path}: is {image.shape[1]}x{image.shape[0]}, and {self.size[1]}x{self.size[0]} "
                             "by its annotations")
        return image

    @property
    def target(self) -> dict[str, np.ndarray]:
        """What measures take."""
        return {"boxes": self.boxes, "labels": self.labels, "crowd": self.crowd, "area": self.area}


@dataclass
class Annotations:
    """pictures of a set, the names of its classes in the order of their labels, and the problems
    that were left out. category_ids: COCO's numbers of the classes."""
    source: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    problems: tuple[Problem, ...] = ()
    category_ids: tuple[int, ...] | None = None

    def __len__(self):
        return len(self.pictures)

    def __repr__(self):
        wrong = f", {len(self.problems)} problems" if self.problems else ""
        return (f"Annotations({self.source!r}, {len(self)} images, {sum(len(p.labels) for p in self.pictures)} "
                f"objects, {len(self.classes)} classes{wrong})")

    def report(self) -> str:
        """Images, objects of each class with the sizes of their boxes, and the problems, a line
        each."""
        labels = np.concatenate([np.empty(0, int), *(p.labels for p in self.pictures)]).astype(int)
        boxes = np.concatenate([np.empty((0, 4)), *(p.boxes for p in self.pictures)])
        crowd = np.concatenate([np.empty(0, bool), *(p.crowd for p in self.pictures)]).astype(bool)
        sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        empty = sum(not len(p.labels) for p in self.pictures)
        lines = [f"{self.source}: {len(self)} images, {empty} of them without boxes; {len(labels)} objects of "
                 f"{len(self.classes)} classes, {crowd.sum()} of them crowds or difficult"]
        if self.pictures:
            shortest, longest = (f([max(p.size) for p in self.pictures]) for f in (min, max))
            lines.append(f"longer sides of images: {shortest} .. {longest} pixels")
        width = max([5, *(len(name) for name in self.classes)])
        lines.append(f"{'class':<{width}}  objects  images  sides of boxes (root of area): 5 %, half, 95 %")
        for label, name in enumerate(self.classes):
            own, where = labels == label, sum((p.labels == label).any() for p in self.pictures)
            spread = ", ".join(f"{v:.0f}" for v in np.quantile(sides[own], [0.05, 0.5, 0.95])) if own.any() else "-"
            lines.append(f"{name:<{width}}  {own.sum():7d}  {where:6d}  {spread}")
        lines += [f"{len(self.problems)} problems:", *(f"  {p}" for p in self.problems)] if self.problems else [
            "no problems"]
        return "\n".join(lines)


class Collector:
    """Gathers the objects of a set as a reader comes to them. What is wrong becomes a problem and
    is left out; a box that reaches beyond its image by up to a pixel is cut there."""

    def __init__(self, source, classes: Sequence[str]):
        self.source, self.classes = str(source), tuple(str(c) for c in classes)
        self.problems: list[Problem] = []
        self.pictures: list[Picture] = []
        if len(set(self.classes)) != len(self.classes):
            twice = next(c for c in self.classes if self.classes.count(c) > 1)
            self.problem(self.source, f"two classes are called {twice!r}")

    def problem(self, where, what: str) -> None:
        self.problems.append(Problem(str(where), what))

    def label(self, where, value) -> int | None:
        """The label of a class's number or name; None, and a problem, where it is none."""
        if isinstance(value, str):
            if value in self.classes:
                return self.classes.index(value)
            self.problem(where, f"class {value!r} is none of {shown(self.classes)}")
            return None
        if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value < len(self.classes):
            self.problem(where, f"label {value!r} is out of range: there are {len(self.classes)} classes, "
                         f"0 .. {len(self.classes) - 1}")
            return None
        return int(value)

    def box(self, where, values, size: tuple[int, int]) -> np.ndarray | None:
        """x1, y1, x2, y2 within the image of `size` (H, W); None, and a problem, where it is no
        such box."""
        try:
            box = np.array([float(v) for v in values], np.float64)
        except (TypeError, ValueError, OverflowError):   # whole numbers may be longer than floats
            box = np.empty(0)
        text = f"box ({', '.join(f'{v:g}' for v in box)})"
        if box.shape != (4,):
            self.problem(where, f"a box is four numbers, got {values!r}")
        elif not np.isfinite(box).all():
            self.problem(where, f"{text} is not finite")
        elif (box[2:] <= box[:2]).any():
            self.problem(where, f"{text}, corners x1, y1, x2, y2, has width {box[2] - box[0]:g} and height "
                         f"{box[3] - box[1]:g}; both must be positive")
        else:
            return self.within(where, box, size, text)
        return None

    def within(self, where, box: np.ndarray, size: tuple[int, int], text: str) -> np.ndarray | None:
        height, width = size
        cut = np.clip(box, 0, [width, height, width, height])
        if (cut[2:] <= cut[:2]).any():
            self.problem(where, f"{text} lies outside of its image of {width}x{height}")
        elif np.abs(box - cut).max() > BEYOND:
            self.problem(where, f"{text} reaches {np.abs(box - cut).max():g} pixels beyond its image of "
                         f"{width}x{height}")
        else:
            return cut
        return None

    def picture(self, name: str, path, size: tuple[int, int], objects: Sequence[tuple], id: int | None = None) -> None:
        """objects: (box, label, crowd, area or None, segmentation) each, checked."""
        boxes = np.array([o[0] for o in objects], np.float64).reshape(-1, 4)
        own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        self.pictures.append(Picture(
            name, None if path is None else Path(path), size, boxes, np.array([o[1] for o in objects], np.int64),
            np.array([o[2] for o in objects], bool),
            np.array([a if o[3] is None else o[3] for o, a in zip(objects, own)], np.float64),
            tuple(o[4] for o in objects) if any(o[4] is not None for o in objects) else (), id))

    def size_of(self, where, path: Path) -> tuple[int, int] | None:
        """(height, width) of an image as it is shown; None, and a problem, where there is none."""
        from PIL import Image
        if not exists(path):
            self.problem(where, f"its image {path} does not exist")
            return None
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)     # EXIF's orientation: on its side
                return (image.width, image.height) if turned else (image.height, image.width)
        except (OSError, Image.DecompressionBombError, SyntaxError) as why:
            self.problem(where, f"its image {path} cannot be read: {why}")
            return None

    def done(self, strict: bool, category_ids: tuple[int, ...] | None = None) -> Annotations:
        """ValueError with the first problems if strict and there are any, or where no image is
        left."""
        if strict and self.problems:
            head = (f"{self.source}: {len(self.problems)} problems (strict=False leaves out what is wrong; "
                    "`pyops data check` lists all)")
            more = len(self.problems) - LISTED
            tail = [f"and {more} more"] if more > 0 else []
            raise ValueError("\n  ".join([head, *map(str, self.problems[:LISTED]), *tail]))
        if not self.pictures:
            why = f"; the first of {len(self.problems)} problems: {self.problems[0]}" if self.problems else ""
            raise ValueError(f"{self.source}: there is no image in it{why}")
        return Annotations(self.source, self.classes, self.pictures, tuple(self.problems), category_ids)


def exists(path: Path) -> bool:
    """Whether it is a file; no name is too long, or too odd, for an answer."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def shown(names: Sequence, most: int = 8) -> str:
    return f"{', '.join(map(str, names[:most]))}{', ...' if len(names) > most else ''}" if names else "no classes"


def checked_files(found: Annotations) -> Annotations:
    """The same with all images decoded: those that cannot be, or have another size than their
    annotations say, are problems."""
    wrong, kept = [], []
    for picture in found.pictures:
        try:
            picture.load()
            kept.append(picture)
        except (OSError, ValueError) as why:
            wrong.append(Problem(picture.name, str(why)))
    return Annotations(found.source, found.classes, kept, (*found.problems, *wrong), found.category_ids)
