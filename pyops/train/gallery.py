"""The wrong predictions of a model, the most confident first, as one picture."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import functional as F
from .metrics import measure


@dataclass(frozen=True)
class Wrong:
    """One image taken for another class. confidence: the softmax of the scores at `chosen`."""
    index: int
    label: int
    chosen: int
    confidence: float


def wrong_predictions(model, dataset, most: int = 25, workers: int = 0) -> list[Wrong]:
    """Up to `most` images of `dataset` that `model` gets wrong, the most confident first."""
    measured = measure(model, dataset, workers=workers)
    chances = np.asarray(F.softmax(measured.scores, 1))
    indices = np.flatnonzero(measured.chosen != measured.labels)
    confidence = chances[indices, measured.chosen[indices]]
    order = indices[np.argsort(-confidence, kind="stable")][:most]
    return [
        Wrong(int(i), int(measured.labels[i]), int(measured.chosen[i]), float(chances[i, measured.chosen[i]]))
        for i in order]


def gallery(path, model, dataset, most: int = 25, workers: int = 0) -> list[Wrong]:
    """Draws wrong_predictions as a PNG, under each image its class, what it was taken for, and how
    confidently. Returns them.

    Where there are none the picture says so.
    """
    from ..inspect.sheet import sheet
    wrong = wrong_predictions(model, dataset, most, workers)
    names = [str(n) for n in (
        dataset.classes or range(max([w.label for w in wrong] + [w.chosen for w in wrong], default=0) + 1))]
    tiles = [(dataset.take(np.array([w.index]))[0][0],
              f"{names[w.label]} -> {names[w.chosen]} {100 * w.confidence:.0f} %")
             for w in wrong]
    sheet(Path(path), tiles, f"{len(wrong)} wrong predictions of {len(dataset)} images" if wrong
          else f"no wrong predictions of {len(dataset)} images")
    return wrong
