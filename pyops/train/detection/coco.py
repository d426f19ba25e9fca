"""Average precision and recall by COCO's rules (cocodataset.org/#detection-eval), all twelve
numbers.

In each image and class detections come in order of their scores, the first hundred. One takes the
true object that it overlaps most, of those that no other has taken and whose IoU reaches the
threshold; objects that need not be found (crowds, and those whose area is outside of the range)
only where there is no other, and what takes them counts neither for nor against. Overlap with a
crowd is the share of the detection that lies in it, and a crowd can be taken again and again. Over
all images precision is interpolated at the recalls 0, 0.01, ... 1 and averaged.

Here all images and classes are matched side by side, a rank of detection after the other, and all
thresholds and areas at once: some hundred operations on arrays, where a loop over images, classes,
areas, thresholds and detections has a hundred thousand.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .flat import Flat, checked, found_objects, true_objects

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
MOST = (1, 10, 100)         # detections of a class in an image that count
ROOM = 1 << 22              # numbers in the largest array of a batch of groups
NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR_1", "AR_10", "AR_100", "AR_small",
         "AR_medium", "AR_large")
TITLES = ("AP of IoU 0.50 .. 0.95", "AP of IoU 0.50", "AP of IoU 0.75", "AP, small objects (below 32x32)",
          "AP, medium objects", "AP, large objects (above 96x96)", "AR, 1 detection an image",
          "AR, 10 detections an image", "AR, 100 detections an image", "AR, small objects", "AR, medium objects",
          "AR, large objects")


@dataclass(frozen=True)
class CocoAP:
    """precision: (thresholds, 101 recalls, classes, areas), of up to 100 detections. recall:
    (thresholds, classes, areas, 3), of up to 1, 10 and 100. -1 where there is nothing to find.

    Areas: all, small, medium, large. str() is a table of the twelve numbers.
    """
    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray

    @property
    def numbers(self) -> dict[str, float]:
        """The twelve, in COCO's order. -1 where there is nothing to find."""
        p, r = self.precision, self.recall
        halves = [self._at(0.5), self._at(0.75)]
        values = [p[..., 0], *(p[where, :, :, 0] for where in halves), *(p[..., a] for a in (1, 2, 3)),
                  *(r[:, :, 0, m] for m in (0, 1, 2)), *(r[:, :, a, 2] for a in (1, 2, 3))]
        return {name: mean(v) for name, v in zip(NAMES, values)}

    def _at(self, threshold: float) -> np.ndarray:
        return np.flatnonzero(self.thresholds == threshold)

    @property
    def ap(self) -> float:
        return mean(self.precision[..., 0])

    @property
    def ap50(self) -> float:
        return mean(self.precision[self._at(0.5), :, :, 0])

    def of_classes(self, threshold: float | None = None) -> np.ndarray:
        """(classes,): each class's AP, over all thresholds or at one of them."""
        p = self.precision[..., 0] if threshold is None else self.precision[self._at(threshold), :, :, 0]
        return np.array([mean(p[:, :, k]) for k in range(p.shape[2])])

    def __str__(self):
        return "\n".join(f"{title:<34}{'    -' if value < 0 else f'{value:.3f}'}"
                         for title, value in zip(TITLES, self.numbers.values()))


def mean(values: np.ndarray) -> float:
    """Of those that are there, -1 if none is."""
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0


def coco_ap(targets: Sequence, detections: Sequence, classes: int,
            thresholds: Sequence[float] = tuple(IOU_THRESHOLDS)) -> CocoAP:
    """CocoAP of what was found in images.

    targets: a mapping for each image, "boxes" (k, 4) as x1, y1, x2, y2 in pixels, "labels" (k,)
    0 .. classes - 1, and where they are known "area" and "crowd" (k,). detections: Detections of
    the same images in the same order, or mappings of "boxes", "scores" and "labels". ValueError
    where they do not fit, or a number is none.
    """
    if len(targets) != len(detections):
        raise ValueError(f"coco_ap: {len(targets)} images have targets, {len(detections)} detections")
    return flat_ap(true_objects(targets, classes), found_objects(detections, classes), thresholds)


