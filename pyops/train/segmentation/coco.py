"""COCO's masks of objects, polygons and run lengths, as masks of pixels."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..detection.annotations import Picture
from .dataset import NOTHING, MaskSample

FINER = 5   # times: the grid on which outlines are drawn


def object_mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """bool (H, W) of an object's polygons, a list of [x, y, x, y, ...] in pixels, whose union it is, or
    of run lengths down the columns, {"counts": list or text, "size": [H, W]}, the pixels that
    pycocotools gives. ValueError for runs that are not as many as there are pixels."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        return from_runs(runs_of(counts) if isinstance(counts, (str, bytes)) else counts, size)
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        mask |= from_polygon(np.asarray(polygon, np.float64).reshape(-1, 2), size)
    return mask


def from_runs(counts: Any, size: tuple[int, int]) -> np.ndarray:
    """Runs of pixels outside and inside in turn, the first outside."""
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise ValueError(f"the counts of RLE sum to {lengths.sum()}, the image has {size[0] * size[1]} pixels")
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(size[::-1]).T


def runs_of(text: str | bytes) -> list[int]:
    """COCO's compressed runs: each number in groups of five bits from the lowest, 48 added to a group,
    bit 5 set where another one follows, the last group's bit 4 its sign; from the fourth number on
    a number is the difference to the one two before. ValueError where the text ends within one."""
    data = text.encode() if isinstance(text, str) else text
    runs: list[int] = []
    at = 0
    while at < len(data):
        value = shift = 0
        more = True
        while more:
            if at == len(data):
                raise ValueError("the counts of RLE end within a number")
            group = data[at] - 48
            if not 0 <= group < 64 or shift > 60:
                raise ValueError(f"the counts of RLE hold {chr(data[at])!r} at {at}, which is no part of a number")
            value |= (group & 31) << shift
            more, shift, at = bool(group & 32), shift + 5, at + 1
        if group & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def from_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A polygon of points (n, 2), x and y, as COCO has it: its outline is drawn on a grid five times
    as fine; where that crosses the middle of a column of pixels the column is entered or left."""
    height, width = size
    corners = np.trunc(FINER * points + 0.5).astype(np.int64)
    outline = np.concatenate([line(a, b) for a, b in zip(corners, np.roll(corners, -1, 0))])
    before, after = outline[:-1], outline[1:]
    moved = after[:, 0] != before[:, 0]
    before, after = before[moved], after[moved]
    left = np.where(after[:, 0] < before[:, 0], after[:, 0], after[:, 0] - 1)
    column = (left + 0.5) / FINER - 0.5
    row = np.ceil(np.clip((np.minimum(before[:, 1], after[:, 1]) + 0.5) / FINER - 0.5, 0, height)).astype(np.int64)
    inside = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    places = column[inside].astype(np.int64) * height + row[inside]
    crossed = np.bincount(places, minlength=height * width + 1)[:height * width]
    return (np.cumsum(crossed) % 2 == 1).reshape(width, height).T


def line(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Points of the fine grid from a to b, one a step along the longer axis; halves are rounded as if
    the line began at its lesser end."""
    steps = np.abs(b - a)
    axis = int(steps[1] > steps[0])
    first, last = (b, a) if a[axis] > b[axis] else (a, b)
    along = np.arange(steps[axis] + 1)
    if a[axis] > b[axis]:
        along = along[::-1]
    slope = (last[1 - axis] - first[1 - axis]) / steps[axis] if steps[axis] else 0.0
    points = np.empty((len(along), 2), np.int64)
    points[:, axis] = first[axis] + along
    points[:, 1 - axis] = np.trunc(first[1 - axis] + slope * along + 0.5).astype(np.int64)
    return points


def labelled(picture: Picture) -> MaskSample:
    """The image of `picture` with its objects' pixels: 0 is the ground, c + 1 class c. Of objects that
    overlap the smaller one is seen; crowds, and objects without a mask, whose whole box may be
    theirs, are not labelled. ValueError names the image whose mask is wrong."""
    mask = np.zeros(picture.size, np.uint8)
    parts = picture.segmentation or (None,) * len(picture.labels)
    for i in np.argsort(-picture.area, kind="stable"):
        value = NOTHING if picture.crowd[i] else int(picture.labels[i]) + 1
        if not parts[i]:
            left, top = np.maximum(np.floor(picture.boxes[i][:2]), 0).astype(int)
            right, bottom = np.ceil(picture.boxes[i][2:]).astype(int)
            mask[top:bottom, left:right] = NOTHING
            continue
        try:
            mask[object_mask(parts[i], picture.size)] = value
        except ValueError as why:
            raise ValueError(f"{picture.name}: {why}") from why
    return MaskSample(picture.load(), mask)
