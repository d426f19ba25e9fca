"""Trainer: epochs over labelled images, with what a person wants to see meanwhile and
to keep afterwards."""
from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..core import random
from ..core.tensor import Tensor, no_grad
from ..files import whole
from ..models.classification.classifier import Classifier
from ..models.recipe import describe
from ..optim import AdamW, OneCycleLR, Optimizer, ReduceLROnPlateau, clip_grad_norm_
from . import checkpoint, curve, regularisation, state
from .data import batches
from .dataset import split_of
from .description import describe_images
from .loader import training_batches
from .metrics import loss_of, measure, scores_of
from .nonfinite import NonFiniteError, first_non_finite, gradients_finite, state_finite

# 1: higher is better
MONITORS = {"test_loss": -1, "test_accuracy": 1, "train_loss": -1, "train_accuracy": 1}


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to. Training figures are of the batches as they were trained on, before
    each step, without penalties.

    rate: the first group's learning rate at the end; gradient_norm: the mean over the batches, None
    unless gradients are clipped.
    """
    number: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float
    test_top_k: float | None = None
    rate: float | None = None
    gradient_norm: float | None = None

    def __str__(self):
        """A line for whoever waits."""
        top = "" if self.test_top_k is None else f"  top-k {100 * self.test_top_k:6.2f} %"
        return (f"epoch {self.number:3d}  loss {self.train_loss:7.4f}  accuracy "
                f"{100 * self.train_accuracy:6.2f} %   test loss {self.test_loss:7.4f}  accuracy "
                f"{100 * self.test_accuracy:6.2f} %{top}   {self.seconds:.1f} s")


@dataclass
class Progress:
    """Where a training stands: whole epochs, batches of the one under way, and sums over those
    (parts: of the loss, by name, where it has such); what was best so far."""
    epochs: int = 0
    batch: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    norm: float = 0.0
    seconds: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    parts: dict = field(default_factory=dict)


@dataclass
class Trainer:
    """Trains `model` on `data` and keeps what a crash must not take.

    model: its `loss(output, targets)` and `scores(output)` are used where it has them (see
    models.lenet5), else cross-entropy on logits; loss overrides. data: Digits, whose training
    images move by up to `shift` pixels, or two datasets (dataset.Split).
    optimizer: default AdamW at lr. schedule: of pyops.optim; default one-cycle up to lr where the
    optimizer is the default too, else a constant rate; it moves on after every "step" or "epoch"
    (schedule_every; ReduceLROnPlateau after every epoch, by `monitor`).
    l1, l2: penalties on weights (regularisation.py). clip_norm: the highest joint norm of the
    gradients. top_k: also report this. patience: stop after so many epochs without a gain of more
    than min_delta in `monitor`, and put the best weights back.
    seed: of the order, augmentation and (by manual_seed) dropout; None draws one. workers: threads
    that make batches ahead.

    After each epoch, and every checkpoint_every batches, out/checkpoint.safetensors is replaced in
    one rename; fit(resume=True) goes on from there to the same bits as a training that never
    stopped. With patience or keep_best, out/best.safetensors holds the best weights. Both say how
    create_model built the model and what the images were like, so that load_model and
    `pyops inspect` need nothing else; metadata is added to that, and wins.
    After each epoch report(epoch) is called and out/curve.png drawn, after each batch tick(epoch,
    batch, loss). A KeyboardInterrupt ends fit: `interrupted` is set and the files are those last
    written. A loss or gradient that is not finite raises NonFiniteError, which names the layer; the
    last checkpoint stays. batch_losses: of every step of this fit, for `diagnose`.
    """
    model: object
    data: object
    out: Any   # a path, as str or Path
    epochs: int = 20
    batch_size: int = 32
    lr: float = 3e-3
    shift: int = 1
    metadata: dict = field(default_factory=dict)
    report: Callable[[Epoch], None] = lambda epoch: None
    tick: Callable[[int, int, float], None] = lambda epoch, batch, loss: None
    history: list[Epoch] = field(default_factory=list)
    interrupted: bool = False
    optimizer: Optimizer | None = None
    schedule: object | None = None
    schedule_every: str = "step"
    loss: Callable | None = None
    l1: float = 0.0
    l2: float = 0.0
    clip_norm: float | None = None
    top_k: int | None = None
    monitor: str = "test_loss"
    patience: int | None = None
    min_delta: float = 0.0
    keep_best: bool = False
    checkpoint_every: int | None = None
    seed: int | None = None
    workers: int = 0
    draw_curve: bool = True
    progress: Progress = field(default_factory=Progress)
    epoch_kind: ClassVar = Epoch   # what an epoch comes to

    def __repr__(self) -> str:
        done = f", {len(self.history)} done" if self.history else ""
        return (f"Trainer({type(self.model).__name__} on {self.data!r}, {self.epochs} epochs{done}, "
                f"out={str(self.out)!r})")
    batch_losses: list[float] = field(default_factory=list)

    def __post_init__(self):
        self._check()
        self.out = Path(self.out)
        self.split = split_of(self.data, self.shift)
        if self.seed is not None:
            random.manual_seed(self.seed)
        self.order_seed = int(random.default_generator().integers(1 << 62))
        self.own_schedule = self.optimizer is None and self.schedule is None
        if self.optimizer is None:
            self.optimizer = AdamW([p for p in self.model.parameters() if p.requires_grad], self.lr)
        if self.own_schedule:
            self.schedule = OneCycleLR(self.optimizer, self.lr, max(1, self.epochs * self.batches_per_epoch),
                                       cycle_momentum=False)
        self.objective = self.loss or loss_of(self.model)

    def _check(self):
        for name in ("epochs", "batch_size", "workers"):
            if not hasattr(getattr(self, name), "__index__"):
                raise TypeError(f"Trainer: {name} must be an int, got {getattr(self, name)!r}")
        for name, least in (("epochs", 0), ("batch_size", 1), ("l1", 0), ("l2", 0), ("min_delta", 0),
                            ("workers", 0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"Trainer: {name} must be at least {least}, got {getattr(self, name)}")
        for name in ("clip_norm", "top_k", "patience", "checkpoint_every"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"Trainer: {name} must be positive or None, got {getattr(self, name)}")
        if not isinstance(self.optimizer, (Optimizer, type(None))):
            raise TypeError("Trainer: optimizer must be one of pyops.optim, made of the model's parameters, "
                            f"or None, got {self.optimizer!r}")
        if self.schedule is not None and not callable(getattr(self.schedule, "step", None)):
            raise TypeError("Trainer: schedule must be one of pyops.optim, made of the optimizer, or None, "
                            f"got {self.schedule!r}")
        self._check_head()
        if self.monitor not in MONITORS or self.schedule_every not in ("step", "epoch"):
            raise ValueError(f"Trainer: monitor must be one of {', '.join(MONITORS)} and schedule_every step "
                             f"or epoch, got {self.monitor!r} and {self.schedule_every!r}")

    def _check_head(self):
        """The default loss wants logits of classes."""
        if self.loss is not None or not isinstance(self.model, Classifier):
            return
        if not self.model.top and not self.model.own_head:
            raise ValueError("Trainer: the model was created with include_top=False and has no classifier; "
                             "call replace_head, or give a loss")
        if self.model.activation is not None:
            raise ValueError(
                f"Trainer: the model ends in {self.model.activation}, but cross-entropy takes logits; train "
                "it with classifier_activation=None and set model.activation afterwards, or give a loss")

    def _check_classes(self, count: int):
        """Of the data and of the model, at the first step, when both are known."""
        names, highest = getattr(self.split.train, "classes", None), int(np.max(self.split.train.labels))
        wanted = highest + 1 if names is None else max(highest + 1, len(names))
        if wanted > count:
            raise ValueError(f"Trainer: the data has {wanted} classes{named(names)}, the model {count}; "
                             f"create it with classes={wanted}")
        if names is not None and wanted < count:
            warnings.warn(f"Trainer: the model has {count} classes, the data {wanted}{named(names)}; the "
                          "others will never be right", stacklevel=2)

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.split.train) // self.batch_size)

    @property
    def checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    @property
    def best_checkpoint(self) -> Path:
        return self.out / "best.safetensors"

    # ---- the loop

    def fit(self, resume: bool = False) -> list[Epoch]:
        """Trains up to `epochs` epochs, with resume from the checkpoint where there is
        one. Returns the history.

        Warns where another training, of this process or any that shares the file system, is at work
        in the same folder: both go on, and each file there is then of the one that wrote it last.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        with whole.alone(self.out) as alone:
            if not alone:
                warnings.warn(f"Trainer: another training is at work in {self.out}; each replaces the files "
                              "of the other. Give one another folder.", stacklevel=2)
            return self._fit(resume)

    def _fit(self, resume: bool) -> list[Epoch]:
        if resume and self.checkpoint.is_file():
            self.restore()
        try:
            while self.progress.epochs < self.epochs and not self.progress.stopped:
                epoch = self.epoch(self.progress.epochs + 1)
                self.history.append(epoch)
                self._finish(epoch)
                self.keep()
                self.report(epoch)
        except KeyboardInterrupt:
            self.interrupted = True
        if self.patience is not None and self.progress.best_epoch and not self.interrupted:
            self.model.load_state_dict(checkpoint.load(self.best_checkpoint)[0])
        return self.history

    def epoch(self, number: int) -> Epoch:
        """The rest of epoch `number`, then a test."""
        now, begin = self.progress, time.perf_counter() - self.progress.seconds
        self.model.train()
        self._fixed()
        for inputs, targets in training_batches(self.split.train, self.batch_size, self.order_seed, number,
                                                now.batch, self.workers):
            batch_loss, right, norm = self._guarded(inputs, targets, number)
            now.batch, now.seen, now.right = now.batch + 1, now.seen + len(inputs), now.right + right
            now.loss, now.norm, now.seconds = (now.loss + batch_loss * len(inputs), now.norm + norm,
                                               time.perf_counter() - begin)
            self.batch_losses.append(batch_loss)
            self.tick(number, now.batch, batch_loss)
            if (self.checkpoint_every and now.batch % self.checkpoint_every == 0
                    and now.batch < self.batches_per_epoch):
                self._write()
        return self._tested(number, now, begin)

    def _first_loss(self) -> float | None:
        """Of the first batch; of a training that was resumed, whose first batches are not kept, the mean
        of the first epoch."""
        whole = len(self.batch_losses) >= len(self.history) * self.batches_per_epoch
        if self.batch_losses and whole:
            return self.batch_losses[0]
        return self.history[0].train_loss if self.history else None

    def _tested(self, number: int, now: Progress, begin: float) -> Epoch:
        """A test, and what the epoch came to."""
        tested = self.test()
        return Epoch(number, now.loss / now.seen, now.right / now.seen, tested.loss, tested.accuracy,
                     time.perf_counter() - begin, tested.top_k(self.top_k) if self.top_k else None,
                     self.optimizer.param_groups[0]["lr"], now.norm / now.batch if self.clip_norm else None)

    def _fixed(self):
        """Modules marked `frozen = True` stay in evaluation mode: their statistics are frozen
        too."""
        for module in self.model.modules():
            if getattr(module, "frozen", False):
                module.eval()

    def _guarded(self, inputs, targets, epoch: int) -> tuple[float, int, float]:
        """One step, or NonFiniteError before it: the weights are then those before the step."""
        drawn = random.default_generator().bit_generator.state
        try:
            result = self.batch(inputs, targets)
        except ValueError as why:
            if len(inputs) > 1 or self.batch_size == 1 or not str(why).startswith("batch_norm: "):
                raise
            raise ValueError(f"{why}; the last batch of an epoch holds 1 of {len(self.split.train)} images: "
                             f"choose another batch_size than {self.batch_size}") from why
        if result is None:
            random.default_generator().bit_generator.state = drawn   # the same dropout again
            found = first_non_finite(self.model, self.objective, inputs, targets, self._recorded)
            kept = (f"{self.checkpoint} holds the last good state." if self.checkpoint.is_file()
                    else "No checkpoint had been written.")
            raise NonFiniteError(found, epoch, self.progress.batch + 1, kept)
        return result

    def _recorded(self, inputs, targets) -> Tensor:
        """The loss of a batch, on the tape."""
        return self.objective(self.model(Tensor(inputs)), targets)

    def batch(self, inputs, targets) -> tuple[float, int, float] | None:
        """One step. The loss before it, how many were right, and the gradients' norm (0
        unless they are clipped).

        None, and no step, where the loss or a gradient is not finite.
        """
        self.optimizer.zero_grad()
        output = self.model(Tensor(inputs))
        if self.loss is None and not self.batch_losses:
            self._check_classes(scores_of(self.model, output).shape[1])
        loss = self.objective(output, targets)
        value = float(loss.item())
        norm = self._step(loss) if math.isfinite(value) else None
        return None if norm is None else (value, right_ones(self.model, output, targets), norm)

    def _step(self, loss: Tensor) -> float | None:
        """Gradients, and a step. Their norm (0 unless they are clipped); None, and no step, where one is not
        finite."""
        loss.backward()
        if self.l1 or self.l2:
            regularisation.add_gradients(self.model, self.l1, self.l2)
        norm = clip_grad_norm_(self.model.parameters(), self.clip_norm) if self.clip_norm else 0.0
        if not (math.isfinite(norm) and gradients_finite(self.model)):
            return None
        self.optimizer.step()
        if self.schedule is not None and self.schedule_every == "step" and not isinstance(self.schedule,
                                                                                          ReduceLROnPlateau):
            self.schedule.step()
        return norm

    def test(self, size: int = 256):
        """metrics.Measured on the test images."""
        return measure(self.model, self.split.test, size, self.objective, self.workers)

    def _finish(self, epoch: Epoch) -> None:
        """Closes an epoch: the schedule, the best so far, whether to stop."""
        value = getattr(epoch, self.monitor)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(value)
        elif self.schedule is not None and self.schedule_every == "epoch":
            self.schedule.step()
        now, sign = self.progress, MONITORS[self.monitor]
        better = now.best is None or sign * (value - now.best) > self.min_delta
        best, best_epoch = (value, epoch.number) if better else (now.best, now.best_epoch)
        stopped = self.patience is not None and epoch.number - best_epoch >= self.patience
        self.progress = Progress(epochs=epoch.number, best=best, best_epoch=best_epoch, stopped=stopped)

    # ---- files

    def keep(self) -> None:
        """Writes best.safetensors if this epoch is the best so far, then the
        checkpoint and the curve."""
        if (self.keep_best or self.patience is not None) and self.progress.best_epoch == self.progress.epochs:
            checkpoint.save(self.best_checkpoint, self.model.state_dict(), self._told())
        self._write()
        if self.draw_curve:
            self._draw(self.out / "curve.png", f"{self._told().get('model', 'training')} on {self.split.name}")

    def _draw(self, path: Path, title: str) -> None:
        curve.draw(path, self.history, title)

    def _told(self) -> dict:
        last = {"test_accuracy": f"{self.history[-1].test_accuracy:.4f}"} if self.history else {}
        return {**describe(self.model), **self._images, **self.metadata, "epoch": self.progress.epochs,
                **last}

    @cached_property
    def _images(self) -> dict[str, str]:
        return describe_images(self.data, self.split)

    def _write(self) -> None:
        if not state_finite(self.model):   # an update overflowed: what is on disk is better
            raise NonFiniteError(None, self.progress.epochs + 1, self.progress.batch,
                                 f"Weights overflowed; {self.checkpoint} was not replaced.")
        progress = {"now": asdict(self.progress), "history": [asdict(e) for e in self.history],
                    "seed": self.order_seed, "settings": self._settings()}
        arrays, told = state.pack(self.optimizer, self.schedule, progress)
        beside = {f"{checkpoint.RESUMING}{name}": array for name, array in self._beside().items()}
        checkpoint.save(self.checkpoint, {**self.model.state_dict(), **arrays, **beside}, {**self._told(), **told})

    def _beside(self) -> dict[str, np.ndarray]:
        """Arrays beside weights and optimiser that resuming needs."""
        return {}

    def _beside_loading(self, arrays: dict[str, np.ndarray]) -> Callable[[], None]:
        """Checks what `_beside` gave and a checkpoint holds; what puts it back. ValueError."""
        return lambda: None

    def _settings(self) -> dict:
        """What must be the same for a resumed training to be the same training."""
        names = ("batch_size", "l1", "l2", "clip_norm", "monitor", "schedule_every",
                 *(["epochs", "lr"] if self.own_schedule else []))
        return {"optimizer": type(self.optimizer).__name__, "schedule": type(self.schedule).__name__,
                "images": len(self.split.train), **{name: getattr(self, name) for name in names}}

    def restore(self, path: Path | None = None) -> None:
        """Takes over a checkpoint of this training: weights, optimiser, schedule, generator, place
        in the data, best so far.

        ValueError where it is of another model or of a training with other settings;
        then nothing was changed.
        """
        path = Path(path or self.checkpoint)
        arrays, metadata = checkpoint.load(path, resuming=True)
        try:
            self._compare(metadata)
            _, load = self._loading(arrays)
            saved, resume = state.loading(arrays, metadata, self.optimizer, self.schedule)
            put_back = self._beside_loading({k.removeprefix(checkpoint.RESUMING): v for k, v in arrays.items()
                                             if k.startswith(checkpoint.RESUMING)})
            seed, now = saved.get("seed"), made(Progress, saved.get("now"))
            history = ([made(self.epoch_kind, e) for e in saved["history"]] if isinstance(saved.get("history"), list)
                       else None)
            if type(seed) is not int or seed < 0 or history is None:
                raise ValueError("its progress has no seed or no history")
        except ValueError as why:
            raise ValueError(f"{path}: {why}") from why
        load()
        resume()
        put_back()
        self.order_seed, self.progress, self.history[:] = seed, now, history

    def _loading(self, arrays):
        try:
            return self.model.loading({k: v
                                       for k, v in arrays.items() if not k.startswith(checkpoint.RESUMING)})
        except ValueError as why:
            raise ValueError(f"holds another model: {why}") from why

    def _compare(self, metadata) -> None:
        told, own = state.parsed(metadata)["progress"].get("settings"), self._settings()
        if not isinstance(told, dict):
            raise ValueError("its progress has no settings")
        differ = [f"{k} was {told.get(k)}, is {own.get(k)}" for k in own | told if told.get(k) != own.get(k)]
        if differ:
            raise ValueError(f"cannot resume a training with other settings: {'; '.join(differ)}")


