"""Detectors of Darknet's files: any .cfg with heads of YOLO, and its .weights.

    detector = darknet("yolov3.cfg", "yolov3.weights", "coco.names")
    detector.detect(["dog.jpg"])
"""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ... import nn
from .darknet_cfg import Section, read_cfg
from .darknet_network import DarknetNetwork
from .darknet_weights import Header, load_weights, save_weights
from .framed import FramedDetector, joined
from .yolo_grid import GridHead
from .yolo_head import YoloHead
from .yolo_region import RegionHead
from .yolo_truth import Truth

__all__ = ["DarknetDetector", "darknet"]

HEADS = {"yolo": YoloHead, "region": RegionHead, "detection": GridHead}


class DarknetDetector(FramedDetector):
    """The network of a cfg's sections with its heads. fit, sizes: see FramedDetector."""

    def __init__(self, sections: Sequence[Section], fit: str = "letterbox", sizes: Sequence[int] = (),
                 score_threshold: float = 0.25, iou_threshold: float = 0.45, max_detections: int = 100,
                 class_names: Sequence[str] | None = None) -> None:
        self.set_thresholds(score_threshold, iou_threshold, max_detections, class_names)
        self.network = DarknetNetwork(sections)
        self.set_frame(self.network.input_shape[1:], fit, sizes)
        if self.network.input_shape[0] != 3:
            raise self.network.net.wrong(f"a detector of images needs channels=3, got {self.network.input_shape[0]}")
        if not self.network.heads:
            raise self.network.net.wrong("has no [yolo], [region] or [detection]: it is no detector")
        self.heads = [HEADS[layer.kind](layer.section, layer.shape) for layer in self.network.heads]
        self.classes = self.heads[0].classes
        if any(head.classes != self.classes for head in self.heads):
            raise self.network.net.wrong("has heads of different numbers of classes: "
                                         f"{', '.join(str(head.classes) for head in self.heads)}")

    def maps(self, x: Any) -> list[Any]:
        return self.network(x)

    def decoded(self, maps: list[Any]) -> tuple[Any, Any]:
        boxes, scores = zip(*(head.decode(one, self.size) for head, one in zip(self.heads, maps)))
        return joined(list(boxes)), joined(list(scores))

    def parts(self, maps: list[Any], truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """box, objectness and classes, of all heads."""
        total: dict[str, Any] = {}
        for head, one in zip(self.heads, maps):
            for name, value in head.losses(one, truth, size).items():
                total[name] = total[name] + value if name in total else value
        return {name: value * (1 / len(truth)) for name, value in total.items()}

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
    with nn.init.skip_draws() if weights is not None else nullcontext():
        detector = DarknetDetector(sections, **settings)
    if detector.class_names is not None and len(detector.class_names) != detector.classes:
        raise ValueError(f"names: {names}: {len(detector.class_names)} names for the {detector.classes} classes of "
                         f"{Path(cfg).name}")
    if weights is not None:
        detector.load_weights(weights)
    return detector