def flat_ap(truth: Flat, found: Flat, thresholds: Sequence[float] = tuple(IOU_THRESHOLDS)) -> CocoAP:
    """coco_ap of flat arrays."""
    limits = np.asarray(thresholds, np.float64)
    if limits.ndim != 1 or not len(limits) or not ((limits > 0) & (limits <= 1)).all():
        raise ValueError(f"coco_ap: thresholds must be numbers above 0 and up to 1, got {thresholds}")
    checked(truth, "true")
    checked(found, "found")
    found, rank = ranked(found)
    truth = taken(truth, np.argsort(groups(truth), kind="stable"))
    low, high = np.array(list(AREAS.values())).T[:, :, None]
    ignored = truth.ignore | (truth.area < low) | (truth.area > high)                 # (areas, objects)
    size = found.boxes[:, 2] * found.boxes[:, 3]
    hit, free = matched(truth, found, rank, ignored, np.minimum(limits, 1 - 1e-10))   # (areas, thresholds, n)
    free |= ~hit & ((size < low) | (size > high))[:, None]
    return accumulated(truth, found, rank, ignored, hit, free, limits)


def groups(flat: Flat) -> np.ndarray:
    """A number for each class and image, class by class."""
    return flat.label * flat.images + flat.image


def taken(flat: Flat, order: np.ndarray) -> Flat:
    return Flat(flat.images, flat.classes, *(None if v is None else v[order] for v in (
        flat.image, flat.label, flat.boxes, flat.scores, flat.area, flat.ignore)))


def ranked(found: Flat) -> tuple[Flat, np.ndarray]:
    """Group by group, in each from the highest score down, at most MOST[-1] of them; and each one's
    place in its group."""
    found = taken(found, np.lexsort((-found.scores, groups(found))))
    place = places(groups(found))
    kept = np.flatnonzero(place < MOST[-1])
    return taken(found, kept), place[kept]


def places(group: np.ndarray) -> np.ndarray:
    """0, 1, ... within each run of equal numbers."""
    begins = np.flatnonzero(np.r_[True, group[1:] != group[:-1]]) if len(group) else np.empty(0, np.int64)
    return np.arange(len(group)) - np.repeat(begins, np.diff(np.r_[begins, len(group)]))


