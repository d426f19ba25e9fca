"""YOLO9000. Redmon & Farhadi, "YOLO9000: Better, Faster, Stronger" (2017), section 4.

Darknet-19 with three anchors a cell and thousands of words: a softmax over every group of words with
one parent (word_tree.py), trained on images with boxes and on images with one word for all of it.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import functional as F
from ...core.tensor import Tensor
from ...detection.letterbox import Placement
from ...ops.suppression import MOST, MULTICLASS_NMS
from ..registry import network
from .darknet import DarknetDetector
from .darknet_builder import Layers, checked_anchors
from .word_tree import WordTree
from .yolo_truth import truths
from .yolov2 import darknet19, region

__all__ = ["YOLO9000", "yolo9000"]

ANCHORS = ((0.77871, 1.14074), (3.00525, 4.31277), (9.22725, 9.61974))


class YOLO9000(DarknetDetector):
    """tree: a WordTree, or the parents of its words; without one all classes are one group. A box's
    label is the word that is reached from the roots by the most probable child each time, as long as
    its probability stays above tree_threshold; its score is its objectness. size: of the square
    input, a multiple of 32. The other settings are DarknetDetector's.
    """

    def __init__(self, classes: int = 9418, size: int = 544, tree: WordTree | Sequence[int] | None = None,
                 tree_threshold: float = 0.5, anchors: Any = ANCHORS, sizes: Sequence[int] = (),
                 width_mult: float = 1.0, fit: str = "letterbox", score_threshold: float = 0.25,
                 iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        if not isinstance(tree, WordTree):
            parents = [-1] * classes if tree is None else list(tree)
            tree = WordTree([str(i) for i in range(len(parents))], parents)
        elif class_names is None:
            class_names = tree.names
        if len(tree) != classes:
            raise ValueError(f"yolo9000: a tree of {len(tree)} words and classes={classes}")
        if not 0 <= tree_threshold <= 1:
            raise ValueError(f"yolo9000: tree_threshold must be from 0 to 1, got {tree_threshold}")
        layers = Layers(size, width_mult)
        darknet19(layers)
        region(layers, classes, checked_anchors("yolo9000", anchors, 3))
        super().__init__(layers.sections, fit, sizes, score_threshold, iou_threshold, max_detections, class_names)
        self.heads[0].tree = self.tree = tree
        self.tree_threshold = tree_threshold

    def current_settings(self) -> dict[str, Any]:
        return super().current_settings() | {"tree": self.tree.parents.tolist()}

    def chosen(self, maps: list[Any], placed: Placement) -> tuple[Any, Any, Any, Any]:
        boxes, objectness, kinds = self.heads[0].parts(maps[0], self.size)
        word = F.reshape(self.tree.walk(self.tree.softmax(kinds, 2), self.tree_threshold, 2), (kinds.shape[0], -1))
        # the better object stays, whatever both are called: dog and animal are one
        boxes, scores, _, places, count = MULTICLASS_NMS(
            placed.back(boxes), objectness, iou=self.iou_threshold, least=self.score_threshold,
            room=self.max_detections, candidates=MOST, per_class=MOST, agnostic=True, kind=0, sigma=0.5)
        labels = F.gather(word, 1, places)
        there = F.gt(F.unsqueeze(count, 1), np.arange(self.max_detections))
        return placed.clip(boxes), scores, F.where(there, labels, np.int64(0)), count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """box, objectness and classes, an image. A target {"label": word} without "boxes" is that of an
        image for classification (section 4, "Joint classification and detection"): it trains the
        words, and objectness where that is below 0.3."""
        of_words = [i for i, target in enumerate(targets) if "boxes" not in target]
        of_boxes = [i for i, target in enumerate(targets) if "boxes" in target]
        if not of_words:
            return super().losses(images, targets)
        labels = np.array([int(targets[i]["label"]) for i in of_words])
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(f"YOLO9000.losses: labels must be from 0 to {self.classes - 1}, got {labels.tolist()}")
        images = np.asarray(images)
        size = self.training_size()
        maps = self.maps(self.placed(images, size)[0])[0]
        found = self.heads[0].classification_losses(F.index_select(maps, 0, np.array(of_words)), labels)
        total = dict(found)
        if of_boxes:
            placed = self.placed(images[:1], size)[1]
            truth = truths("YOLO9000", [targets[i] for i in of_boxes], len(of_boxes), self.classes, placed, size)
            for name, value in self.heads[0].losses(F.index_select(maps, 0, np.array(of_boxes)), truth, size).items():
                total[name] = total[name] + value if name in total else value
        return {name: value * (1 / len(targets)) for name, value in total.items()}


@network(image=(3, 544, 544), smallest=(3, 64, 64))
def yolo9000(**settings) -> YOLO9000:
    """Darknet-19 and a tree of words."""
    return YOLO9000(**settings)
