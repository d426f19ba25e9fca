"""Augmentation of images with boxes: (sample, rng, another) -> sample, for
DetectionDataset(augment=).

Boxes move with the pixels, are cut at the image's edge, and leave it with their object. All that is
random comes from rng. another() gives one more sample, for those that join several images.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..augment import require
from .coco import overlaps
from .dataset import GREY, Sample, letterboxed, resized

LEAST = 1.0      # a box that is thinner than this many pixels after a cut is left out
CROPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)   # SSD's: the whole image, a least IoU with some object, any
TRIALS = 50


def kept(sample: Sample, visible: float = 0.0) -> Sample:
    """Boxes cut at the image's edges; those are left out of which not more than a share `visible`
    is left, or less than a pixel across."""
    height, width = sample.image.shape[:2]
    cut = np.clip(sample.boxes, 0, np.array([width, height] * 2, np.float32))
    before, after = (sides[:, 0] * sides[:, 1] for sides in (b[:, 2:] - b[:, :2] for b in (sample.boxes, cut)))
    stay = ((cut[:, 2:] - cut[:, :2]) >= LEAST).all(1) & (after > visible * before)
    return Sample(sample.image, cut[stay], sample.labels[stay])


class Compose:
    """One augmentation after another."""

    def __init__(self, *steps: Callable):
        self.steps = steps

    def __call__(self, sample, rng, another=None):
        for step in self.steps:
            sample = step(sample, rng, another)
        return sample


class Flip:
    """Mirrors left to right with probability p."""

    def __init__(self, p: float = 0.5):
        require("Flip", "p must be in [0, 1]", 0 <= p <= 1, p)
        self.p = p

    def __call__(self, sample, rng, another=None):
        if rng.random() >= self.p:
            return sample
        width = np.float32(sample.image.shape[1])
        boxes = sample.boxes.copy()
        boxes[:, [0, 2]] = width - sample.boxes[:, [2, 0]]
        return Sample(np.ascontiguousarray(sample.image[:, ::-1]), boxes, sample.labels)


class Crop:
    """SSD's sampling (Liu et al. 2016, section 2.2): the whole image; a patch whose IoU with some
    object is at least 0.1, 0.3, 0.5, 0.7 or 0.9; or any patch, each as likely.

    A patch has sides of `smallest` .. 1 of the image's and an aspect ratio of 1/2 .. 2; objects
    stay whose middle lies in it. Where fifty such patches have no such IoU another kind is drawn.
    An image without objects stays whole.
    """

    def __init__(self, smallest: float = 0.3):
        require("Crop", "smallest must be above 0 and up to 1", 0 < smallest <= 1, smallest)
        self.smallest = smallest

    def __call__(self, sample, rng, another=None):
        for kind in rng.permutation(len(CROPS)):
            if CROPS[kind] is None or not len(sample.boxes):
                return sample
            for _ in range(TRIALS):
                patch = self.patch(sample, CROPS[kind], rng)
                if patch is not None:
                    return patch
        return sample

    def patch(self, sample, least, rng) -> Sample | None:
        """One trial."""
        height, width = sample.image.shape[:2]
        h, w = (max(1, int(n * s)) for n, s in zip((height, width), rng.uniform(self.smallest, 1, 2)))
        if not 0.5 <= h / w <= 2:
            return None
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        own = np.concatenate([sample.boxes[:, :2], sample.boxes[:, 2:] - sample.boxes[:, :2]], 1, dtype=np.float64)
        middle = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
        inside = ((middle > [left, top]) & (middle < [left + w, top + h])).all(1)
        reached = overlaps(own, np.array([left, top, w, h], np.float64), np.zeros(len(own), bool)).max()
        if not inside.any() or reached < least:
            return None
        moved = sample.boxes[inside] - np.array([left, top] * 2, np.float32)
        return kept(Sample(np.ascontiguousarray(sample.image[top:top + h, left:left + w]), moved,
                           sample.labels[inside]))


class ScaleJitter:
    """The image at a scale drawn from low .. high on a canvas of its own size: smaller, somewhere
    in grey; larger, cut somewhere. `visible`: objects of which no more than this share is left
    go."""

    def __init__(self, low: float = 0.5, high: float = 1.5, visible: float = 0.25):
        require("ScaleJitter", "0 < low <= high and visible in [0, 1)", 0 < low <= high and 0 <= visible < 1,
                (low, high, visible))
        self.low, self.high, self.visible = low, high, visible

    def __call__(self, sample, rng, another=None):
        height, width = sample.image.shape[:2]
        scale = rng.uniform(self.low, self.high)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = (int(rng.integers(min(0, n - i), max(0, n - i) + 1)) for n, i in zip((height, width), inner))
        return placed(sample, inner, (top, left), (height, width), self.visible)


def placed(sample: Sample, inner: tuple[int, int], corner: tuple[int, int], size: tuple[int, int],
           visible: float) -> Sample:
    """The sample scaled to `inner` with its upper left corner at `corner` of a grey canvas of
    `size`."""
    canvas = np.full((*size, 3), GREY, np.uint8)
    scaled = resized(sample.image, inner)
    (y1, y2), (x1, x2) = ((max(0, c), max(0, min(n, c + i))) for c, n, i in zip(corner, size, inner))
    canvas[y1:y2, x1:x2] = scaled[y1 - corner[0]:y2 - corner[0], x1 - corner[1]:x2 - corner[1]]
    height, width = sample.image.shape[:2]
    factor = np.array([inner[1] / width, inner[0] / height] * 2, np.float32)
    moved = sample.boxes * factor + np.array([corner[1], corner[0]] * 2, np.float32)
    return kept(Sample(canvas, moved, sample.labels), visible)


class HSV:
    """Hue turned by up to `hue` of the circle, saturation and value times up to 1 + and down to 1 -
    theirs (YOLO's colour jitter). Boxes stay."""

    def __init__(self, hue: float = 0.015, saturation: float = 0.7, value: float = 0.4):
        self.strengths = hue, saturation, value
        require("HSV", "strengths must be in [0, 1]", all(0 <= v <= 1 for v in self.strengths), self.strengths)

    def __call__(self, sample, rng, another=None):
        from PIL import Image
        hue, saturation, value = rng.uniform(-1, 1, 3) * self.strengths
        levels = np.arange(256)
        tables = [(levels + round(hue * 256)) % 256, *(np.clip(levels * (1 + v), 0, 255) for v in (saturation, value))]
        turned = Image.fromarray(sample.image).convert("HSV").point(
            np.concatenate([np.rint(t) for t in tables]).astype(int).tolist())
        return Sample(np.asarray(turned.convert("RGB")), sample.boxes, sample.labels)


class Mosaic:
    """With probability p four images around a point in the middle half of the canvas, each scaled
    to cover its quarter (Bochkovskiy et al. 2020)."""

    def __init__(self, p: float = 1.0, visible: float = 0.25):
        require("Mosaic", "p must be in [0, 1] and visible in [0, 1)", 0 <= p <= 1 and 0 <= visible < 1, (p, visible))
        self.p, self.visible = p, visible

    def __call__(self, sample, rng, another=None):
        if rng.random() >= self.p:
            return sample
        size = sample.image.shape[:2]
        y, x = (int(rng.uniform(0.25, 0.75) * n) for n in size)
        canvas, boxes, labels = np.full((*size, 3), GREY, np.uint8), [], []
        for number, one in enumerate([sample, another(), another(), another()]):
            top, bottom = (0, y) if number < 2 else (y, size[0])
            left, right = (0, x) if number % 2 == 0 else (x, size[1])
            room = bottom - top, right - left
            if not min(room):
                continue
            height, width = one.image.shape[:2]
            scale = max(room[0] / height, room[1] / width) * rng.uniform(1, 1.5)
            inner = max(room[0], round(height * scale)), max(room[1], round(width * scale))
            corner = tuple(-int(rng.integers(i - r + 1)) for i, r in zip(inner, room))
            part = placed(one, inner, corner, room, self.visible)
            canvas[top:bottom, left:right] = part.image
            boxes.append(part.boxes + np.array([left, top] * 2, np.float32))
            labels.append(part.labels)
        return Sample(canvas, np.concatenate(boxes).astype(np.float32), np.concatenate(labels))


class MixUp:
    """With probability p the image laid over another one, by a share drawn from Beta(alpha, alpha);
    the objects of both count in full (Zhang et al. 2019, "Bag of freebies")."""

    def __init__(self, p: float = 0.15, alpha: float = 8.0):
        require("MixUp", "p must be in [0, 1] and alpha positive", 0 <= p <= 1 and alpha > 0, (p, alpha))
        self.p, self.alpha = p, alpha

    def __call__(self, sample, rng, another=None):
        if rng.random() >= self.p:
            return sample
        share = rng.beta(self.alpha, self.alpha)
        other = letterboxed(another(), sample.image.shape[:2])
        image = np.rint(share * sample.image + (1 - share) * other.image).astype(np.uint8)
        return Sample(image, np.concatenate([sample.boxes, other.boxes]),
                      np.concatenate([sample.labels, other.labels]))
