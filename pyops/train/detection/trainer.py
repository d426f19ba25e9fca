"""Detector: a Trainer of networks that find objects."""
from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from ...core.tensor import Tensor
from ...models.detection.detector import Detector as Network
from ..diagnosis import Diagnosis, diagnose
from ..sanity import SanityReport
from ..trainer import Epoch, Progress, Trainer
from . import curve
from .dataset import DetectionDataset
from .measured import MeasuredDetector, measure_detector
from .sanity import sanity_check_detector


@dataclass(frozen=True)
class DetectionEpoch(Epoch):
    """train_accuracy and test_accuracy are AP50, of the images that `measured` and `sampled` of the
    trainer allow; test_ap is COCO's AP. parts, test_parts: of the losses, by name."""
    test_ap: float = 0.0
    parts: dict = field(default_factory=dict)
    test_parts: dict = field(default_factory=dict)

    def __str__(self):
        parts = ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in self.parts.items())
        return (f"epoch {self.number:3d}  loss {self.train_loss:7.4f} ({parts})  AP50 "
                f"{100 * self.train_accuracy:5.1f} %   test loss {self.test_loss:7.4f}  AP50 "
                f"{100 * self.test_accuracy:5.1f} %  AP {100 * self.test_ap:5.1f} %   {self.seconds:.1f} s")


@dataclass
class Detector(Trainer):
    """Trains a pyops.models.Detector on two DetectionDatasets, with all that a Trainer keeps.

    What is minimised is the sum of the parts that model.losses(images, targets) returns, each times
    its weight in `weights` (default 1). After each epoch the model is measured on the first
    `measured` test images (None: all) and `sampled` training images as they are: AP50 is what
    history calls accuracy, and `monitor="test_accuracy"` stops by it. The curve shows losses by
    part, AP50 and AP. classes: the model gets the training set's names. loss, top_k: have no
    meaning here.
    """
    weights: dict[str, float] = field(default_factory=dict)
    measured: int | None = 200
    sampled: int = 32
    epoch_kind: ClassVar = DetectionEpoch

    def __repr__(self) -> str:
        return super().__repr__().replace("Trainer", "Detector", 1)

    def __post_init__(self):
        super().__post_init__()
        names, model = self.split.train.classes, self.model
        if model.class_names is None and names is not None:
            model.class_names = tuple(names)
        elif names is not None and tuple(names) != tuple(model.class_names):
            warnings.warn(f"Detector: the data's classes, {', '.join(names)}, are not the model's, "
                          f"{', '.join(model.class_names)}", stacklevel=3)

    def _check(self):
        super()._check()
        if self.loss is not None or self.top_k is not None:
            raise ValueError("Detector: the losses are the model's, and there is no top_k: leave loss and top_k None")
        for name, least in (("measured", 1), ("sampled", 0)):
            value = getattr(self, name)
            if not (name == "measured" and value is None) and not (hasattr(value, "__index__") and value >= least):
                raise ValueError(f"Detector: {name} must be an int of at least {least}, got {value!r}")

    def _check_head(self):
        if not isinstance(self.model, Network):
            raise TypeError(f"Detector: the model must be a pyops.models.Detector, got {type(self.model).__name__}; a "
                            "classifier is for Trainer")
        parts = self.data if isinstance(self.data, tuple) else ()
        if len(parts) < 2 or not all(isinstance(part, DetectionDataset) for part in parts[:2]):
            raise TypeError("Detector: data must be two DetectionDatasets, (training, test), or a Split of such, got "
                            f"{type(self.data).__name__}")

    # ---- a step

    def _parts(self, inputs, targets) -> tuple[Tensor, dict[str, float]]:
        """The sum that is minimised, and its parts."""
        parts = self.model.losses(Tensor(inputs), targets)
        total = None
        for name, value in parts.items():
            weighted = value * self.weights[name] if name in self.weights else value
            total = weighted if total is None else total + weighted
        return total, {name: float(value.item()) * self.weights.get(name, 1.0) for name, value in parts.items()}

    def _recorded(self, inputs, targets) -> Tensor:
        return self._parts(inputs, targets)[0]

    def batch(self, inputs, targets) -> tuple[float, int, float] | None:
        """One step. The loss before it, 0, and the gradients' norm. None, and no step, where the
        loss or a gradient is not finite."""
        self.optimizer.zero_grad()
        loss, parts = self._parts(inputs, targets)
        if unknown := self.weights.keys() - parts.keys():
            raise ValueError(f"Detector: weights are of {', '.join(sorted(unknown))}; the model's losses are "
                             f"{', '.join(parts)}")
        value = float(loss.item())
        norm = self._step(loss) if math.isfinite(value) else None
        if norm is None:
            return None
        sums = self.progress.parts
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + part * len(inputs)
        return value, 0, norm

    # ---- an epoch

    def test(self, size: int = 16) -> MeasuredDetector:
        """On the test images, losses too."""
        return measure_detector(self.model, self.split.test, self.measured, losses=True)

    def _tested(self, number: int, now: Progress, begin: float) -> DetectionEpoch:
        tested = self.test()
        sample = measure_detector(self.model, self.split.train, self.sampled).ap50 if self.sampled else 0.0
        weighted = {name: value * self.weights.get(name, 1.0) for name, value in tested.losses.items()}
        return DetectionEpoch(
            number, now.loss / now.seen, sample, sum(weighted.values()), tested.ap50, time.perf_counter() - begin,
            None, self.optimizer.param_groups[0]["lr"], now.norm / now.batch if self.clip_norm else None, tested.ap,
            {name: value / now.seen for name, value in now.parts.items()}, weighted)

    def diagnose(self) -> Diagnosis:
        """What the curve says; chance is the loss of the first batch."""
        return diagnose(self.history, self.batch_losses, chance=self._first_loss())

    def sanity_check(self, **settings) -> SanityReport:
        """sanity_check_detector of the model on the training set."""
        return sanity_check_detector(self.model, self.split.train, **settings)

    def _draw(self, path, title: str) -> None:
        curve.draw(path, self.history, title)

    @cached_property
    def _images(self) -> dict[str, str]:
        return {}   # a detector takes images of any size: there is nothing to say of them
