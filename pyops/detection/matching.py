"""Which object of an image each anchor is to find, and which anchors are trained on: matching and
sampling. NumPy; nothing here has a gradient.

A match is an array (anchors,) int64: the number of the object, BACKGROUND, or IGNORED where an
anchor is neither.
"""
from __future__ import annotations

import numpy as np

from ..core.random import default_generator

__all__ = ["BACKGROUND", "IGNORED", "adaptive_match", "balanced_sample", "bipartite_match", "hard_negatives",
           "overlaps", "threshold_match"]

BACKGROUND, IGNORED = -1, -2


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m): intersection over union of each of boxes (n, 4) with each of others (m, 4); 0 of two
    without area."""
    corner, end = np.maximum(boxes[:, None, :2], others[:, :2]), np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = (end - corner).clip(min=0).prod(-1)
    areas, other_areas = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    union = areas[:, None] + other_areas - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def threshold_match(quality: np.ndarray, high: float, low: float, low_quality: bool = False) -> np.ndarray:
    """Of each anchor the object that it overlaps most, where by at least `high`; background where by
    less than `low`, and ignored between.

    quality: (objects, anchors). low_quality: the best anchors of each object, ties among them, keep
    their object however little they overlap. Ren et al. (2015), section 3.1.2.
    """
    if not low <= high:
        raise ValueError(f"threshold_match: low must not be above high, got {low} and {high}")
    if not quality.shape[0]:
        return np.full(quality.shape[1], BACKGROUND, np.int64)
    best = quality.argmax(0)
    value = np.take_along_axis(quality, best[None], 0)[0]
    match = np.where(value < low, BACKGROUND, np.where(value < high, IGNORED, best))
    if low_quality:
        chosen = (quality == quality.max(1, keepdims=True)).any(0)
        match[chosen] = best[chosen]
    return match


def bipartite_match(quality: np.ndarray, threshold: float) -> np.ndarray:
    """SSD's: each object gets its best anchor, and every other anchor with an overlap of at least
    `threshold` the object that it overlaps most. Liu et al. (2016), section 2.2.

    Of two objects with one best anchor the later one has it, as torchvision does.
    """
    match = threshold_match(quality, threshold, threshold)
    for number, anchor in enumerate(quality.argmax(1) if quality.size else ()):
        match[anchor] = number
    return match


def adaptive_match(boxes: np.ndarray, anchors: list[np.ndarray], nearest: int = 9) -> np.ndarray:
    """ATSS: of each level the `nearest` anchors by the distance of centres are candidates of an object,
    and those are its own whose overlap is at least the candidates' mean plus deviation and whose
    centre lies inside it. Zhang et al., "Bridging the Gap" (2020), algorithm 1.

    boxes: (objects, 4); anchors: (n, 4) of each level. An anchor of several objects is that one's
    which it overlaps most. Returns the match of all anchors, level by level.
    """
    every = np.concatenate(anchors)
    match = np.full(len(every), BACKGROUND, np.int64)
    if not len(boxes):
        return match
    quality = overlaps(boxes, every)
    middle, centre = (boxes[:, :2] + boxes[:, 2:]) / 2, (every[:, :2] + every[:, 2:]) / 2
    distance = np.sqrt(((middle[:, None] - centre) ** 2).sum(-1))
    candidate = np.zeros(quality.shape, bool)
    start = 0
    for level in anchors:
        order = np.argsort(distance[:, start:start + len(level)], 1, kind="stable")[:, :nearest] + start
        np.put_along_axis(candidate, order, True, 1)
        start += len(level)
    some = candidate.sum(1)
    mean = np.where(candidate, quality, 0).sum(1) / some
    # of a sample, as the paper's authors compute it
    deviation = np.sqrt((np.where(candidate, quality - mean[:, None], 0) ** 2).sum(1) / np.maximum(some - 1, 1))
    inside = ((centre > boxes[:, None, :2]) & (centre < boxes[:, None, 2:])).all(-1)
    own = np.where(candidate & inside & (quality >= (mean + deviation)[:, None]), quality, -1)
    best = own.argmax(0)
    return np.where(own.max(0) >= 0, best, match)


def balanced_sample(match: np.ndarray, count: int, positive: float,
                    generator: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Places of at most count * positive anchors with an object, and of background up to `count` in
    all, each drawn at random and in order: (positives, negatives)."""
    generator = generator or default_generator()
    objects, background = np.flatnonzero(match >= 0), np.flatnonzero(match == BACKGROUND)
    some = min(len(objects), int(count * positive))
    rest = min(len(background), count - some)
    return (np.sort(generator.choice(objects, some, replace=False)) if some < len(objects) else objects,
            np.sort(generator.choice(background, rest, replace=False)) if rest < len(background) else background)


def hard_negatives(loss: np.ndarray, match: np.ndarray, ratio: float = 3.0) -> np.ndarray:
    """(N, anchors) bool: of each sample's background the anchors with the largest loss, `ratio` times
    as many as have an object. Liu et al. (2016), section 2.2, "hard negative mining".

    loss, match: (N, anchors).
    """
    objects = match >= 0
    value = np.where(objects, -np.inf, loss)
    order = np.argsort(-value, 1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(loss.shape[1])[None], 1)
    return (rank < ratio * objects.sum(1, keepdims=True)) & ~objects
