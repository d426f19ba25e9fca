"""Measures of detection as pictures: curves of precision over recall, a confusion matrix, and the
images in which a detector does worst."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .coco import RECALLS, CocoAP
from .confusion import detection_confusion

TRUE, FOUND = (40, 200, 60), (235, 60, 50)    # colours of boxes


def draw_curves(path, measured: CocoAP, names: Sequence[str] | None = None, threshold: float = 0.5) -> None:
    """Precision over recall of each class at one IoU threshold and their mean, as PNG, SVG or PDF
    by the path's ending. Classes without an object are left out."""
    from matplotlib.figure import Figure
    precision = measured.precision[measured._at(threshold), :, :, 0]
    if not len(precision):
        raise ValueError(f"draw_curves: AP was measured at the IoU thresholds "
                         f"{', '.join(f'{t:g}' for t in measured.thresholds)}, not at {threshold}")
    curves = precision[0]
    there = np.flatnonzero((curves > -1).all(0))
    figure = Figure(figsize=(6.4, 5), layout="constrained")
    axes = figure.subplots()
    many = len(there) > 12
    for k in there:
        label = None if many else f"{names[k] if names else k}  AP {curves[:, k].mean():.3f}"
        axes.plot(RECALLS, curves[:, k], linewidth=1, alpha=0.35 if many else 0.8, label=label)
    if len(there):
        axes.plot(RECALLS, curves[:, there].mean(1), color="black", linewidth=2,
                  label=f"mean of {len(there)} classes  AP {curves[:, there].mean():.3f}")
        axes.legend(loc="lower left", fontsize=8)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02),
             title=f"precision and recall at IoU {threshold:g}")
    axes.grid(alpha=0.3)
    save(figure, path)


def draw_confusion(path, matrix: np.ndarray, names: Sequence[str] | None = None) -> None:
    """What detection_confusion counts, each row as shares of its objects."""
    from matplotlib.figure import Figure
    classes = len(matrix) - 1
    words = [str(n) for n in (names or range(classes))]
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = 2.6 + 0.45 * len(matrix)
    figure = Figure(figsize=(min(side, 24), min(side, 24)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="found as", ylabel="true class", title="what is taken for what")
    axes.set_xticks(range(len(matrix)), [*words, "missed"], rotation=60)
    axes.set_yticks(range(len(matrix)), [*words, "none left"])
    if classes <= 30:
        for i, j in zip(*np.nonzero(matrix)):
            axes.text(j, i, matrix[i, j], ha="center", va="center", fontsize=7,
                      color="white" if shares[i, j] > 0.5 else "black")
    save(figure, path)


def save(figure, path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


@dataclass(frozen=True)
class Worst:
    """An image, and how many of its objects were missed, found as another class, or found where
    nothing is."""
    index: int
    missed: int
    mistaken: int
    invented: int

    @property
    def faults(self) -> int:
        return self.missed + self.mistaken + self.invented


def worst_images(targets: Sequence, detections: Sequence, classes: int, most: int = 16, iou: float = 0.5,
                 score: float = 0.25) -> list[Worst]:
    """Up to `most` images that have a fault, those with the most first."""
    worst = []
    for i, (target, found) in enumerate(zip(targets, detections)):
        matrix = detection_confusion([target], [found], classes, iou, score)
        pairs = matrix[:classes, :classes]
        worst.append(Worst(i, int(matrix[:classes, classes].sum()), int(pairs.sum() - np.trace(pairs)),
                           int(matrix[classes, :classes].sum())))
    return sorted((w for w in worst if w.faults), key=lambda w: -w.faults)[:most]


def detection_gallery(path, images, targets: Sequence, detections: Sequence, classes: int, most: int = 16,
                      iou: float = 0.5, score: float = 0.25, names: Sequence[str] | None = None) -> list[Worst]:
    """Draws worst_images as one PNG: true boxes green, what was found red, with its class and
    score. Returns them.

    images: uint8 (H, W, 3) or (H, W), or a function of an index that gives one.
    """
    from ...inspect.sheet import sheet
    worst = worst_images(targets, detections, classes, most, iou, score)
    image_of = images if callable(images) else images.__getitem__
    tiles = [(marked(image_of(w.index), targets[w.index], detections[w.index], score, names),
              f"{w.index}: {w.missed} missed, {w.mistaken} mistaken, {w.invented} invented") for w in worst]
    sheet(Path(path), tiles, f"the {len(worst)} worst of {len(targets)} images: green is true, red was found"
          if worst else f"no fault in {len(targets)} images")
    return worst


def marked(image: np.ndarray, target, found, score: float = 0.0, names: Sequence[str] | None = None,
           least: int = 256) -> np.ndarray:
    """uint8 (H, W, 3): the image, enlarged to hard pixels where its shorter side is below `least`,
    with true boxes and those found with at least `score`."""
    from PIL import Image, ImageDraw
    times = max(1, -(-least // max(1, min(image.shape[:2]))))
    times = times if max(image.shape[:2]) * times <= 4 * least else 1
    picture = Image.fromarray(np.asarray(image).repeat(times, 0).repeat(times, 1)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for box, label in zip(target["boxes"], target["labels"]):
        outline(pen, np.asarray(box) * times, TRUE, str(names[label] if names else label), low=True)
    parts = [found[k] if isinstance(found, dict) else getattr(found, k) for k in ("boxes", "scores", "labels")]
    for box, value, label in zip(*parts):
        if value >= score:
            outline(pen, np.asarray(box) * times, FOUND, f"{names[label] if names else label} {value:.2f}")
    return np.asarray(picture)


def outline(pen, box: np.ndarray, colour, text: str, low: bool = False) -> None:
    """A box with words on its own colour at its upper left, or lower left, corner."""
    x1, y1, x2, y2 = (float(v) for v in box)
    pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour)
    corner = (x1 + 2, y2 - 13 if low else y1)
    pen.rectangle(pen.textbbox(corner, text), fill=colour)
    pen.text(corner, text, fill="black" if low else "white")
