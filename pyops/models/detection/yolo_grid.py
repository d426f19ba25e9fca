"""The head of YOLOv1: a grid of cells, each with B boxes and one distribution over classes.

Redmon et al., "You Only Look Once: Unified, Real-Time Object Detection" (2016). A vector of S S (C +
5 B) numbers a sample: first the class probabilities of every cell, then the confidences of its
boxes, then x, y within the cell and the roots of width and height as fractions of the image.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from .darknet_cfg import Section
from .darknet_layers import Shape
from .yolo_region import half_squares
from .yolo_truth import Truth, overlaps


class GridHead:
    """section: [detection]. side: S. num: B. sqrt: sizes are learned as roots. softmax: over the
    classes of a cell. rescore: confidences learn the overlap, not 1. coord_scale, object_scale,
    noobject_scale, class_scale: weights of the parts of the loss; the paper has 5, 1, 0.5 and 1.
    """

    def __init__(self, section: Section, shape: Shape) -> None:
        self.side, self.boxes = section.whole("side", 7, 1), section.whole("num", 1, 1)
        self.classes = section.whole("classes", 1, 1)
        cells = self.side ** 2
        if cells * (self.classes + 5 * self.boxes) != shape[0] * shape[1] * shape[2]:
            raise section.wrong(f"{self.side}x{self.side} cells of {self.classes} classes and {self.boxes} boxes are "
                                f"{cells * (self.classes + 5 * self.boxes)} numbers, the layer before has "
                                f"{shape[0] * shape[1] * shape[2]}")
        if section.whole("coords", 4) != 4 or section.whole("forced", 0) or section.whole("reorg", 0):
            raise section.wrong("coords other than 4, forced and reorg are not supported")
        self.sqrt, self.softmax = bool(section.whole("sqrt", 0)), bool(section.whole("softmax", 0))
        self.rescore = bool(section.whole("rescore", 0))
        self.scales = {name: section.number(f"{name}_scale", 1.0)
                       for name in ("coord", "object", "noobject", "class")}

    def parts(self, vector: Any) -> tuple[Any, Any, Any]:
        """classes (N, S S, C), confidences (N, S S, B), boxes (N, S S, B, 4) as they are predicted."""
        cells, b, c = self.side ** 2, self.boxes, self.classes
        flat = F.flatten(vector, 1)
        kinds = F.reshape(flat[:, :cells * c], (-1, cells, c))
        sure = F.reshape(flat[:, cells * c:cells * (c + b)], (-1, cells, b))
        return (F.softmax(kinds, 2) if self.softmax else kinds, sure,
                F.reshape(flat[:, cells * (c + b):], (-1, cells, b, 4)))

    def _corner(self) -> np.ndarray:
        """(S S, 1, 2): x and y of each cell."""
        y, x = np.divmod(np.arange(self.side ** 2), self.side)
        return np.stack([x, y], 1).astype(np.float32)[:, None]

    def decode(self, vector: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """boxes (N, S S B, 4), corners in pixels of the network's input (height, width) = size, and
        scores (N, S S B, C), confidence times class."""
        kinds, sure, boxes = self.parts(vector)
        pixels = np.array([size[1], size[0]], np.float32)
        centres = (boxes[..., :2] + self._corner()) * (pixels / self.side)
        half = (F.square(boxes[..., 2:]) if self.sqrt else boxes[..., 2:]) * (pixels * np.float32(0.5))
        scores = F.unsqueeze(sure, 3) * F.unsqueeze(kinds, 2)
        return (F.reshape(F.cat([centres - half, centres + half], 3), (-1, self.side ** 2 * self.boxes, 4)),
                F.reshape(scores, (-1, self.side ** 2 * self.boxes, self.classes)))

    def losses(self, vector: Any, truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """box, objectness and classes: half of the paper's sums of squares, as Darknet's program
        takes their gradients. The box of a cell that overlaps the true one best is responsible;
        where none does, the one with the closest numbers. Of several true boxes in one cell the
        first counts."""
        kinds, sure, boxes = self.parts(vector)
        n, cells = len(truth), self.side ** 2
        predicted = np.asarray(getattr(boxes, "data", boxes))
        objectness, weight = np.zeros((2, n, cells, self.boxes), np.float32)
        weight[...] = self.scales["noobject"]
        wanted, counted = np.zeros((n, cells, self.boxes, 4), np.float32), np.zeros((n, cells, self.boxes, 1))
        target, known = np.zeros((n, cells, self.classes), np.float32), np.zeros((n, cells, 1), np.float32)
        for image, one in enumerate(truth):
            for box, label in zip(one.boxes, one.labels):
                x, y = (min(int(v * self.side), self.side - 1) for v in box[:2])
                cell = y * self.side + x
                if known[image, cell, 0]:
                    continue
                inside = np.array([box[0] * self.side - x, box[1] * self.side - y, box[2], box[3]], np.float32)
                best, overlap = self._responsible(predicted[image, cell], inside)
                known[image, cell], target[image, cell, label] = 1, 1
                wanted[image, cell, best], counted[image, cell, best] = inside, 1
                objectness[image, cell, best] = overlap if self.rescore else 1
                weight[image, cell, best] = self.scales["object"]
        if self.sqrt:
            wanted[..., 2:] = np.sqrt(wanted[..., 2:])
        return {"box": half_squares(boxes, wanted, counted * self.scales["coord"]),
                "objectness": half_squares(sure, objectness, weight),
                "classes": half_squares(kinds, target, known * self.scales["class"])}

    def _responsible(self, predicted: np.ndarray, box: np.ndarray) -> tuple[int, float]:
        """Which of a cell's boxes (B, 4) is to predict `box`, both with x and y within the cell, and
        how far they overlap."""
        scale = np.array([1 / self.side, 1 / self.side, 1, 1], np.float32)
        ours = predicted * scale
        if self.sqrt:
            ours[:, 2:] = ours[:, 2:] ** 2
        overlap = overlaps(ours, (box * scale)[None])[:, 0]
        best = int(overlap.argmax()) if overlap.max() > 0 else int(np.square(ours - box * scale).sum(1).argmin())
        return best, float(overlap[best])
