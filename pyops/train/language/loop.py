"""The loop that all of these share: batches, a rate that rises and falls, a limit of steps or of
seconds."""
from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ...optim import AdamW, clip_grad_norm_


@dataclass(frozen=True)
class Point:
    """After `step` updates: seconds spent in updates, the mean loss of the steps since the point
    before, and what `measured` gave, if anything was measured."""
    step: int
    seconds: float
    loss: float
    measured: float | None = None


def noam(warm: float = 0.1) -> Callable[[float], float]:
    """The paper's schedule by the share of a training that is done: the rate rises as far as
    `warm`, then falls as the inverse of the root. Vaswani et al. (2017), section 5.3."""
    return lambda done: min(done / warm, math.sqrt(warm / max(done, 1e-9)))


def cosine(warm: float = 0.05, last: float = 0.05) -> Callable[[float], float]:
    """The rate rises as far as `warm` and falls along a cosine to `last` of its height."""
    def factor(done: float) -> float:
        if done < warm:
            return done / warm
        return last + (1 - last) * (1 + math.cos(math.pi * (done - warm) / (1 - warm))) / 2
    return factor


class Teaching:
    """A training of `model` by AdamW on loss(batch), an update at a time; `points` has a Point every
    `every` updates and at the end.

    It is over after `steps` updates or `seconds` in them, whichever comes first; what measure() takes,
    which is called in evaluation mode, does not count. Gradients are clipped to a joint norm of
    `clip`. ValueError without a limit, and where a gradient is not finite.
    """

    def __init__(self, model, batches: Iterator[Any], loss: Callable[[Any], Any], *, steps: int | None = None,
                 seconds: float | None = None, lr: float = 1e-3, schedule: Callable[[float], float] | None = None,
                 weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.98), clip: float = 1.0,
                 every: int = 50, measure: Callable[[], float] | None = None,
                 report: Callable[[Point], None] = lambda point: None):
        if steps is None and seconds is None:
            raise ValueError("teach: give steps or seconds")
        self.model, self.batches, self.loss = model, batches, loss
        self.steps, self.limit, self.every = steps, seconds, every
        self.lr, self.schedule, self.clip = lr, schedule or cosine(), clip
        self.measure, self.report = measure, report
        self.rule = AdamW(model.parameters(), lr, betas=betas, weight_decay=weight_decay)
        self.points: list[Point] = []
        self.step, self.seconds, self.over = 0, 0.0, False
        self.losses: list[float] = []

    @property
    def done(self) -> float:
        """The share of the training that is behind with the next update."""
        of_steps = 0.0 if self.steps is None else (self.step + 1) / self.steps
        of_seconds = 0.0 if self.limit is None else self.seconds / self.limit
        return min(1.0, max(of_steps, of_seconds))

    def update(self) -> None:
        begin = time.perf_counter()
        self.model.train()
        for group in self.rule.param_groups:
            group["lr"] = self.lr * self.schedule(self.done)
        self.rule.zero_grad()
        found = self.loss(next(self.batches))
        found.backward()
        clip_grad_norm_(self.model.parameters(), self.clip, error_if_nonfinite=True)
        self.rule.step()
        self.losses.append(found.item())
        self.step += 1
        self.seconds += time.perf_counter() - begin
        self.over = self.step == self.steps or self.limit is not None and self.seconds >= self.limit
        if self.over or self.step % self.every == 0:
            self.look()

    def look(self) -> None:
        self.model.eval()
        measured = None if self.measure is None else self.measure()
        self.points.append(Point(self.step, self.seconds, sum(self.losses) / len(self.losses), measured))
        self.losses.clear()
        self.report(self.points[-1])


def teach(model, batches: Iterator[Any], loss: Callable[[Any], Any], **settings: Any) -> list[Point]:
    """Trains `model`, leaves it in evaluation mode and returns the points. Arguments: Teaching's."""
    one = Teaching(model, batches, loss, **settings)
    together(one)
    return one.points


def together(*trainings: Teaching) -> None:
    """Trains several by turns, always the one that has had the least time, so that what else the
    machine does hits all alike."""
    while left := [one for one in trainings if not one.over]:
        min(left, key=lambda one: one.seconds).update()
