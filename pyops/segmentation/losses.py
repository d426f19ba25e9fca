"""Losses of labelled pixels beside cross-entropy: overlaps of whole masks, and what is hard.

logits: (N, C, ...), classes along axis 1, Tensor or array, float32 or float64. masks: (N, ...)
whole numbers, 0 to C - 1; pixels of `ignore_index` count for nothing. Each returns a scalar, with
gradients to logits of any order. ValueError for masks of another size, or with a class that there
is not.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import functional as F

__all__ = ["dice_loss", "focal_loss", "jaccard_loss", "lovasz_hinge", "lovasz_softmax", "tversky_loss"]

NOTHING = 255


def dice_loss(logits: Any, masks: Any, *, smooth: float = 1.0, squared: bool = False,
              classes: Sequence[int] | None = None, ignore_index: int = NOTHING) -> Any:
    """1 - the mean over classes of (2 sum p y + smooth) / (sum p + sum y + smooth), p the softmax and
    y the mask, sums over all pixels of the batch. squared: sum p^2 + sum y^2 below, the form of
    Milletari, Navab & Ahmadi, "V-Net" (2016). classes: those that count (None: all)."""
    p, y = probabilities("dice_loss", logits, masks, classes, ignore_index)
    both = totals(F.mul(p, y))
    size = totals(F.add(F.mul(p, p) if squared else p, y))
    return one_minus_mean(F.div(F.add(F.mul(both, 2.0), smooth), F.add(size, smooth)))


def jaccard_loss(logits: Any, masks: Any, *, smooth: float = 1.0, classes: Sequence[int] | None = None,
                 ignore_index: int = NOTHING) -> Any:
    """1 - the mean over classes of (i + smooth) / (sum p + sum y - i + smooth), i = sum p y: a soft
    intersection over union (Rahman & Wang, 2016)."""
    p, y = probabilities("jaccard_loss", logits, masks, classes, ignore_index)
    both = totals(F.mul(p, y))
    union = F.sub(totals(F.add(p, y)), both)
    return one_minus_mean(F.div(F.add(both, smooth), F.add(union, smooth)))


def tversky_loss(logits: Any, masks: Any, alpha: float = 0.5, beta: float = 0.5, *, gamma: float = 1.0,
                 smooth: float = 1.0, classes: Sequence[int] | None = None, ignore_index: int = NOTHING) -> Any:
    """1 - the mean over classes of (i + smooth) / (i + alpha fp + beta fn + smooth): alpha weighs
    what is claimed and is not there, beta what is missed; 1/2 and 1/2 are dice_loss (Salehi,
    Erdogmus & Gholipour, 2017). gamma: each class's 1 - index is raised to it (Abraham & Khan,
    2019)."""
    if alpha < 0 or beta < 0 or not gamma > 0:
        raise ValueError(f"tversky_loss: alpha and beta must not be negative and gamma positive, got {alpha!r}, "
                         f"{beta!r} and {gamma!r}")
    p, y = probabilities("tversky_loss", logits, masks, classes, ignore_index)
    both, claimed, there = totals(F.mul(p, y)), totals(p), totals(y)
    below = F.add(both, F.add(F.mul(F.sub(claimed, both), alpha), F.mul(F.sub(there, both), beta)))
    missing = F.sub(1.0, F.div(F.add(both, smooth), F.add(below, smooth)))
    return F.mean(missing if gamma == 1 else F.pow(missing, gamma))


def focal_loss(logits: Any, masks: Any, gamma: float = 2.0, *, weight: Any = None,
               ignore_index: int = NOTHING) -> Any:
    """The mean over labelled pixels of -(1 - p)^gamma log p, p the softmax of the pixel's class; weight:
    (C,), multiplies each class's. Lin et al., "Focal Loss for Dense Object Detection" (2017)."""
    if not gamma >= 0:
        raise ValueError(f"focal_loss: gamma must not be negative, got {gamma!r}")
    labels = checked("focal_loss", logits, masks, ignore_index)
    known = labels != ignore_index
    losses = F.cross_entropy(logits, labels, ignore_index=ignore_index, reduction="none")
    p = F.exp(F.neg(losses))
    hard = losses if gamma == 0 else F.mul(F.pow(F.sub(1.0, p), gamma), losses)
    if weight is not None:
        hard = F.mul(hard, np.asarray(weight, dtype_of(logits))[np.where(known, labels, 0)])
    return F.div(F.sum(hard), float(max(1, known.sum())))


