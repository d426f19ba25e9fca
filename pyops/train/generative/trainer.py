"""GenerativeTrainer: a Trainer of networks whose parts play in turns."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from ... import optim
from ...core.tensor import Tensor
from ...models.generative.base import Generative, Turn, evaluating
from ...models.recipe import describe
from .. import checkpoint
from ..loader import training_batches
from ..nonfinite import NonFiniteError
from ..trainer import Progress, Trainer
from . import pictures
from .average import Average

LOSS, SAID, COUNT = "loss/", "said/", "count/"   # of Progress.parts: sums, and of how many


@dataclass(frozen=True)
class GenerativeEpoch:
    """losses: each part's mean over the epoch's batches. said: what else is known, such as the share
    of images that the discriminator has right, and what `measure` gave."""
    number: int
    seconds: float
    losses: dict = field(default_factory=dict)
    said: dict = field(default_factory=dict)

    def __str__(self):
        """A line for whoever waits."""
        told = "  ".join(f"{name} {value:.4g}" for name, value in (*self.losses.items(), *self.said.items()))
        return f"epoch {self.number:3d}  {told}   {self.seconds:.1f} s"


@dataclass
class GenerativeTrainer(Trainer):
    """Trains a pyops.models.Generative on a dataset, or the first of two, of images and labels (or
    of pairs of images), with a Trainer's checkpoints and resuming.

    optimizer: default the paper's rule, one for all players, at lr (default: the rule's).
    average: how much of the running mean of the weights a step leaves (0: none is kept);
    out/average.safetensors holds the network with it, and sheets are made with it.
    sheet_every: epochs from one sheet of images, out/sheets/NUMBER.png, to the next, of the same
    codes; 0 for none. measure(images, labels) -> numbers by name, each measure_every epochs, of
    `measured` images that the averaged weights make (labels: what was asked for, None without
    classes).
    """
    lr: float | None = None   # type: ignore[assignment]
    batch_size: int = 64
    average: float = 0.999
    sheet_every: int = 10
    measure: Callable | None = None
    measure_every: int = 10
    measured: int = 500
    epoch_kind: ClassVar = GenerativeEpoch

    def __repr__(self) -> str:
        return super().__repr__().replace("Trainer", "GenerativeTrainer", 1)

    def __post_init__(self):
        self._check()
        if hasattr(self.data, "take"):
            self.data = (self.data, self.data)
        rule = self.model.rule
        self.lr = rule.lr if self.lr is None else self.lr
        if self.optimizer is None:
            groups = [{"params": list(self.model.parameters_of(player))} for player in self.model.players]
            self.optimizer = getattr(optim, rule.optimizer)(groups, self.lr, **dict(rule.settings))
        super().__post_init__()
        self.averaged = Average(self.model.parts(self.model.averaged), self.average) if self.average else None
        self.examples = self.model.examples(self.split.test, np.random.default_rng([self.order_seed, 3]))

    def _check(self):
        if not isinstance(self.model, Generative):
            raise TypeError("GenerativeTrainer: the model must be a pyops.models.Generative, got "
                            f"{type(self.model).__name__}")
        super()._check()
        for name in ("l1", "l2", "clip_norm", "top_k", "patience", "loss", "keep_best"):
            if getattr(self, name):
                raise ValueError(f"GenerativeTrainer: {name} has no meaning here, got {getattr(self, name)!r}")
        if not 0 <= self.average < 1:
            raise ValueError(f"GenerativeTrainer: average must be in [0, 1), got {self.average!r}")
        for name, least in (("sheet_every", 0), ("measure_every", 1), ("measured", 1)):
            value = getattr(self, name)
            if not hasattr(value, "__index__") or value < least:
                raise ValueError(f"GenerativeTrainer: {name} must be an int of at least {least}, got {value!r}")

    # ---- the loop

    def epoch(self, number: int) -> GenerativeEpoch:   # type: ignore[override]
        """The rest of epoch `number`."""
        now, begin = self.progress, time.perf_counter() - self.progress.seconds
        self.model.train()
        self._fixed()
        for inputs, targets in training_batches(self.split.train, self.batch_size, self.order_seed, number,
                                                now.batch, self.workers):
            turn = self.turn(inputs, targets, number)
            now.batch, now.seconds = now.batch + 1, time.perf_counter() - begin
            note(now.parts, turn)
            self.batch_losses.append(sum(turn.losses.values()))
            self.tick(number, now.batch, self.batch_losses[-1])
            if (self.checkpoint_every and now.batch % self.checkpoint_every == 0
                    and now.batch < self.batches_per_epoch):
                self._write()
        return self._closed(number, now, begin)

    def turn(self, inputs, targets, epoch: int = 0) -> Turn:
        """One batch: each player's step. NonFiniteError before a step whose loss is no number."""
        model = self.model
        batch = len(self.batch_losses) if not epoch else (epoch - 1) * self.batches_per_epoch + self.progress.batch
        turn = Turn(inputs, targets, model.plays(batch))
        model.begin(turn)
        for player in turn.players:
            self.optimizer.zero_grad()
            with only(model, player):
                parts = model.objective(player, turn)
                loss = sum_of(parts.values())
                if not math.isfinite(loss.item()):
                    raise NonFiniteError(None, epoch, self.progress.batch + 1, f"It is the {player}'s.")
                loss.backward()
            self.optimizer.step()
            model.after(player)
            turn.losses |= {name: float(part.item()) for name, part in parts.items()}
            if self.averaged is not None and player == model.averaged:
                self.averaged.step()
        if self.schedule is not None and self.schedule_every == "step":
            self.schedule.step()
        return turn

    def _closed(self, number: int, now: Progress, begin: float) -> GenerativeEpoch:
        """What the epoch came to, with a sheet and a measurement where it is their turn."""
        losses, said = (
            {name.removeprefix(kind): total / now.parts[COUNT + name] for name, total in now.parts.items()
             if name.startswith(kind)} for kind in (LOSS, SAID))
        last = number == self.epochs
        with self.averaged.in_place() if self.averaged is not None else nullcontext():
            if self.sheet_every and self._sheet_due(number):
                with evaluating(self.model):
                    pictures.draw_sheet(self.out / "sheets" / f"{number:04d}.png", *self.model.sheet(self.examples))
            if self.measure is not None and (last or number % self.measure_every == 0):
                images, labels = self.sample(self.measured, np.random.default_rng([self.order_seed, 4]))
                said |= {name: float(value) for name, value in self.measure(images, labels).items()}
        return GenerativeEpoch(number, time.perf_counter() - begin, losses, said)

    def _sheet_due(self, number: int) -> bool:
        return number == self.epochs or bool(self.sheet_every) and number % self.sheet_every == 0

    def sample(self, count: int, rng: np.random.Generator):
        """(images, labels) that the network makes as it is: labels in turn, None without classes."""
        labels = np.arange(count) % self.model.classes if self.model.classes else None
        return self.model.paint(self.model.codes(count, labels, rng)), labels

    def _finish(self, epoch: GenerativeEpoch) -> None:   # type: ignore[override]
        if self.schedule is not None and self.schedule_every == "epoch":
            self.schedule.step()
        self.progress = Progress(epochs=epoch.number)

    # ---- files

    @property
    def average_checkpoint(self) -> Path:
        return self.out / "average.safetensors"

    def keep(self) -> None:
        """Writes the checkpoint and the averaged weights, and with a sheet the curve."""
        self._write()
        if self.averaged is not None:
            with self.averaged.in_place():
                checkpoint.save(self.average_checkpoint, self.model.state_dict(), self._told())
        if self.draw_curve and self._sheet_due(self.progress.epochs):
            pictures.draw_curve(self.out / "curve.png", self.history,
                                f"{self._told().get('model', 'training')} on {self.split.name}")

    def _told(self) -> dict:
        return {**describe(self.model), **self._images, **self.metadata, "epoch": self.progress.epochs}

    @cached_property
    def _images(self) -> dict[str, str]:
        return {}   # codes, or images of any size

    def _beside(self) -> dict[str, np.ndarray]:
        return {**(self.averaged.state() if self.averaged is not None else {}), **self.model.remembered()}

    def _beside_loading(self, arrays):
        loads = [self.model.remembering(arrays)]
        if self.averaged is not None:
            loads.append(self.averaged.loading(arrays))

        def load() -> None:
            for one in loads:
                one()
        return load

    def _settings(self) -> dict:
        return {**super()._settings(), "lr": self.lr, "average": self.average}


@contextmanager
def only(model: Generative, player: str) -> Iterator[None]:
    """Within it a step's gradients go to this player's parameters."""
    own = {id(p) for p in model.parameters_of(player)}
    others = [p for p in model.parameters() if id(p) not in own and p.requires_grad]
    for p in others:
        p.requires_grad = False
    try:
        yield
    finally:
        for p in others:
            p.requires_grad = True


def sum_of(parts) -> Tensor:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first


def note(sums: dict[str, float], turn: Turn) -> None:
    """Adds a turn's numbers to an epoch's."""
    for kind, values in ((LOSS, turn.losses), (SAID, turn.said)):
        for name, value in values.items():
            sums[kind + name] = sums.get(kind + name, 0.0) + float(value)
            sums[COUNT + kind + name] = sums.get(COUNT + kind + name, 0.0) + 1.0
