"""Trainer: epochs over a set of digits, with what a person wants to see meanwhile and to keep afterwards."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..optim import AdamW, OneCycleLR
from ..random import default_generator
from ..tensor import Tensor, no_grad
from . import checkpoint, curve
from .data import Digits, batches


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. Training figures are of the batches as they were trained on, before each step."""
    number: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass
class Trainer:
    """Trains `model` (with `loss` and `scores`, see models.lenet5) on `data` by AdamW under a one-cycle schedule.

    After each epoch it tests, writes out/checkpoint.safetensors (with `metadata`, the epoch and the accuracy) and out/curve.png.
    shift: each training image is moved by up to so many pixels. report(epoch) is called after each epoch, tick(done, of) after each
    batch. A KeyboardInterrupt during fit ends it: `interrupted` is set and the files are those of the last whole epoch.
    """
    model: object
    data: Digits
    out: Path
    epochs: int = 20
    batch_size: int = 32
    lr: float = 3e-3
    shift: int = 1
    metadata: dict = field(default_factory=dict)
    report: Callable[[Epoch], None] = lambda epoch: None
    tick: Callable[[int, int, float], None] = lambda epoch, batch, loss: None
    history: list[Epoch] = field(default_factory=list)
    interrupted: bool = False

    def __post_init__(self):
        self.out = Path(self.out)
        self.optimizer = AdamW(self.model.parameters(), self.lr)
        self.schedule = OneCycleLR(self.optimizer, self.lr, max(1, self.epochs * self.batches_per_epoch), cycle_momentum=False)

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.data.train_labels) // self.batch_size)

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def fit(self) -> list[Epoch]:
        try:
            for number in range(1, self.epochs + 1):
                self.history.append(self.epoch(number))
                self.keep(self.history[-1])
                self.report(self.history[-1])
        except KeyboardInterrupt:
            self.interrupted = True
        return self.history

    def epoch(self, number: int) -> Epoch:
        begin = time.perf_counter()
        loss, right = 0.0, 0
        self.model.train()
        rng = default_generator()
        for i, (images, labels) in enumerate(batches(self.data.train_images, self.data.train_labels, self.batch_size, rng, self.shift)):
            batch_loss, batch_right = self.batch(images, labels)
            loss, right = loss + batch_loss * len(labels), right + batch_right
            self.tick(number, i + 1, batch_loss)
        count = len(self.data.train_labels)
        test_loss, test_accuracy = self.test()
        return Epoch(number, loss / count, right / count, test_loss, test_accuracy, time.perf_counter() - begin)

    def batch(self, images, labels) -> tuple[float, int]:
        """One step. The loss before it, and how many were right."""
        self.optimizer.zero_grad()
        output = self.model(Tensor(images))
        loss = self.model.loss(output, labels)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return loss.item(), right_ones(self.model, output, labels)

    def test(self, size: int = 256) -> tuple[float, float]:
        """Loss and accuracy on the test images."""
        return evaluate(self.model, self.data.test_images, self.data.test_labels, size)

    def keep(self, epoch: Epoch) -> None:
        told = {**self.metadata, "epoch": epoch.number, "test_accuracy": f"{epoch.test_accuracy:.4f}"}
        checkpoint.save(self.checkpoint, self.model.state_dict(), told)
        curve.draw(self.out / "curve.png", self.history, f"{self.metadata.get('model', 'training')} on {self.data.name}")


def evaluate(model, images, labels, size: int = 256) -> tuple[float, float]:
    """Mean loss and accuracy of `model` in evaluation mode, `size` images at a time."""
    loss, right = 0.0, 0
    model.eval()
    with no_grad():
        for inputs, targets in batches(images, labels, size):
            output = model(Tensor(inputs))
            loss += model.loss(output, targets).item() * len(targets)
            right += right_ones(model, output, targets)
    return loss / len(labels), right / len(labels)


def right_ones(model, output: Tensor, labels) -> int:
    """How many of the batch have their label as the likeliest class."""
    with no_grad():
        chosen = np.argmax(model.scores(output).data, axis=1)
    return int((chosen == labels).sum())
