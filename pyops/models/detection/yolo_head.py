"""The head of YOLOv3 and YOLOv4: sigmoids and anchors in pixels, decoded and trained.

Redmon & Farhadi, "YOLOv3: An Incremental Improvement" (2018); Bochkovskiy et al., "YOLOv4" (2020).
A map (N, A (5 + C), H, W) says for each of A anchors at each cell: centre x, y within the cell,
width and height as factors of the anchor's, objectness, and C classes, which do not exclude each
other.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from ...detection.losses import iou_loss
from .darknet_cfg import Section
from .darknet_layers import Shape
from .yolo_truth import Truth, best_overlap, corners, overlaps_of_sizes

PARTS = ("box", "objectness", "classes")


class YoloHead:
    """section: [yolo]. Of its keys those that decoding and the losses need:

    anchors, mask: sizes in pixels of the network's input, and which of them are this head's.
    scale_x_y: centres reach beyond their cell by so much (YOLOv4's grid sensitivity). new_coords:
    the layer before has the sigmoids, sizes are anchor (2 t)^2. ignore_thresh: a box that overlaps
    a true one by more is no background. iou_thresh: all anchors that overlap by more are
    responsible, not the best alone. iou_loss: mse (YOLOv3), iou, giou, diou or ciou (YOLOv4).
    iou_normalizer, obj_normalizer, cls_normalizer: factors of the parts. label_smooth_eps.
    """

    def __init__(self, section: Section, shape: Shape) -> None:
        self.classes = section.whole("classes", 20, 1)
        pairs = section.numbers("anchors")
        total = section.whole("num", 1, 1)
        if len(pairs) != 2 * total or min(pairs, default=0) <= 0:
            raise section.wrong(f"num={total} needs as many pairs of positive anchors, got {len(pairs)} numbers")
        self.mask = section.wholes("mask", range(total))
        if not self.mask or not all(0 <= m < total for m in self.mask):
            raise section.wrong(f"mask must choose among the {total} anchors, got {self.mask}")
        self.all_anchors = np.array(pairs, np.float32).reshape(total, 2)
        self.anchors = self.all_anchors[list(self.mask)]
        wanted = len(self.mask) * (5 + self.classes)
        if shape[0] != wanted:
            raise section.wrong(f"{len(self.mask)} anchors of 5 + {self.classes} numbers are {wanted} channels, the "
                                f"layer before has {shape[0]}")
        self.scale_xy = section.number("scale_x_y", 1.0)
        self.new_coords = bool(section.whole("new_coords", 0))
        self.ignore = section.number("ignore_thresh", 0.5)
        self.responsible = section.number("iou_thresh", 1.0)
        self.box_loss = section.text("iou_loss", "mse")
        if self.box_loss not in BOX_LOSSES:
            raise section.wrong(f"iou_loss must be one of {', '.join(BOX_LOSSES)}, got {self.box_loss!r}")
        default = 1.0 if self.box_loss == "mse" else 0.75
        self.weights = {"box": section.number("iou_normalizer", default),
                        "objectness": section.number("obj_normalizer", 1.0),
                        "classes": section.number("cls_normalizer", 1.0)}
        self.smooth = section.number("label_smooth_eps", 0.0)

    # ---- from numbers to boxes

    def decode(self, maps: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """boxes (N, A H W, 4), corners in pixels of the network's input (height, width) = size, and
        scores (N, A H W, C), objectness times class."""
        n, _, h, w = maps.shape
        t = F.reshape(maps, (n, len(self.anchors), 5 + self.classes, h, w))
        said = t if self.new_coords else F.sigmoid(t)
        centres, half = self._centres(said[:, :, :2], size), self._sizes(t[:, :, 2:4]) * np.float32(0.5)
        boxes = F.cat([centres - half, centres + half], 2)
        scores = said[:, :, 4:5] * said[:, :, 5:]
        return (F.reshape(F.permute(boxes, (0, 1, 3, 4, 2)), (n, -1, 4)),
                F.reshape(F.permute(scores, (0, 1, 3, 4, 2)), (n, -1, self.classes)))

    def _centres(self, inside: Any, size: tuple[int, int]) -> Any:
        """(N, A, 2, H, W) in pixels, of the sigmoids."""
        h, w = inside.shape[3:]
        stride = np.array([size[1] / w, size[0] / h], np.float32).reshape(2, 1, 1)
        start = cells(h, w) - np.float32((self.scale_xy - 1) / 2)
        return inside * (stride * np.float32(self.scale_xy)) + start * stride

    def _sizes(self, t: Any) -> Any:
        anchors = self.anchors.reshape(1, -1, 2, 1, 1)
        return F.square(t) * (4 * anchors) if self.new_coords else F.exp(t) * anchors

    # ---- training

    def losses(self, maps: Any, truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """box, objectness and classes: sums over the maps. With iou_loss=mse gradients are those of
        Darknet's program: cross-entropy of sigmoids for centres, objectness and classes, half
        squares for sizes, boxes weighted by 2 - width x height."""
        n, _, h, w = maps.shape
        a = len(self.anchors)
        t = F.reshape(maps, (n, a, 5 + self.classes, h, w))
        rows = F.reshape(F.permute(t, (0, 1, 3, 4, 2)), (-1, 5 + self.classes))
        place, boxes, kinds = self._assigned(truth, (h, w), size)
        counted = self._counted(np.asarray(getattr(maps, "data", maps)), truth, size)
        there = np.zeros(n * a * h * w, np.float32)
        there[place] = 1
        counted[place] = 1
        parts = {"objectness": self._cross_entropy(rows[:, 4], there, counted)}
        chosen = F.index_select(rows, 0, place)
        parts["classes"] = self._cross_entropy(chosen[:, 5:], kinds, np.ones_like(kinds))
        cell = np.stack([place % w, place // w % h], 1).astype(np.float32)
        anchor = self.anchors[place // (w * h) % a]
        parts["box"] = BOX_LOSSES[self.box_loss](self, chosen[:, :4], boxes, cell, anchor, (h, w), size)
        return {name: parts[name] * np.float32(self.weights[name]) for name in PARTS}

    def _cross_entropy(self, t: Any, target: np.ndarray, weight: np.ndarray) -> Any:
        if self.new_coords:
            return F.binary_cross_entropy(F.clamp(t, 1e-6, 1 - 1e-6), target, weight, reduction="sum")
        return F.binary_cross_entropy_with_logits(t, target, weight, reduction="sum")

    def _counted(self, maps: np.ndarray, truth: list[Truth], size: tuple[int, int]) -> np.ndarray:
        """(N A H W,): 0 for boxes that overlap a true one well, whose objectness is not trained."""
        boxes = np.asarray(self.decode(maps, size)[0]) / np.array([size[1], size[0]] * 2, np.float32)
        boxes = np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)
        best = np.concatenate([best_overlap(box, one) for box, one in zip(boxes, truth)])
        return (best <= self.ignore).astype(np.float32)

    def _assigned(self, truth: list[Truth], grid: tuple[int, int], size: tuple[int, int]) -> Any:
        """Which rows are responsible for which boxes: places (m,), boxes (m, 4), classes (m, C).

        A true box belongs to the anchor, of all heads, whose size overlaps it best, at the cell of
        its centre, and to others that overlap by more than iou_thresh. Of two boxes at one place
        the later one is learned, and the classes of both.
        """
        h, w = grid
        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        scale = np.array([size[1], size[0]], np.float32)
        for image, one in enumerate(truth):
            overlap = overlaps_of_sizes(one.boxes[:, 2:], self.all_anchors / scale)
            for box, label, row in zip(one.boxes, one.labels, overlap):
                x, y = min(int(box[0] * w), w - 1), min(int(box[1] * h), h - 1)
                best = int(row.argmax())
                for k, anchor in enumerate(self.mask):
                    if anchor == best or row[anchor] > self.responsible:
                        place = ((image * len(self.mask) + k) * h + y) * w + x
                        kinds = found[place][1] if place in found else np.zeros(self.classes, np.float32)
                        kinds[label] = 1
                        found[place] = box, kinds
        places = np.array(list(found), np.int64)
        boxes = np.array([box for box, _ in found.values()], np.float32).reshape(-1, 4)
        kinds = np.array([kinds for _, kinds in found.values()], np.float32).reshape(-1, self.classes)
        return places, boxes, kinds * (1 - self.smooth) + self.smooth / self.classes


def cells(h: int, w: int) -> np.ndarray:
    """(2, h, w): x and y of every cell's corner."""
    return np.stack(np.broadcast_arrays(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32)[:, None]))


