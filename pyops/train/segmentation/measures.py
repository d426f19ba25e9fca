"""How good labels of pixels are: intersections over unions, Dice, accuracy, borders."""
from __future__ import annotations

import numpy as np

NOTHING = 255


class PixelConfusion:
    """counts[i, j]: pixels of class i that were taken for j, of all that was added. Pixels of
    `ignore_index` in a mask count for nothing."""

    def __init__(self, classes: int, ignore_index: int = NOTHING):
        if isinstance(classes, bool) or not hasattr(classes, "__index__") or classes < 1:
            raise ValueError(f"PixelConfusion: classes must be a positive int, got {classes!r}")
        self.classes, self.ignore_index = int(classes), ignore_index
        self.counts = np.zeros((self.classes, self.classes), np.int64)

    def add(self, labels: np.ndarray, masks: np.ndarray) -> PixelConfusion:
        """labels: what was found; masks: what is there; whole numbers of one shape. ValueError where
        they are not, or hold a class that there is not."""
        labels, masks = np.asarray(labels), np.asarray(masks)
        if labels.shape != masks.shape or labels.dtype.kind not in "iub" or masks.dtype.kind not in "iub":
            raise ValueError(f"PixelConfusion: labels and masks must be whole numbers of one shape, got {labels.shape} "
                             f"{labels.dtype} and {masks.shape} {masks.dtype}")
        known = masks != self.ignore_index
        found, there = labels[known].astype(np.int64), masks[known].astype(np.int64)
        for name, values in (("labels", found), ("masks", there)):
            if values.size and not 0 <= values.min() <= values.max() < self.classes:
                raise ValueError(f"PixelConfusion: {name} must be 0 to {self.classes - 1}, got {values.min()} to "
                                 f"{values.max()}")
        self.counts += np.bincount(there * self.classes + found,
                                   minlength=self.classes ** 2).reshape(self.classes, self.classes)
        return self

    @property
    def iou(self) -> np.ndarray:
        """(classes,): NaN for a class that neither is there nor was found."""
        both = np.diag(self.counts)
        return ratio(both, self.counts.sum(0) + self.counts.sum(1) - both)

    @property
    def dice(self) -> np.ndarray:
        """(classes,): 2 i / (found + there), NaN as for iou."""
        return ratio(2 * np.diag(self.counts), self.counts.sum(0) + self.counts.sum(1))

    @property
    def mean_iou(self) -> float:
        """Over the classes that are there or were found; 0 without pixels."""
        return mean(self.iou)

    @property
    def mean_dice(self) -> float:
        return mean(self.dice)

    @property
    def accuracy(self) -> float:
        """The share of labelled pixels that are right; 0 without pixels."""
        return float(np.trace(self.counts) / max(1, self.counts.sum()))

    @property
    def class_accuracy(self) -> np.ndarray:
        """(classes,): of the pixels of each class; NaN for a class that is not there."""
        return ratio(np.diag(self.counts), self.counts.sum(1))

    def __str__(self) -> str:
        return (f"mIoU {self.mean_iou:.3f}, Dice {self.mean_dice:.3f}, pixels right {self.accuracy:.3f}; IoU by class "
                + ", ".join("-" if np.isnan(v) else f"{v:.2f}" for v in self.iou))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)


def mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def boundary_f(labels: np.ndarray, masks: np.ndarray, tolerance: float = 2.0, ignore_index: int = NOTHING) -> float:
    """The boundary F-measure: of borders between classes in `labels` and in `masks`, (H, W), the
    harmonic mean of the shares that lie within `tolerance` pixels of the other's. 1 where neither
    has any. Martin, Fowlkes & Malik (2004). Needs SciPy."""
    from scipy.ndimage import distance_transform_edt
    labels, masks = np.asarray(labels), np.asarray(masks)
    if labels.shape != masks.shape or labels.ndim != 2:
        raise ValueError(f"boundary_f: labels and masks must be (height, width) of one size, got {labels.shape} and "
                         f"{masks.shape}")
    known = masks != ignore_index
    found, there = borders(labels) & known, borders(masks) & known
    if not found.any() and not there.any():
        return 1.0
    if not found.any() or not there.any():
        return 0.0
    precision = (distance_transform_edt(~there)[found] <= tolerance).mean()
    recall = (distance_transform_edt(~found)[there] <= tolerance).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def borders(labels: np.ndarray) -> np.ndarray:
    """Pixels whose right or lower neighbour is of another class."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    return edge
