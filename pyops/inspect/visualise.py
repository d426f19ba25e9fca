"""Feature visualisation: images that an objective likes, by gradient ascent. Olah, Mordvintsev &
Schubert, "Feature Visualization" (Distill, 2017)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..optim import Adam
from .image import Parametrised
from .objective import Objective, diversity as differing
from .robust import Robustness, Seen
from .rules import unhindered
from .subject import Subject, subject


class Visualised(NamedTuple):
    """images: float32 (N, C, H, W) in 0 .. 1. values: (steps, N), the objective at each step, as the
    moved images had it, without variation and diversity. text: the objective's."""
    images: np.ndarray
    values: np.ndarray
    text: str


def visualise(model: Any, objective: Objective, shape: tuple[int, int, int] | None = None, *, count: int = 1,
              steps: int = 200, rate: float = 0.05, fourier: bool = True,
              colours: np.ndarray | bool | None = None, robust: Robustness | None = None, variation: float = 0.0,
              diversity: float = 0.0, mean: Any = 0.0, std: Any = 1.0, seed: int = 0,
              watch: Callable[[int, np.ndarray], Any] | None = None) -> Visualised:
    """`count` images of `shape` (C, H, W) that raise `objective` of `model`, a network of pyops or
    torch: `steps` of Adam at `rate`.

    shape: None for the network's published one. fourier, colours: as of Parametrised. robust: None
    for Robustness() with a jitter of at most a sixteenth of the side. variation: weight of the mean
    total variation, of the absolute differences between neighbours, which smoothes. diversity:
    weight of the term by which the images of a batch differ at the objective's first layer. The
    network sees (image - mean) / std, numbers or one a channel. watch(step, values) is called each
    step. ValueError says what does not fit.
    """
    looked = subject(model)
    shape = tuple(shape or getattr(model, "image", None) or ())
    if len(shape) != 3:
        raise ValueError(f"visualise: needs the shape of an image, (channels, height, width), got {shape or None}")
    if count < 1 or steps < 1 or not rate > 0:
        raise ValueError(f"visualise: count, steps and rate must be positive, got {count}, {steps} and {rate}")
    goal = objective
    if diversity:
        place = next((name for name in objective.layers if name is not None), None)
        if place is None:
            raise ValueError("visualise: diversity is measured at a layer, and the objective names none")
        goal = objective + diversity * differing(place)
    robust = Robustness(min(8.0, min(shape[1:]) / 16)) if robust is None else robust
    image = Parametrised((count, *shape), fourier=fourier, colours=colours, seed=seed)
    adam, rng = Adam([image.parameter], lr=rate), np.random.default_rng(seed)
    mean, std = by_channel("mean", mean, shape[0]), by_channel("std", std, shape[0])
    if not (std > 0).all():
        raise ValueError(f"visualise: std must be positive, got {std.ravel()}")
    values, size = np.zeros((steps, count)), None
    for step in range(steps):
        pixels = image.image()
        seen = None if robust.still else Seen(pixels, robust.draw(shape[1:], rng))

        inputs = ((pixels if seen is None else seen.images) - mean) / std
        answers, g = pulled(looked, inputs, goal)
        values[step], g = objective.measure(answers)[0], g / std
        g = g if seen is None else seen.pull(g.astype(np.float32))
        if variation:
            g = g - variation * variation_slope(pixels)
        if not np.isfinite(g).all():
            raise ValueError(f"visualise: the gradient of {objective.text} is not finite at step {step}")
        # an objective's unit means nothing: the first gradient is 1, whatever Adam's epsilon is
        size = size or float(np.abs(g).max()) or None
        image.pull(g * -(1 / (size or 1)))
        adam.step()
        if watch is not None:
            watch(step, values[step])
    return Visualised(image.image(), values, objective.text)


def pulled(looked: Subject, inputs: np.ndarray, goal: Objective) -> tuple[Any, np.ndarray]:
    """What the layers answer, and the gradient; of samples where that is 0, as behind a rectifier that
    nothing passes, the one that passes rectifiers unhindered."""
    answers, g = looked.pull(inputs, goal.layers, lambda found: goal.measure(found)[1])
    still = np.abs(g).max((1, 2, 3)) == 0
    if still.any():
        through = looked.pull(inputs, goal.layers, lambda found: goal.measure(found)[1], rectify=unhindered)[1]
        g = np.where(still.reshape(-1, 1, 1, 1), through, g)
    return answers, g


def by_channel(name: str, values: Any, channels: int) -> np.ndarray:
    numbers = np.asarray(values, np.float32).reshape(-1)
    if len(numbers) not in (1, channels) or not np.isfinite(numbers).all():
        raise ValueError(f"visualise: {name} must be a number, or one for each of {channels} channels, got {values!r}")
    return numbers.reshape(1, -1, 1, 1)


def total_variation(images: np.ndarray) -> np.ndarray:
    """(N,): the mean over pixels of the absolute differences to the pixels below and on the right,
    summed over channels."""
    down, right = np.abs(np.diff(images, axis=2)), np.abs(np.diff(images, axis=3))
    return (down.sum((1, 2, 3)) + right.sum((1, 2, 3))) / (images.shape[2] * images.shape[3])


def variation_slope(images: np.ndarray) -> np.ndarray:
    """The gradient of the sum of total_variation."""
    g = np.zeros_like(images)
    for axis in (2, 3):
        sign = np.sign(np.diff(images, axis=axis)) / (images.shape[2] * images.shape[3])
        after, before = [slice(None)] * 4, [slice(None)] * 4
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        g[tuple(after)] += sign
        g[tuple(before)] -= sign
    return g
