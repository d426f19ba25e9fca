"""Detectors of Darknet's files: any .cfg with heads of YOLO, and its .weights.

    detector = darknet("yolov3.cfg", "yolov3.weights", "coco.names")
    detector.detect(["dog.jpg"])
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import functional as F
from ...core.random import default_generator
from ...core.tensor import Tensor
from ...detection.letterbox import Placement, letterbox, stretch
from .darknet_cfg import Section, read_cfg
from .darknet_network import DarknetNetwork
from .darknet_weights import Header, load_weights, save_weights
from .detector import Detector
from .yolo_grid import GridHead
from .yolo_head import YoloHead
from .yolo_region import RegionHead
from .yolo_truth import truths

__all__ = ["DarknetDetector", "darknet"]

HEADS = {"yolo": YoloHead, "region": RegionHead, "detection": GridHead}


class DarknetDetector(Detector):
    """The network of a cfg's sections with its heads.

    fit: "letterbox" keeps an image's proportions, "stretch" scales each axis by itself. sizes: of
    the square inputs that training draws from, a new one every 10 steps (YOLOv2's multi-scale
    training); (): the network's own.
    """

    def __init__(self, sections: Sequence[Section], fit: str = "letterbox", sizes: Sequence[int] = (),
                 score_threshold: float = 0.25, iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        if fit not in ("letterbox", "stretch"):
            raise ValueError(f"{type(self).__name__}: fit must be letterbox or stretch, got {fit!r}")
        self.network = DarknetNetwork(sections)
        if self.network.input_shape[0] != 3:
            raise self.network.net.wrong(f"a detector of images needs channels=3, got {self.network.input_shape[0]}")
        if not self.network.heads:
            raise self.network.net.wrong("has no [yolo], [region] or [detection]: it is no detector")
        self.heads = [HEADS[layer.kind](layer.section, layer.shape) for layer in self.network.heads]
        self.classes = self.heads[0].classes
        if any(head.classes != self.classes for head in self.heads):
            raise self.network.net.wrong("has heads of different numbers of classes: "
                                         f"{', '.join(str(head.classes) for head in self.heads)}")
        self.fit, self.sizes, self.steps = fit, tuple(sizes), 0
        self.size: tuple[int, int] = self.network.input_shape[1:]
        self.image = self.network.input_shape

    def placed(self, images: Any, size: tuple[int, int]) -> tuple[Any, Placement]:
        x = self.floats(images)
        return letterbox(x, size) if self.fit == "letterbox" else stretch(x, size)

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x, placed = self.placed(images, self.size)
        return self.chosen(self.network(x), placed)

    def chosen(self, maps: list[Any], placed: Placement) -> tuple[Any, Any, Any, Any]:
        """What forward returns, of the heads' maps."""
        decoded = [head.decode(one, self.size) for head, one in zip(self.heads, maps)]
        boxes, scores = (parts[0] if len(parts) == 1 else F.cat(parts, 1) for parts in zip(*decoded))
        boxes, scores, labels, count = F.multiclass_nms(placed.back(boxes), scores, self.iou_threshold,
                                                        self.score_threshold, self.max_detections)
        return placed.clip(boxes), scores, labels, count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """box, objectness and classes, of all heads, an image."""
        size = self.training_size()
        x, placed = self.placed(images, size)
        truth = truths(type(self).__name__, targets, x.shape[0], self.classes, placed, size)
        total: dict[str, Any] = {}
        for head, maps in zip(self.heads, self.network(x)):
            for name, value in head.losses(maps, truth, size).items():
                total[name] = total[name] + value if name in total else value
        return {name: value * (1 / x.shape[0]) for name, value in total.items()}

    def training_size(self) -> tuple[int, int]:
        """The size of this step's input."""
        if not self.sizes or not self.training:
            return self.size
        if self.steps % 10 == 0:
            side = self.sizes[int(default_generator().integers(len(self.sizes)))]
            self.drawn_size = side, side
        self.steps += 1
        return self.drawn_size

    def load_weights(self, path: str | Path) -> Header:
        """Reads a .weights file (darknet_weights.load_weights)."""
        return load_weights(self.network, path)

    def save_weights(self, path: str | Path, seen: int = 0) -> None:
        """Writes the network's numbers as a .weights file."""
        save_weights(self.network, path, seen)


def darknet(cfg: str | Path, weights: str | Path | None = None, names: str | Path | None = None,
            **settings: Any) -> DarknetDetector:
    """The detector of a .cfg file, with the numbers of a .weights file where that is given.

    names: a file with a class's name a line. settings: of DarknetDetector. FileNotFoundError;
    ValueError where a file is wrong or does not belong to the others, in one sentence.
    """
    if names is not None:
        if not Path(names).is_file():
            raise FileNotFoundError(f"names: {names}: no such file")
        settings["class_names"] = Path(names).read_text(encoding="utf-8").split("\n")
        settings["class_names"] = [line.strip() for line in settings["class_names"] if line.strip()]
    sections = read_cfg(cfg)
    kinds = {section.kind for section in sections}
    settings.setdefault("fit", "stretch" if "detection" in kinds else "letterbox")
    detector = DarknetDetector(sections, **settings)
    if detector.class_names is not None and len(detector.class_names) != detector.classes:
        raise ValueError(f"names: {names}: {len(detector.class_names)} names for the {detector.classes} classes of "
                         f"{Path(cfg).name}")
    if weights is not None:
        detector.load_weights(weights)
    return detector
