"""What a detector takes for what: classes beside classes, and beside nothing."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .coco import overlaps
from .flat import checked, found_objects, true_objects


def detection_confusion(targets: Sequence, detections: Sequence, classes: int, iou: float = 0.5,
                        score: float = 0.25) -> np.ndarray:
    """(classes + 1, classes + 1) counts: row the true class, column the class that was found. The
    last row are detections where nothing is, or a better one has taken it; the last
    column objects that were not found.

    Detections of at least `score` and objects are paired whatever their classes, of IoUs of at
    least `iou` the highest first, each with one other. targets, detections: as of coco_ap; crowds
    are left out, and so is what is found within them.
    """
    if not 0 < iou <= 1 or not 0 <= score <= 1:
        raise ValueError(f"detection_confusion: iou must be above 0 and up to 1, score 0 .. 1, got {iou}, {score}")
    if len(targets) != len(detections):
        raise ValueError(f"detection_confusion: {len(targets)} images have targets, {len(detections)} detections")
    truth, found = checked(true_objects(targets, classes), "true"), checked(found_objects(detections, classes),
                                                                            "found")
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for image in range(truth.images):
        mine, theirs = truth.image == image, (found.image == image) & (found.scores >= score)
        crowd, labels = truth.ignore[mine], truth.label[mine]
        overlap = overlaps(found.boxes[theirs][:, None], truth.boxes[mine][None], crowd[None])
        pairs = paired(np.where(crowd, 0.0, overlap), iou)
        open_objects, open_found = ~crowd, ~((overlap >= iou) & crowd).any(1)
        for i, j in pairs:
            matrix[labels[j], found.label[theirs][i]] += 1
            open_objects[j] = open_found[i] = False
        np.add.at(matrix, (labels[open_objects], classes), 1)
        np.add.at(matrix, (classes, found.label[theirs][open_found]), 1)
    return matrix


def paired(overlap: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Row and column of the highest value, then of the highest in other rows and columns, down to
    `least`."""
    rows, columns = np.nonzero(overlap >= least)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    pairs, used = [], (set(), set())
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in used[0] and column not in used[1]:
            pairs.append((row, column))
            used[0].add(row)
            used[1].add(column)
    return pairs
