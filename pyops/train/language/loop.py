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


def teach(model, batches: Iterator[Any], loss: Callable[[Any], Any], *, steps: int | None = None,
          seconds: float | None = None, lr: float = 1e-3, schedule: Callable[[float], float] | None = None,
          weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.98), clip: float = 1.0, every: int = 50,
          measure: Callable[[], float] | None = None,
          report: Callable[[Point], None] = lambda point: None) -> list[Point]:
    """Trains `model` by AdamW on loss(batch) and returns a Point every `every` steps.

    It ends after `steps` updates or `seconds` in them, whichever comes first; what measure() takes,
    which is called in evaluation mode, does not count. Gradients are clipped to a joint norm of
    `clip`. ValueError without a limit, and where a gradient is not finite.
    """
    if steps is None and seconds is None:
        raise ValueError("teach: give steps or seconds")
    rule = AdamW(model.parameters(), lr, betas=betas, weight_decay=weight_decay)
    schedule = schedule or cosine()
    points: list[Point] = []
    spent, total, since, step = 0.0, 0.0, 0, 0
    model.train()
    while True:
        begin = time.perf_counter()
        batch = next(batches)
        done = max(0.0 if steps is None else (step + 1) / steps, 0.0 if seconds is None else spent / seconds)
        for group in rule.param_groups:
            group["lr"] = lr * schedule(min(done, 1.0))
        rule.zero_grad()
        found = loss(batch)
        found.backward()
        clip_grad_norm_(model.parameters(), clip, error_if_nonfinite=True)
        rule.step()
        step += 1
        total, since = total + found.item(), since + 1
        spent += time.perf_counter() - begin
        over = step == steps or seconds is not None and spent >= seconds
        if over or step % every == 0:
            measured = None
            if measure is not None:
                model.eval()
                measured = measure()
                model.train()
            points.append(Point(step, spent, total / since, measured))
            report(points[-1])
            total, since = 0.0, 0
        if over:
            model.eval()
            return points