def made(kind, saved):
    """An Epoch or Progress from JSON: its fields, each a number or, where it may be,
    None or a truth value."""
    needed = {f.name for f in fields(kind) if f.default is MISSING}
    if not isinstance(saved, dict) or not needed <= saved.keys() <= {f.name for f in fields(kind)}:
        raise ValueError(f"its progress is no {kind.__name__}")
    for f in (f for f in fields(kind) if f.name in saved):
        value, names = saved[f.name], f.type.split(" | ")
        right = value is None and "None" in names or isinstance(value, bool) and "bool" in names
        right = right or "dict" in names and isinstance(value, dict) and all(type(v) is float for v in value.values())
        right = (right or type(value) is int and ("int" in names or "float" in names)
                 or type(value) is float and "float" in names)
        if not right or ("int" in names and value < 0):
            raise ValueError(f"its progress has {f.name} {value!r}")
    return kind(**saved)


def named(names, most: int = 5) -> str:
    if names is None:
        return ""
    return f" ({', '.join(map(str, names[:most]))}{', ...' if len(names) > most else ''})"


def evaluate(model, images, labels, size: int = 256) -> tuple[float, float]:
    """Mean loss and accuracy of `model` on digits (N, 32, 32) in evaluation mode,
    `size` images at a time."""
    loss, right = 0.0, 0
    model.eval()
    with no_grad():
        for inputs, targets in batches(images, labels, size):
            output = model(Tensor(inputs))
            loss += model.loss(output, targets).item() * len(targets)
            right += right_ones(model, output, targets)
    return loss / len(labels), right / len(labels)


def right_ones(model, output, targets) -> int:
    """How many of the batch have their label, or their likeliest target, as the likeliest class."""
    with no_grad():
        chosen = np.argmax(scores_of(model, output).data, axis=1)
    return int((chosen == (targets if targets.ndim == 1 else targets.argmax(1))).sum())