def squares(head: YoloHead, t: Any, boxes: np.ndarray, cell: np.ndarray, anchor: np.ndarray, grid: tuple[int, int],
            size: tuple[int, int]) -> Any:
    """YOLOv3's: t against what would give the box, weighted by 2 - width x height."""
    h, w = grid
    inside = boxes[:, :2] * np.array([w, h], np.float32) - cell
    scale = np.array([size[1], size[0]], np.float32)
    wanted = np.log(boxes[:, 2:] * scale / anchor)
    weight = (2 - boxes[:, 2:3] * boxes[:, 3:4]) * np.ones((1, 2), np.float32)
    centre = F.binary_cross_entropy_with_logits(t[:, :2], inside, weight, reduction="sum")
    return centre + F.sum(F.square(t[:, 2:] - wanted) * (np.float32(0.5) * weight))


def intersection(measure: Any) -> Any:
    """1 - IoU, or one of its relatives, of the decoded box and the true one."""
    def loss(head: YoloHead, t: Any, boxes: np.ndarray, cell: np.ndarray, anchor: np.ndarray,
             grid: tuple[int, int], size: tuple[int, int]) -> Any:
        h, w = grid
        s, scale = np.float32(head.scale_xy), np.array([size[1], size[0]], np.float32)
        said = t[:, :2] if head.new_coords else F.sigmoid(t[:, :2])
        centre = (said * s + (cell - (s - 1) / 2)) * np.array([1 / w, 1 / h], np.float32)
        half = (F.square(t[:, 2:]) * 4 if head.new_coords else F.exp(t[:, 2:])) * (anchor / scale / 2)
        return F.sum(measure(F.cat([centre - half, centre + half], 1), corners(boxes)))
    return loss


BOX_LOSSES = {"mse": squares, "iou": intersection(iou_loss), "giou": intersection(F.generalized_box_iou_loss),
              "diou": intersection(F.distance_box_iou_loss), "ciou": intersection(F.complete_box_iou_loss)}
