"""How good a classifier is: accuracy, top-k accuracy and the confusion matrix."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor, no_grad
from ..models.classification.classifier import scores_of
from .loader import plain_batches


def top_k(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """The share of rows whose label is among the k highest scores. scores: (N, C); labels: (N,).

    Of equal scores the lower class counts as higher, as argmax has it. A row with a NaN is wrong.
    """
    return float(hits(scores, labels, k).mean())


def hits(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """bool (N,): whether the label is among the k highest scores."""
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not 1 <= k <= scores.shape[1]:
        raise ValueError(f"top_k: scores (N, C) with labels (N,) and 1 <= k <= C, got {scores.shape}, "
                         f"{labels.shape} and k = {k}")
    own = np.take_along_axis(scores, labels[:, None], 1)
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return (before.sum(1) < k) & ~np.isnan(scores).any(1)


def confusion_matrix(labels: np.ndarray, chosen: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts: row the label, column what was chosen. ValueError where a
    value is no class."""
    for name, values in (("labels", labels), ("chosen", chosen)):
        if values.size and not (0 <= values.min() and values.max() < classes):
            raise ValueError(
                f"confusion_matrix: {name} must be 0 .. {classes - 1}, got {values.min()} .. {values.max()}")
    return np.bincount(labels.astype(np.int64) * classes + chosen.astype(np.int64),
                       minlength=classes ** 2).reshape(classes, classes)


@dataclass(frozen=True)
class Measured:
    """A model on a dataset. loss: mean; scores: (N, C); labels: (N,)."""
    loss: float
    scores: np.ndarray
    labels: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        return np.argmax(self.scores, 1)

    @property
    def accuracy(self) -> float:
        return float((self.chosen == self.labels).mean())

    def top_k(self, k: int) -> float:
        return top_k(self.scores, self.labels, k)

    @property
    def confusion(self) -> np.ndarray:
        return confusion_matrix(self.labels, self.chosen, self.scores.shape[1])

    def report(self, classes: Sequence[str] | None = None) -> str:
        """A line a class: images, precision, recall, and the class it is taken for most."""
        matrix = self.confusion
        names = [str(c) for c in (classes or range(len(matrix)))]
        width = max(5, *map(len, names))
        lines = [f"{'class':<{width}}  images  precision  recall  most often taken for"]
        for c, name in enumerate(names):
            wrong = matrix[c].copy()
            wrong[c] = 0
            rival = f"{names[wrong.argmax()]} ({wrong.max()})" if wrong.any() else ""
            lines.append(
                f"{name:<{width}}  {matrix[c].sum():6d}  {share(matrix[c, c], matrix[:, c].sum()):>9}  "
                f"{share(matrix[c, c], matrix[c].sum()):>6}  {rival}".rstrip())
        return "\n".join(lines)


def share(part, whole) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def measure(model, dataset, size: int = 256, loss: Callable | None = None, workers: int = 0) -> Measured:
    """`model` on `dataset` in evaluation mode, `size` images at a time; the model's mode is put
    back."""
    loss = loss or loss_of(model)
    was = [(module, module.training) for module in model.modules()]
    model.eval()
    total, scores, labels = 0.0, [], []
    try:
        with no_grad():
            for inputs, targets in plain_batches(dataset, size, workers):
                output = model(Tensor(inputs))
                total += loss(output, targets).item() * len(targets)
                scores.append(scores_of(model, output).data)
                labels.append(targets)
    finally:
        for module, mode in was:
            module.training = mode
    return Measured(total / len(dataset), np.concatenate(scores), np.concatenate(labels))


def loss_of(model) -> Callable:
    """loss(output, targets) of a model that defines one, else cross-entropy on its logits."""
    return getattr(model, "loss", None) or F.cross_entropy
