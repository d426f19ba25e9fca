"""Detectors that see every image in a frame of one size: what all YOLOs do around their networks."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import functional as F
from ...core.random import default_generator
from ...core.tensor import Tensor
from ...detection.letterbox import Placement, letterbox, stretch
from .detector import Detector
from .yolo_truth import Truth, truths

FITS = ("letterbox", "stretch")


class FramedDetector(Detector):
    """A subclass calls set_frame and defines maps(x), decoded(maps) and parts(maps, truth, size).

    fit: "letterbox" keeps an image's proportions, "stretch" scales each axis by itself. sizes: of
    the square inputs that training draws from, a new one every 10 steps (YOLOv2's multi-scale
    training); (): the network's own, `size`.
    """
    fill = 0.5             # of what a letterbox leaves free
    align_corners = True   # how images are scaled
    classes: int
    size: tuple[int, int]

    def set_frame(self, size: tuple[int, int], fit: str, sizes: Sequence[int]) -> None:
        if fit not in FITS:
            raise ValueError(f"{type(self).__name__}: fit must be letterbox or stretch, got {fit!r}")
        if any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sizes):
            raise ValueError(f"{type(self).__name__}: sizes must be positive ints, got {tuple(sizes)}")
        self.size, self.fit, self.sizes, self.steps = size, fit, tuple(sizes), 0
        self.image = (3, *size)

    def maps(self, x: Any) -> list[Any]:
        """The network on images of its size: what each head says."""
        raise NotImplementedError(f"{type(self).__name__} defines no maps")

    def decoded(self, maps: list[Any]) -> tuple[Any, Any]:
        """boxes (N, K, 4), corners in the frame's pixels, and scores (N, K, C)."""
        raise NotImplementedError(f"{type(self).__name__} defines no decoded")

    def parts(self, maps: list[Any], truth: list[Truth], size: tuple[int, int]) -> dict[str, Any]:
        """The parts of the loss of a batch, an image."""
        raise NotImplementedError(f"{type(self).__name__} defines no parts")

    def placed(self, images: Any, size: tuple[int, int]) -> tuple[Any, Placement]:
        x = self.floats(images)
        return (letterbox(x, size, self.fill, self.align_corners) if self.fit == "letterbox"
                else stretch(x, size, self.align_corners))

    def forward(self, images: Any) -> tuple[Any, Any, Any, Any]:
        x, placed = self.placed(images, self.size)
        return self.chosen(self.maps(x), placed)

    def chosen(self, maps: list[Any], placed: Placement) -> tuple[Any, Any, Any, Any]:
        """What forward returns, of the heads' maps."""
        boxes, scores = self.decoded(maps)
        boxes, scores, labels, count = F.multiclass_nms(placed.back(boxes), scores, self.iou_threshold,
                                                        self.score_threshold, self.max_detections)
        return placed.clip(boxes), scores, labels, count

    def losses(self, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The parts of the loss, an image."""
        size = self.training_size()
        x, placed = self.placed(images, size)
        truth = truths(type(self).__name__, targets, x.shape[0], self.classes, placed, size)
        return self.parts(self.maps(x), truth, size)

    def training_size(self) -> tuple[int, int]:
        """The size of this step's input."""
        if not self.sizes or not self.training:
            return self.size
        if self.steps % 10 == 0:
            side = self.sizes[int(default_generator().integers(len(self.sizes)))]
            self.drawn_size = side, side
        self.steps += 1
        return self.drawn_size


def joined(parts: list[Any], axis: int = 1) -> Any:
    return parts[0] if len(parts) == 1 else F.cat(parts, axis)
