"""Which places of a network learn which boxes: YOLOv5's rule of ratios with neighbours, and the task
alignment of TOOD and YOLOv6. (SSD's, RetinaNet's and ATSS' rules: matching.py.)"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .matching import overlaps

__all__ = ["Aligned", "neighbours", "ratio_match", "task_aligned"]


def ratio_match(sizes: np.ndarray, anchors: np.ndarray, limit: float = 4.0) -> np.ndarray:
    """(k, a) bool: whether width and height of each box (k, 2) are at most `limit` times those of
    each anchor (a, 2), and the other way round."""
    ratio = sizes[:, None] / anchors[None]
    return np.maximum(ratio, 1 / ratio).max(-1) < limit


def neighbours(centres: np.ndarray, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Cells that learn boxes with these centres (k, 2), in cells of a grid (height, width): the
    centre's own and the nearest one along each axis, where the grid has it. Returns (m,) which box,
    and (m, 2) x and y of the cell. A centre reaches half a cell beyond its own, which is why YOLOv5's
    offsets run from -0.5 to 1.5."""
    size = np.array([grid[1], grid[0]])
    own = np.minimum(np.floor(centres).astype(np.int64), size - 1)
    which, cells = [np.arange(len(centres))], [own]
    for axis in (0, 1):
        inside = centres[:, axis] - np.floor(centres[:, axis])
        for step, near in ((-1, inside < 0.5), (1, inside > 0.5)):
            moved = own.copy()
            moved[:, axis] += step
            there = np.flatnonzero(near & (moved[:, axis] >= 0) & (moved[:, axis] < size[axis]))
            which.append(there)
            cells.append(moved[there])
    return np.concatenate(which), np.concatenate(cells)


class Aligned(NamedTuple):
    """match (n,): the box that each place learns, -1 for background. score (n,): how well it is
    aligned, the class score it learns."""
    match: np.ndarray
    score: np.ndarray


def task_aligned(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray, truth: np.ndarray,
                 labels: np.ndarray, topk: int = 13, alpha: float = 1.0, beta: float = 6.0) -> Aligned:
    """Feng et al., "TOOD: Task-aligned One-stage Object Detection" (2021), section 3.2.

    scores (n, C) in 0..1 and boxes (n, 4) are predicted at points (n, 2); truth (k, 4), labels (k,).
    Of the points within a true box the `topk` with the largest score^alpha IoU^beta learn it; a
    point that several boxes want learns the one that it overlaps most. The score it learns is its
    alignment, scaled so that a box's largest is its largest IoU.
    """
    match, score = np.full(len(points), -1, np.int64), np.zeros(len(points), np.float32)
    if not len(truth):
        return Aligned(match, score)
    inside = ((points[None] > truth[:, None, :2]) & (points[None] < truth[:, None, 2:])).all(-1)
    overlap = np.where(inside, overlaps(truth, boxes), 0)
    metric = np.where(inside, scores[:, labels].T ** alpha * overlap ** beta, 0)
    chosen = np.zeros(metric.shape, bool)
    best = np.argsort(-metric, axis=1, kind="stable")[:, :topk]
    np.put_along_axis(chosen, best, True, 1)
    chosen &= inside
    wanted = np.where(chosen, overlap, -1)
    found = chosen.any(0)
    match[found] = wanted.argmax(0)[found]
    mine = (match[None] == np.arange(len(truth))[:, None]) & found
    kept = np.where(mine, metric, 0)
    largest, sharpest = kept.max(1, keepdims=True), np.where(mine, overlap, 0).max(1, keepdims=True)
    score[found] = (kept / np.maximum(largest, 1e-9) * sharpest).max(0)[found]
    return Aligned(match, score)
