"""Average precision as the Pascal VOC challenges measured it (Everingham et al. 2010).

A detection belongs to the true object of its class and image that it overlaps most, and is right
where their IoU is at least 0.5 and no detection of a higher score was right about that object; one
that belongs to a difficult object counts neither for nor against. 2007: the mean of the precisions
at the recalls 0, 0.1, ... 1; since 2010: the area under the curve of the highest precision at a
recall of at least r.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .coco import groups, overlaps, taken
from .flat import Flat, checked, found_objects, true_objects

RULES = (2007, 2012)


def voc_ap(targets: Sequence, detections: Sequence, classes: int, rule: int = 2012,
           iou: float = 0.5) -> np.ndarray:
    """(classes,) average precisions; NaN for a class that has no object. Their mean
    (numpy.nanmean) is the challenge's figure.

    targets, detections: as of coco_ap; "crowd" marks the difficult objects. ValueError for another
    rule than 2007 and 2012.
    """
    if rule not in RULES:
        raise ValueError(f"voc_ap: rule must be 2007 or 2012, got {rule!r}")
    if not 0 < iou <= 1:
        raise ValueError(f"voc_ap: iou must be above 0 and up to 1, got {iou}")
    if len(targets) != len(detections):
        raise ValueError(f"voc_ap: {len(targets)} images have targets, {len(detections)} detections")
    truth, found = checked(true_objects(targets, classes), "true"), checked(found_objects(detections, classes),
                                                                            "found")
    found = taken(found, np.lexsort((-found.scores, found.label)))
    result = np.full(classes, np.nan)
    right, wrong = judged(truth, found, iou)
    for label in range(classes):
        wanted = int((~truth.ignore[truth.label == label]).sum())
        if wanted:
            own = found.label == label
            result[label] = area(right[own], wrong[own], wanted, rule)
    return result


def judged(truth: Flat, found: Flat, iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Which detections, in order of their scores, are right and which are wrong: bool (n,) each."""
    order = np.argsort(groups(truth), kind="stable")
    truth = taken(truth, order)
    begins, ends = (np.searchsorted(groups(truth), groups(found), side) for side in ("left", "right"))
    right, wrong = np.zeros(len(found), bool), np.ones(len(found), bool)
    used = np.zeros(len(truth), bool)
    for i in np.flatnonzero(ends > begins):
        objects = slice(begins[i], ends[i])
        overlap = overlaps(found.boxes[i], truth.boxes[objects], np.zeros(ends[i] - begins[i], bool))
        best = int(overlap.argmax())
        if overlap[best] < iou:
            continue
        best += begins[i]
        if truth.ignore[best]:
            wrong[i] = False
        elif not used[best]:
            used[best], right[i], wrong[i] = True, True, False
    return right, wrong


def area(right: np.ndarray, wrong: np.ndarray, wanted: int, rule: int) -> float:
    """Of the curve of detections by falling score."""
    rights, wrongs = np.cumsum(right), np.cumsum(wrong)
    recall, precision = rights / wanted, rights / np.maximum(rights + wrongs, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]      # at a recall of at least this
    if rule == 2007:
        # rights / wanted >= tenths / 10, in whole numbers
        reached = [np.flatnonzero(10 * rights >= tenths * wanted) for tenths in range(11)]
        return float(np.mean([best[at[0]] if len(at) else 0.0 for at in reached]))
    return float(np.sum(np.diff(np.r_[0.0, recall]) * best))