def lovasz_softmax(logits: Any, masks: Any, *, classes: Sequence[int] | str = "present",
                   per_image: bool = False, ignore_index: int = NOTHING) -> Any:
    """The Lovász extension of 1 - IoU, averaged over classes: the present ones, "all", or those
    listed; per_image: of each image by itself. Berman, Rannen Triki & Blaschko, "The Lovász-Softmax
    Loss" (2018)."""
    labels = checked("lovasz_softmax", logits, masks, ignore_index)
    p = F.softmax(logits, 1)
    count = p.shape[1]
    images = [slice(i, i + 1) for i in range(len(labels))] if per_image else [slice(None)]
    losses = []
    for image in images:
        known = labels[image] != ignore_index
        of_image = []
        for number in range(count) if isinstance(classes, str) else classes:
            there = (labels[image] == number) & known
            if classes == "present" and not there.any():
                continue
            errors = F.abs(F.sub(there.astype(dtype_of(logits)), p[image, number]))
            of_image.append(lovasz(errors, there, known))
        losses.append(mean_of(of_image, p))
    return mean_of(losses, p)


def lovasz_hinge(logits: Any, masks: Any, *, per_image: bool = True, ignore_index: int = NOTHING) -> Any:
    """The Lovász hinge of one class against the rest (the same paper). logits: (N, ...), positive for
    the class. masks: (N, ...) of 0 and 1."""
    labels = np.asarray(getattr(masks, "data", masks))
    if labels.shape != tuple(logits.shape) or labels.dtype.kind not in "iub":
        raise ValueError(f"lovasz_hinge: masks must be whole numbers of the logits' shape {tuple(logits.shape)}, got "
                         f"{labels.shape} {labels.dtype}")
    images = [slice(i, i + 1) for i in range(len(labels))] if per_image else [slice(None)]
    losses = []
    for image in images:
        known, there = labels[image] != ignore_index, labels[image] == 1
        errors = F.sub(1.0, F.mul(logits[image], np.where(there, 1, -1).astype(dtype_of(logits))))
        losses.append(lovasz(F.relu(errors), there, known, order=errors))
    return mean_of(losses, logits)


def lovasz(errors, there: np.ndarray, known: np.ndarray, order: Any = None) -> Any:
    """The sum of errors, each times what it adds to 1 - IoU in the order of the largest first."""
    places = np.flatnonzero(known)
    by = np.asarray(getattr(errors if order is None else order, "data", errors)).ravel()[places]
    places = places[np.argsort(-by, kind="stable")]
    found = there.ravel()[places]
    missed, wrong = found.sum() - np.cumsum(found), np.cumsum(~found)
    jaccard = 1 - missed / np.maximum(found.sum() + wrong, 1)
    weights = np.zeros(there.size, dtype_of(errors))
    weights[places] = np.diff(jaccard, prepend=0)
    return F.sum(F.mul(errors, weights.reshape(there.shape)))


def probabilities(name: str, logits, masks, classes, ignore_index: int):
    """Softmax and mask, (N, chosen classes, ...), zeros where nothing is labelled."""
    labels = checked(name, logits, masks, ignore_index)
    count, kind = logits.shape[1], dtype_of(logits)
    chosen = list(range(count)) if classes is None else list(classes)
    if not chosen or not all(0 <= c < count for c in chosen):
        raise ValueError(f"{name}: classes must be some of 0 to {count - 1}, got {classes!r}")
    y = np.stack([(labels == c) & (labels != ignore_index) for c in chosen], 1).astype(kind)
    p = F.softmax(logits, 1)
    if classes is not None:
        p = F.stack([p[:, c] for c in chosen], 1)
    if (labels == ignore_index).any():
        p = F.mul(p, (labels != ignore_index)[:, None].astype(kind))
    return p, y


def checked(name: str, logits, masks, ignore_index: int) -> np.ndarray:
    labels = np.asarray(getattr(masks, "data", masks))
    shape = tuple(logits.shape)
    if len(shape) < 2 or labels.shape != (shape[0], *shape[2:]) or labels.dtype.kind not in "iub":
        raise ValueError(f"{name}: masks must be whole numbers {(shape[:1] + shape[2:])} for logits {shape}, got "
                         f"{labels.shape} {labels.dtype}")
    labels = labels.astype(np.int64)
    known = labels[labels != ignore_index]
    if known.size and not 0 <= known.min() <= known.max() < shape[1]:
        raise ValueError(f"{name}: masks hold classes {known.min()} to {known.max()}, the logits have 0 to "
                         f"{shape[1] - 1} (and {ignore_index} for what is not labelled)")
    return labels


def totals(values):
    """(C,): sums over the batch and the pixels."""
    return F.sum(values, dim=tuple(n for n in range(len(values.shape)) if n != 1))


def one_minus_mean(values):
    return F.sub(1.0, F.mean(values))


def mean_of(losses: list, like) -> Any:
    """Of scalars; 0 of none, with a gradient of zeros."""
    if not losses:
        return F.mul(F.sum(like), 0.0)
    total = losses[0]
    for loss in losses[1:]:
        total = F.add(total, loss)
    return F.div(total, float(len(losses)))


def dtype_of(values) -> Any:
    return np.dtype(values.dtype)
