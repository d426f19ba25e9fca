"""The head of YOLOv2 and YOLO9000: anchors in cells, one softmax over the classes, or one a group of
a tree of words.

Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger" (2017). A map (N, A (5 + C), H, W) says for
each of A anchors at each cell: centre x, y within the cell, width and height as factors of the
anchor's, objectness (the overlap with a true box), and C class scores.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from ... import functional as F
from .darknet_cfg import Section
from .darknet_layers import Shape, tree_of
from .yolo_head import cells
from .yolo_truth import Truth, best_overlap, overlaps, overlaps_of_sizes

EARLY = 12_800   # images of a training in which all boxes are drawn towards their anchors


class RegionHead:
    """section: [region]. anchors: pairs of width and height in cells. softmax: over the classes, or
    sigmoids. tree: a file of words (word_tree.py). thresh: a box that overlaps a true one by more
    is no background. rescore: objectness learns the overlap, not 1. coord_scale, object_scale,
    noobject_scale, class_scale: weights of the parts of the loss. bias_match: the responsible
    anchor is chosen by the anchors' sizes, not by those that are predicted.
    """

    def __init__(self, section: Section, shape: Shape, tree: Any = None) -> None:
        self.classes, count = section.whole("classes", 20, 1), section.whole("num", 1, 1)
        pairs = section.numbers("anchors", (0.5,) * (2 * count))
        if len(pairs) != 2 * count or min(pairs) <= 0:
            raise section.wrong(f"num={count} needs as many pairs of positive anchors, got {len(pairs)} numbers")
        if section.whole("coords", 4) != 4 or section.whole("background", 0):
            raise section.wrong("coords other than 4 and background are not supported")
        self.anchors = np.array(pairs, np.float32).reshape(count, 2)
        if shape[0] != count * (5 + self.classes):
            raise section.wrong(f"{count} anchors of 5 + {self.classes} numbers are {count * (5 + self.classes)} "
                                f"channels, the layer before has {shape[0]}")
        self.softmax = bool(section.whole("softmax", 0))
        self.tree = tree_of(section) if tree is None else tree
        if self.tree is not None and len(self.tree) != self.classes:
            raise section.wrong(f"classes={self.classes} and a tree of {len(self.tree)} words")
        self.thresh, self.rescore = section.number("thresh", 0.5), bool(section.whole("rescore", 0))
        self.bias_match = bool(section.whole("bias_match", 0))
        self.scales = {name: section.number(f"{name}_scale", 1.0)
                       for name in ("coord", "object", "noobject", "class")}
        self.seen = EARLY   # images of the training so far

    # ---- from numbers to boxes

    def decode(self, maps: Any, size: tuple[int, int]) -> tuple[Any, Any]:
        """boxes (N, A H W, 4), corners in pixels of the network's input (height, width) = size, and
        scores (N, A H W, C), objectness times class. With a tree a word's probability is that of all
        words above it as well."""
        boxes, objectness, kinds = self.parts(maps, size)
        if self.tree is not None:
            scores = self.tree.probabilities(self.tree.softmax(kinds, 2), 2)
        else:
            scores = F.softmax(kinds, 2) if self.softmax else F.sigmoid(kinds)
        return boxes, objectness * rows(scores)

    def parts(self, maps: Any, size: tuple[int, int]) -> tuple[Any, Any, Any]:
        """boxes (N, A H W, 4), objectness (N, A H W, 1) and, as they lie in the maps, class scores
        before their softmax (N, A, C, H, W)."""
        n, _, h, w = maps.shape
        t = F.reshape(maps, (n, len(self.anchors), 5 + self.classes, h, w))
        stride = np.array([size[1] / w, size[0] / h], np.float32).reshape(2, 1, 1)
        centres = F.sigmoid(t[:, :, :2]) * stride + cells(h, w) * stride
        half = F.exp(t[:, :, 2:4]) * (self.anchors.reshape(1, -1, 2, 1, 1) * stride * np.float32(0.5))
        boxes = F.cat([centres - half, centres + half], 2)
        return rows(boxes), rows(F.sigmoid(t[:, :, 4:5])), t[:, :, 5:]

    # ---- training

    def losses(self, maps: Any, truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """box, objectness and classes: sums over the maps, with the gradients of Darknet's program:
        half squares for centres, sizes and objectness, cross-entropy for classes."""
        n, _, h, w = maps.shape
        a = len(self.anchors)
        flat = F.reshape(rows(F.reshape(maps, (n, a, 5 + self.classes, h, w))), (-1, 5 + self.classes))
        boxes = self._boxes(maps, size)
        place, wanted, labels = self._assigned(truth, boxes, (h, w))
        best = np.concatenate([best_overlap(box, one) for box, one in zip(boxes, truth)])
        objectness, weight = np.zeros(n * a * h * w, np.float32), np.where(
            best > self.thresh, 0, self.scales["noobject"]).astype(np.float32)
        if self.rescore and len(place):
            said = boxes.reshape(-1, 4)
            objectness[place] = [overlaps(said[p:p + 1], box[None])[0, 0] for p, box in zip(place, wanted)]
        else:
            objectness[place] = 1
        weight[place] = self.scales["object"]
        parts = {"objectness": half_squares(F.sigmoid(flat[:, 4]), objectness, weight)}
        chosen = F.index_select(flat, 0, place)
        parts["box"] = self._box_loss(chosen, place, wanted, (h, w))
        if self.seen < EARLY:
            parts["box"] = parts["box"] + self._towards_anchors(flat, place, n, (h, w))
        parts["classes"] = self.class_loss(chosen[:, 5:], labels) * np.float32(self.scales["class"])
        return {name: parts[name] for name in ("box", "objectness", "classes")}

    def class_loss(self, kinds: Any, labels: list[list[int]]) -> Any:
        """Sum of cross-entropies: of the classes, or of every group on the way from a word to its
        root. kinds: (m, C); labels: for each row the true classes (several boxes at one place)."""
        if not len(labels):
            return F.sum(kinds) * 0
        ways = [self._learned(row) for row in labels]
        row = np.repeat(np.arange(len(ways)), [len(way) for way in ways])
        if self.tree is None and not self.softmax:
            target = np.zeros(tuple(kinds.shape), np.float32)
            target[row, np.concatenate(ways)] = 1
            return F.binary_cross_entropy_with_logits(kinds, target, reduction="sum")
        logs = F.log_softmax(kinds, 1) if self.tree is None else self.tree.log_softmax(kinds, 1)
        return -F.sum(F.index_select(F.reshape(logs, (-1,)), 0, row * self.classes + np.concatenate(ways)))

    def _learned(self, labels: list[int]) -> list[int]:
        """The classes that a row learns of its boxes': all where they do not exclude each other, else
        of those that share a softmax the last."""
        if self.tree is not None:
            return list({self.tree.group[word]: word for k in labels for word in self.tree.path(k)}.values())
        return labels[-1:] if self.softmax else labels

    def classification_losses(self, maps: Any, labels: np.ndarray) -> dict[str, Any]:
        """Of images whose label is known but not where the thing is (N,): the word is learned at the
        box that gives it the highest probability, whose objectness should be 0.3 at least.

        Darknet's program has the objectness of all other boxes learn 0 as well; here, as in the
        paper (section 4), only the parts of the loss above are minimised.
        """
        n, _, h, w = maps.shape
        _, objectness, kinds = self.parts(maps, (h, w))
        kinds = rows(kinds)
        conditional = (self.tree.softmax(kinds, 2) if self.tree is not None else
                       F.softmax(kinds, 2) if self.softmax else F.sigmoid(kinds))
        values = np.asarray(getattr(conditional, "data", conditional), np.float32)
        sure = np.asarray(getattr(objectness, "data", objectness))[..., 0]
        ways = [self.tree.path(int(k)) if self.tree is not None else [int(k)] for k in labels]
        best = np.array([int((s * value[:, way].prod(1)).argmax()) for s, value, way in zip(sure, values, ways)])
        place = np.arange(n) * sure.shape[1] + best
        chosen = F.index_select(F.reshape(kinds, (-1, self.classes)), 0, place)
        unsure = F.index_select(F.reshape(objectness, (-1,)), 0, place)
        below = (np.asarray(getattr(unsure, "data", unsure)) < 0.3).astype(np.float32)
        return {"objectness": half_squares(unsure, np.full(n, 0.3, np.float32), below * self.scales["object"]),
                "classes": self.class_loss(chosen, [[int(k)] for k in labels]) * np.float32(
                    self.scales["class"])}

    def _boxes(self, maps: Any, size: tuple[int, int]) -> np.ndarray:
        """(N, A H W, 4) predicted, centre first, fractions of the input."""
        data = np.asarray(getattr(maps, "data", maps))
        boxes = np.asarray(self.parts(data, (1, 1))[0])
        return np.concatenate([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)

    def _assigned(self, truth: list[Truth], boxes: np.ndarray, grid: tuple[int, int]) -> Any:
        """places (m,) of the responsible rows, their true boxes (m, 4) and lists of classes."""
        h, w = grid
        a = len(self.anchors)
        found: dict[int, tuple[np.ndarray, list[int]]] = {}
        for image, one in enumerate(truth):
            for box, label in zip(one.boxes, one.labels):
                x, y = min(int(box[0] * w), w - 1), min(int(box[1] * h), h - 1)
                sizes = (self.anchors / np.array([w, h], np.float32) if self.bias_match
                         else boxes[image].reshape(a, h, w, 4)[:, y, x, 2:])
                best = int(overlaps_of_sizes(box[None, 2:], sizes)[0].argmax())
                place = ((image * a + best) * h + y) * w + x
                kinds = found[place][1] if place in found else []
                found[place] = box, kinds + [int(label)]
        return (np.array(list(found), np.int64), np.array([b for b, _ in found.values()], np.float32).reshape(-1, 4),
                [kinds for _, kinds in found.values()])

    def _box_loss(self, t: Any, place: np.ndarray, boxes: np.ndarray, grid: tuple[int, int]) -> Any:
        h, w = grid
        cell = np.stack([place % w, place // w % h], 1)
        anchor = self.anchors[place // (w * h) % len(self.anchors)]
        scale = np.array([w, h], np.float32)
        inside, wanted = boxes[:, :2] * scale - cell, np.log(boxes[:, 2:] * scale / anchor)
        weight = self.scales["coord"] * (2 - boxes[:, 2:3] * boxes[:, 3:4])
        return half_squares(F.sigmoid(t[:, :2]), inside, weight) + half_squares(t[:, 2:4], wanted, weight)

    def _towards_anchors(self, flat: Any, place: np.ndarray, n: int, grid: tuple[int, int]) -> Any:
        """Early in a training every box that is responsible for nothing learns, a little, to be its
        anchor in the middle of its cell."""
        weight = np.full((n * len(self.anchors) * grid[0] * grid[1], 1), 0.01, np.float32)
        weight[place] = 0
        return (half_squares(F.sigmoid(flat[:, :2]), np.float32(0.5), weight)
                + half_squares(flat[:, 2:4], np.float32(0), weight))


def rows(values: Any) -> Any:
    """(N, A H W, numbers) of (N, A, numbers, H, W)."""
    n, _, count = values.shape[:3]
    return F.reshape(F.permute(values, (0, 1, 3, 4, 2)), (n, -1, count))


def half_squares(x: Any, target: Any, weight: Any) -> Any:
    return F.sum(F.square(x - np.asarray(target, x.dtype)) * np.asarray(0.5 * np.asarray(weight), x.dtype))
