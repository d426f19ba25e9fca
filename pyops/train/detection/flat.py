"""The objects of many images in flat arrays: what measures are computed from."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Flat:
    """Objects of `images` images and `classes` classes, n of them, in any order.

    image, label: whole numbers (n,). boxes: float64 (n, 4), x, y, width, height, as COCO has them.
    scores: (n,), of what was found. area: (n,), of true objects: pixels of the object's mask where
    there is one. ignore: bool (n,), true objects that need not be found: crowds of COCO, which may
    be found many times, or the difficult ones of VOC.
    """
    images: int
    classes: int
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray | None = None
    area: np.ndarray | None = None
    ignore: np.ndarray | None = None

    def __len__(self):
        return len(self.image)


def true_objects(targets: Sequence[Mapping], classes: int) -> Flat:
    """The targets of images, a mapping each: "boxes" (k, 4) as x1, y1, x2, y2; "labels" (k,);
    where they are known "area" (k,) and "crowd" (k,), truth values.

    ValueError where a box or a label is none.
    """
    flat = joined(targets, classes, "true")
    own = flat.boxes[:, 2] * flat.boxes[:, 3]
    ends = np.cumsum([0, *(len(t["labels"]) for t in targets)])
    area, crowd = own.copy(), np.zeros(len(own), bool)
    for target, begin, end in zip(targets, ends, ends[1:]):
        if target.get("area") is not None:
            area[begin:end] = target["area"]
        if target.get("crowd") is not None:
            crowd[begin:end] = target["crowd"]
    return Flat(**{**vars(flat), "area": area, "ignore": crowd})


def found_objects(detections: Sequence, classes: int) -> Flat:
    """What a detector found in images: Detections, or mappings of "boxes" (k, 4) as x1, y1, x2, y2,
    "scores" (k,) and "labels" (k,). A box whose corners are exchanged is of no size and hits
    nothing. ValueError where a number is none."""
    parts = [d if isinstance(d, Mapping) else {"boxes": d.boxes, "scores": d.scores, "labels": d.labels}
             for d in detections]
    flat = joined(parts, classes, "found")
    scores = np.concatenate([np.empty(0), *(np.asarray(p["scores"], np.float64).reshape(-1) for p in parts)])
    if len(scores) != len(flat):
        raise ValueError(f"found objects: {len(flat)} boxes need as many scores, got {len(scores)}")
    flat.boxes[:, 2:] = np.maximum(flat.boxes[:, 2:], 0)
    return Flat(**{**vars(flat), "scores": scores})


def joined(parts: Sequence[Mapping], classes: int, what: str) -> Flat:
    boxes = [np.asarray(p["boxes"], np.float64).reshape(-1, 4) for p in parts]
    labels = [np.asarray(p["labels"]).reshape(-1) for p in parts]
    for i, (box, label) in enumerate(zip(boxes, labels)):
        if len(box) != len(label):
            raise ValueError(f"{what} objects: image {i} has {len(box)} boxes and {len(label)} labels")
    corners = np.concatenate([np.empty((0, 4)), *boxes])
    return Flat(len(parts), classes, np.repeat(np.arange(len(parts)), [len(b) for b in boxes]).astype(np.int64),
                np.concatenate([np.empty(0, np.int64), *labels]).astype(np.int64),
                np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1))


def checked(flat: Flat, what: str) -> Flat:
    """ValueError for labels, images, boxes and scores that are none."""
    for name, values, most in (("image", flat.image, flat.images), ("label", flat.label, flat.classes)):
        wrong = np.flatnonzero((values < 0) | (values >= most))
        if len(wrong):
            raise ValueError(f"{what} objects: {name}s must be 0 .. {most - 1}, got {values[wrong[0]]}")
    for name, values in (("box", flat.boxes), ("score", flat.scores), ("area", flat.area)):
        if values is None:
            continue
        finite = np.isfinite(values)
        wrong = np.flatnonzero(~(finite.all(1) if finite.ndim > 1 else finite))
        if len(wrong):
            raise ValueError(f"{what} objects: object {wrong[0]} of image {flat.image[wrong[0]]} has the {name} "
                             f"{np.asarray(values[wrong[0]]).tolist()}, which is not finite")
    wrong = np.flatnonzero((flat.boxes[:, 2:] < 0).any(1))
    if len(wrong):
        raise ValueError(f"{what} objects: object {wrong[0]} of image {flat.image[wrong[0]]} has a box of width "
                         f"{flat.boxes[wrong[0], 2]:g} and height {flat.boxes[wrong[0], 3]:g}")
    return flat
