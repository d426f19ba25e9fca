"""Segmenter: a Trainer of networks that label pixels."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from ...core.tensor import Tensor, no_grad
from ...models.segmentation.segmenter import Segmenter as Network
from ..diagnosis import Diagnosis, diagnose
from ..trainer import Epoch, Progress, Trainer
from . import pictures
from .dataset import NOTHING
from .measures import PixelConfusion


@dataclass(frozen=True)
class SegmentationEpoch(Epoch):
    """train_accuracy and test_accuracy are mean IoU; test_pixels: the share of pixels that are right."""
    test_pixels: float = 0.0

    def __str__(self):
        return (f"epoch {self.number:3d}  loss {self.train_loss:7.4f}  mIoU {100 * self.train_accuracy:5.1f} %   test "
                f"loss {self.test_loss:7.4f}  mIoU {100 * self.test_accuracy:5.1f} %  pixels "
                f"{100 * self.test_pixels:5.1f} %   {self.seconds:.1f} s")


@dataclass(frozen=True)
class MeasuredSegmenter:
    """confusion: of the pixels of all images. loss: the mean."""
    confusion: PixelConfusion
    loss: float


def measure_segmenter(model, data, most: int | None = None, size: int = 16,
                      objective: Callable | None = None) -> MeasuredSegmenter:
    """`model` in evaluation mode on the first `most` images of `data` (None: all); its mode is put
    back."""
    count = len(data) if most is None else min(most, len(data))
    confusion, total = PixelConfusion(len(data.classes)), 0.0
    was = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            for begin in range(0, count, size):
                indices = range(begin, min(begin + size, count))
                images, masks = data.take(indices)
                logits = model.logits(Tensor(images))
                if labelled(masks):
                    total += float((objective or model.loss)(logits, masks).item()) * len(indices)
                confusion.add(logits.data.argmax(1), masks)
    finally:
        for module, mode in was:
            module.training = mode
    return MeasuredSegmenter(confusion, total / count)


def labelled(masks: np.ndarray) -> bool:
    """Whether any pixel is."""
    return bool((masks != NOTHING).any())


@dataclass
class Segmenter(Trainer):
    """Trains a pyops.models.Segmenter on two datasets of masks (MaskDataset, DigitMasks), with all
    that a Trainer keeps.

    What history calls accuracy is the mean IoU of the test images, and of `sampled` training images
    as they are; `monitor="test_accuracy"` stops by it. loss(output, masks): default the model's,
    cross-entropy.
    """
    sampled: int = 32
    epoch_kind: ClassVar = SegmentationEpoch

    def __repr__(self) -> str:
        return super().__repr__().replace("Trainer", "Segmenter", 1)

    def _check(self):
        super()._check()
        if self.top_k is not None:
            raise ValueError("Segmenter: there is no top_k of pixels: leave it None")
        if not hasattr(self.sampled, "__index__") or self.sampled < 0:
            raise ValueError(f"Segmenter: sampled must be an int of at least 0, got {self.sampled!r}")

    def _check_head(self):
        if not isinstance(self.model, Network):
            raise TypeError(f"Segmenter: the model must be a pyops.models.Segmenter, got {type(self.model).__name__}; "
                            "a classifier is for Trainer")

    def _check_classes(self, count: int):
        names = self.split.train.classes
        if len(names) > count:
            raise ValueError(f"Segmenter: the data has {len(names)} classes, {', '.join(names)}, the model {count}; "
                             f"create it with classes={len(names)}")

    def batch(self, inputs, targets) -> tuple[float, int, float] | None:
        """One step. The loss before it, 0, and the gradients' norm. None, and no step, where the loss or
        a gradient is not finite. A batch of which nothing is labelled teaches nothing."""
        if not labelled(targets):
            return 0.0, 0, 0.0
        self.optimizer.zero_grad()
        output = self.model(Tensor(inputs))
        if not self.batch_losses:
            self._check_classes((output[0] if isinstance(output, tuple) else output).shape[1])
        loss = self.objective(output, targets)
        value = float(loss.item())
        norm = self._step(loss) if np.isfinite(value) else None
        return None if norm is None else (value, 0, norm)

    def test(self, size: int = 16) -> MeasuredSegmenter:
        """On the test images."""
        return measure_segmenter(self.model, self.split.test, size=size, objective=self.objective)

    def _tested(self, number: int, now: Progress, begin: float) -> SegmentationEpoch:
        tested, sample = self.test(), 0.0
        if self.sampled:
            sample = measure_segmenter(self.model, self.split.train, self.sampled).confusion.mean_iou
        return SegmentationEpoch(
            number, now.loss / now.seen, sample, tested.loss, tested.confusion.mean_iou, time.perf_counter() - begin,
            None, self.optimizer.param_groups[0]["lr"], now.norm / now.batch if self.clip_norm else None,
            tested.confusion.accuracy)

    def diagnose(self) -> Diagnosis:
        """What the curve says; chance is the loss of the first batch."""
        return diagnose(self.history, self.batch_losses, chance=self._first_loss())

    def _draw(self, path, title: str) -> None:
        pictures.draw_curve(path, self.history, title)

    @cached_property
    def _images(self) -> dict[str, str]:
        return {}   # a segmenter takes images of any size that its poolings divide