def matched(truth: Flat, found: Flat, rank: np.ndarray, ignored: np.ndarray,
            limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which detections take an object, and which of these one that need not be found: bool (areas,
    thresholds, detections), group by group in buckets of about equal numbers of objects."""
    shape = (len(ignored), len(limits), len(found))
    hit, free = np.zeros(shape, bool), np.zeros(shape, bool)
    own = groups(truth)
    numbers, begins, counts = np.unique(own, return_index=True, return_counts=True)
    mine = np.searchsorted(numbers, groups(found))
    there = mine < len(numbers)
    there[there] = numbers[mine[there]] == groups(found)[there]
    candidates = np.flatnonzero(there)      # those in whose image there is an object of their class
    wide = 1 << np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    for width in np.unique(wide):
        part = candidates[wide[mine[candidates]] == width]
        step = max(1, ROOM // (width * shape[0] * shape[1]))
        while len(part):
            end = min(step, len(part))
            while end < len(part) and mine[part[end]] == mine[part[end - 1]]:
                end += 1
            now, part = part[:end], part[end:]
            match_bucket(truth, found, ignored, limits, now, begins[mine[now]], counts[mine[now]], int(width),
                         hit, free)
    return hit, free


def match_bucket(truth, found, ignored, limits, chosen, begins, counts, width, hit, free) -> None:
    """Matches the detections `chosen`, whole groups in order, with objects begins .. begins +
    counts; writes hit and free."""
    at = np.minimum(begins[:, None] + np.arange(width), len(truth) - 1)     # (d, width)
    real = np.arange(width) < counts[:, None]
    overlap = np.where(real, overlaps(found.boxes[chosen, None], truth.boxes[at], truth.ignore[at]), -1.0)
    live = np.flatnonzero(overlap.max(1) >= limits.min())
    if not len(live):
        return
    chosen, at, overlap, begins = chosen[live], at[live], overlap[live], begins[live]
    crowd = truth.ignore[at]
    # an object's preference: by overlap, of equal ones the later; any that must be found before the others
    order = np.argsort(np.argsort(overlap, 1, kind="stable"), 1).astype(np.int16)
    group = np.cumsum(np.r_[0, begins[1:] != begins[:-1]])
    place = places(group)
    taken_by = np.zeros((group[-1] + 1, len(ignored), len(limits), width), bool)
    for number in range(place.max() + 1):
        row = np.flatnonzero(place == number)
        who = group[row]
        skip = ignored[:, at[row]].transpose(1, 0, 2)[:, :, None]            # (rows, areas, 1, width)
        may = ((overlap[row, None, None] >= limits[:, None])
               & (~taken_by[who] | crowd[row, None, None]))
        value = np.where(may, order[row, None, None] + np.where(skip, np.int16(1), np.int16(1 + width)), 0)
        best = value.argmax(3)
        got = np.take_along_axis(value, best[..., None], 3)[..., 0]
        hit[:, :, chosen[row]] = (got > 0).transpose(1, 2, 0)
        free[:, :, chosen[row]] = ((got > 0) & (got <= width)).transpose(1, 2, 0)
        rows, areas, levels = np.nonzero(got)
        taken_by[who[rows], areas, levels, best[rows, areas, levels]] = True


def overlaps(found: np.ndarray, true: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU of boxes x, y, w, h, or the share of `found` that lies within `true` where that is a
    crowd."""
    low = np.maximum(found[..., :2], true[..., :2])
    sides = np.minimum(found[..., :2] + found[..., 2:], true[..., :2] + true[..., 2:]) - low
    both = np.where((sides > 0).all(-1), sides[..., 0] * sides[..., 1], 0.0)
    own = found[..., 2] * found[..., 3]
    whole = np.where(crowd, own, own + true[..., 2] * true[..., 3] - both)
    return np.divide(both, whole, out=np.zeros_like(both), where=both > 0)


def accumulated(truth, found, rank, ignored, hit, free, limits) -> CocoAP:
    """Precision and recall of each class, from the highest score of all images down."""
    areas, levels = hit.shape[:2]
    precision = np.full((levels, len(RECALLS), truth.classes, areas), -1.0)
    recall = np.full((levels, truth.classes, areas, len(MOST)), -1.0)
    true_ends, found_ends = (np.searchsorted(f.label, np.arange(truth.classes + 1)) for f in (truth, found))
    for label in range(truth.classes):
        wanted = (~ignored[:, true_ends[label]:true_ends[label + 1]]).sum(1)
        own = slice(found_ends[label], found_ends[label + 1])
        order = np.argsort(-found.scores[own], kind="stable")
        good, bad = (hit[..., own] & ~free[..., own])[..., order], (~hit[..., own] & ~free[..., own])[..., order]
        places_in = rank[own][order]
        for area in np.flatnonzero(wanted):
            precision[:, :, label, area] = interpolated(good[area], bad[area], int(wanted[area]))
            for m, most in enumerate(MOST):
                recall[:, label, area, m] = (good[area] & (places_in < most)).sum(1) / wanted[area]
    return CocoAP(precision, recall, limits)


def interpolated(good: np.ndarray, bad: np.ndarray, wanted: int) -> np.ndarray:
    """(thresholds, 101): the highest precision at a recall of at least each of RECALLS, of good and
    bad detections (thresholds, n) by falling score; 0 where that recall is not reached."""
    rights, wrongs = good.cumsum(1), bad.cumsum(1)
    row, place = np.nonzero(good)
    right = rights[row, place]
    highest = np.zeros((len(good), (right.max() if len(right) else 0) + 1))
    highest[row, right - 1] = right / (wrongs[row, place] + right + np.spacing(1))   # as COCO's own
    highest = np.maximum.accumulate(highest[:, ::-1], 1)[:, ::-1]
    needed = np.searchsorted(np.arange(wanted + 1) / wanted, RECALLS)     # how many must be right
    return highest[:, np.clip(needed - 1, 0, highest.shape[1] - 1)]
