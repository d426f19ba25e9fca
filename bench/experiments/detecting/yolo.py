"""YOLO's head (its third version's) on the trunk that all steps share: a cell of two maps says for
each of three anchors where a box is, whether it is one, and of which class."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyops import functional as F, nn
from pyops.detection.letterbox import letterbox
from pyops.models.detection.darknet_cfg import Section
from pyops.models.detection.detector import Detector
from pyops.models.detection.small import DIGITS, TRAINED, empty_at_first
from pyops.models.detection.yolo_head import YoloHead
from pyops.models.detection.yolo_truth import truths

from .trunk import CHANNELS, Trunk, layer

MASKS = ((0, 1, 2), (3, 4, 5))


class Yolo(Detector):
    """images (N, 3, H, W), letterboxed to the square `size`."""

    def __init__(self, trunk: Trunk, classes: int = 10, size: int = 64) -> None:
        self.set_thresholds(0.05, 0.45, 50)
        self.classes, self.size, self.image = classes, (size, size), (3, size, size)
        self.trunk, self.fine, self.coarse = trunk, layer(CHANNELS, CHANNELS, 2), layer(CHANNELS, CHANNELS, 2)
        numbers = len(MASKS[0]) * (5 + classes)
        self.out = nn.ModuleList(nn.Sequential(layer(CHANNELS, CHANNELS), nn.Conv2d(CHANNELS, numbers, 1))
                                 for _ in MASKS)
        for out in self.out:
            empty_at_first(out[1], len(MASKS[0]))
        sizes = ",".join(f"{w},{h}" for w, h in DIGITS)
        options = {"anchors": sizes, "num": len(DIGITS), "classes": classes, **TRAINED}
        self.heads = []
        for mask in MASKS:
            told = {key: str(value) for key, value in options.items()} | {"mask": ",".join(map(str, mask))}
            self.heads.append(YoloHead(Section("yolo", told), (numbers, 0, 0)))

    def maps(self, x: Any) -> list[Any]:
        fine = self.fine(self.trunk(x))
        return [out(maps) for out, maps in zip(self.out, (fine, self.coarse(fine)))]

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x, placed = letterbox(self.floats(images), self.size)
        decoded = [head.decode(maps, self.size) for head, maps in zip(self.heads, self.maps(x))]
        boxes, scores = (F.cat(parts, 1) for parts in zip(*decoded))
        boxes, scores, labels, count = F.multiclass_nms(placed.back(boxes), scores, self.iou_threshold,
                                                        self.score_threshold, self.max_detections)
        return placed.clip(boxes), scores, labels, count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        x, placed = letterbox(self.floats(images), self.size)
        truth = truths("Yolo", targets, int(x.shape[0]), self.classes, placed, self.size)
        total: dict[str, Any] = {}
        for head, maps in zip(self.heads, self.maps(x)):
            for name, value in head.losses(maps, truth, self.size).items():
                total[name] = total[name] + value if name in total else value
        return {name: value * (1 / int(x.shape[0])) for name, value in total.items()}
