"""A detector on a set of images: losses, what it found, and how good that is."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...core.tensor import Tensor, no_grad
from .coco import CocoAP, coco_ap
from .confusion import detection_confusion
from .dataset import DetectionDataset
from .pictures import detection_gallery, draw_confusion, draw_curves
from .voc import voc_ap

AT_ONCE = 16     # images


@dataclass(frozen=True)
class MeasuredDetector:
    """targets and detections of a set's images in pixels of the images as they are. losses: mean by
    part, of the images as they are trained on; {} where they were not asked for."""
    data: DetectionDataset
    indices: tuple[int, ...]
    detections: tuple
    losses: dict[str, float]

    @property
    def targets(self) -> list[dict]:
        return [self.data.picture(i).target for i in self.indices]

    @property
    def loss(self) -> float:
        return sum(self.losses.values())

    @cached_property
    def coco(self) -> CocoAP:
        return coco_ap(self.targets, self.detections, len(self.data.classes))

    @property
    def ap(self) -> float:
        """COCO's AP; 0 where there is nothing to find."""
        return max(0.0, self.coco.ap)

    @property
    def ap50(self) -> float:
        return max(0.0, self.coco.ap50)

    def voc(self, rule: int = 2012) -> np.ndarray:
        """(classes,): VOC's average precisions, by the rule of 2007 or 2012."""
        return voc_ap(self.targets, self.detections, len(self.data.classes), rule)

    def confusion(self, iou: float = 0.5, score: float = 0.25) -> np.ndarray:
        """As detection_confusion has it."""
        return detection_confusion(self.targets, self.detections, len(self.data.classes), iou, score)

    def draw(self, folder, most: int = 16) -> list:
        """Writes pr.png, confusion.png and worst.png into the folder. Returns their paths."""
        paths = [folder / name for name in ("pr.png", "confusion.png", "worst.png")]
        draw_curves(paths[0], self.coco, self.data.classes)
        draw_confusion(paths[1], self.confusion(), self.data.classes)
        detection_gallery(paths[2], lambda i: self.data.picture(self.indices[i]).load(), self.targets,
                          self.detections, len(self.data.classes), most, names=self.data.classes)
        return paths


def measure_detector(model, data: DetectionDataset, most: int | None = None, losses: bool = False,
                     tick: Callable[[int], None] = lambda done: None) -> MeasuredDetector:
    """`model` in evaluation mode on the first `most` images of `data` (None: all); its mode is put
    back. tick(images done) is called now and then. losses: also measure these."""
    indices = tuple(range(len(data) if most is None else min(most, len(data))))
    found: list = []
    for part in parts(indices):
        found += model.detect([data.picture(i).load() for i in part])
        tick(len(found))
    return MeasuredDetector(data, indices, tuple(found), mean_losses(model, data, indices) if losses else {})


def mean_losses(model, data: DetectionDataset, indices: tuple[int, ...]) -> dict[str, float]:
    """The model's parts of the loss in evaluation mode."""
    was = [(module, module.training) for module in model.modules()]
    model.eval()
    sums: dict[str, float] = {}
    try:
        with no_grad():
            for part in parts(indices):
                inputs, targets = data.take(np.array(part))
                for name, value in model.losses(Tensor(inputs), targets).items():
                    sums[name] = sums.get(name, 0.0) + float(value.item()) * len(part)
    finally:
        for module, mode in was:
            module.training = mode
    return {name: value / len(indices) for name, value in sums.items()}


def parts(indices: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    return (indices[i:i + AT_ONCE] for i in range(0, len(indices), AT_ONCE))
