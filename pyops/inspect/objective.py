"""What an image is to be good at: answers of neurons, channels, layers, directions, and sums of them.

An Objective says how well each sample of a batch does, and the gradients of the sum of these at the
layers that it reads. Olah, Mordvintsev & Schubert, "Feature Visualization" (Distill, 2017).
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .subject import Place

LEAST_COSINE = 0.1   # below it an answer's angle to a direction no longer weighs


@dataclass(frozen=True)
class Objective:
    """layers: what it reads, dotted names, None for the scores. measure(answers) -> values (N,),
    and layer -> the gradient of their sum. text: for titles. Objectives can be added, subtracted
    and weighted, by a number or by one for each sample (N,)."""
    layers: tuple[Place, ...]
    measure: Callable[[Mapping[Place, np.ndarray]], tuple[np.ndarray, dict[Place, np.ndarray]]]
    text: str

    def __add__(self, other: Objective) -> Objective:
        def both(answers: Mapping[Place, np.ndarray]) -> Any:
            (value, seeds), (more, others) = self.measure(answers), other.measure(answers)
            return value + more, {place: sum(s[place] for s in (seeds, others) if place in s)
                                  for place in {**seeds, **others}}
        return Objective(tuple(dict.fromkeys(self.layers + other.layers)), both, f"{self.text} + {other.text}")

    def __mul__(self, weight: Any) -> Objective:
        weights = np.asarray(weight, np.float64)
        if weights.ndim > 1 or not np.isfinite(weights).all():
            raise ValueError(f"an objective's weight must be a finite number, or one a sample, got {weight!r}")

        def weighted(answers: Mapping[Place, np.ndarray]) -> Any:
            value, seeds = self.measure(answers)
            if weights.ndim and len(weights) != len(value):
                raise ValueError(f"{self.text}: {len(weights)} weights for {len(value)} samples")
            return value * weights, {place: (g.T * weights).T for place, g in seeds.items()}
        return Objective(self.layers, weighted, f"{self.text} x {weights:g}" if not weights.ndim and weights != 1
                         else self.text)

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1

    def __sub__(self, other: Objective) -> Objective:
        return self + -other


def per_sample(text: str, layer: Place, numbers: Any, answer: np.ndarray) -> np.ndarray:
    """A unit for each sample, (N,). ValueError where there is no such unit."""
    units = np.asarray(numbers)
    count, channels = answer.shape[:2]
    if units.dtype.kind not in "iu" or units.ndim > 1 or (units.ndim and len(units) not in (1, count)):
        raise ValueError(f"{text}: the unit must be a whole number, or one for each of {count} samples, got "
                         f"{numbers!r}")
    if units.size and not 0 <= units.min() <= units.max() < channels:
        raise ValueError(f"{text}: {layer or 'the classifier'} has units 0 .. {channels - 1}, got {numbers!r}")
    return np.broadcast_to(units, (count,))


def at_one(answer: np.ndarray, units: np.ndarray, place: tuple[Any, ...], weight: float) -> tuple[Any, np.ndarray]:
    samples = np.arange(len(answer))
    seed = np.zeros(answer.shape, answer.dtype)
    seed[(samples, units, *place)] = weight
    chosen = answer[(samples, units, *place)].reshape(len(answer), -1)
    return chosen.sum(1, dtype=np.float64) * weight, seed


def channel(layer: str, unit: int | Sequence[int]) -> Objective:
    """The mean of a channel's map. unit: one, or one for each sample."""
    text = f"channel {unit} of {layer}" if np.ndim(unit) == 0 else f"channels of {layer}"

    def measure(answers):
        answer = answers[layer]
        units = per_sample("channel", layer, unit, answer)
        value, seed = at_one(answer, units, (), 1 / max(1, answer[0, 0].size))
        return value, {layer: seed}
    return Objective((layer,), measure, text)


def neuron(layer: str, unit: int | Sequence[int], place: tuple[int, ...] | None = None) -> Objective:
    """One position of a channel's map. place: (row, column), as many numbers as there are axes; None:
    the middle."""
    text = f"neuron {unit} of {layer}" if np.ndim(unit) == 0 else f"neurons of {layer}"

    def measure(answers):
        answer = answers[layer]
        units = per_sample("neuron", layer, unit, answer)
        value, seed = at_one(answer, units, position("neuron", layer, place, answer), 1.0)
        return value, {layer: seed}
    return Objective((layer,), measure, text)


def position(text: str, layer: Place, place: Sequence[int] | None, answer: np.ndarray) -> tuple[int, ...]:
    sides = answer.shape[2:]
    chosen = tuple(n // 2 for n in sides) if place is None else tuple(place)
    if len(chosen) != len(sides) or any(not 0 <= p < n for p, n in zip(chosen, sides)):
        raise ValueError(f"{text}: the maps of {layer} are {sides}, which have no place {place}")
    return chosen


def score(target: int | Sequence[int]) -> Objective:
    """A class's score, before a softmax where the network ends without one."""
    text = f"class {target}" if np.ndim(target) == 0 else "classes"

    def measure(answers):
        answer = answers[None]
        value, seed = at_one(answer, per_sample("score", None, target, answer), (), 1.0)
        return value, {None: seed}
    return Objective((None,), measure, text)


def layer(name: str) -> Objective:
    """The mean of squares of all that a layer answers: DeepDream."""
    def measure(answers):
        answer = answers[name]
        size = answer[0].size
        value = np.square(answer, dtype=np.float64).reshape(len(answer), -1).sum(1) / size
        return value, {name: answer * (2 / size)}
    return Objective((name,), measure, f"layer {name}")


def direction(layer: str, vector: Any, cosine: float = 0.0, place: tuple[int, ...] | None = None,
              everywhere: bool = True) -> Objective:
    """The mean over positions of a . v max(0.1, cos(a, v))^cosine, a the answer (C,) there.

    vector: (C,), or (N, C), one a sample. cosine: how much more the angle weighs than the length;
    0 is the plain product. everywhere=False: at `place` alone (None: the middle). Carter et al.,
    "Activation Atlas" (Distill, 2019).
    """
    given = np.asarray(vector, np.float64)
    if given.ndim not in (1, 2) or not given.size or not np.isfinite(given).all() or not (
            np.square(given).sum(-1) > 0).all():
        raise ValueError("direction: the vector must be finite numbers (C,) or (N, C) other than 0, got "
                         f"{given.shape}")
    if not np.isfinite(cosine) or cosine < 0:
        raise ValueError(f"direction: cosine must not be negative, got {cosine}")

    def measure(answers):
        answer = answers[layer]
        count, channels = answer.shape[:2]
        if given.shape[-1] != channels or (given.ndim == 2 and len(given) != count):
            raise ValueError(f"direction: {layer} has {channels} channels for {count} samples, the vector is "
                             f"{given.shape}")
        a = answer.reshape(count, channels, -1).astype(np.float64)
        if not everywhere:
            flat = int(np.ravel_multi_index(position("direction", layer, place, answer), answer.shape[2:] or (1,))
                       if answer.ndim > 2 else 0)
            a = a[:, :, flat:flat + 1]
        value, g = towards(a, np.broadcast_to(given, (count, channels)), cosine)
        seed = np.zeros((count, channels, answer[0, 0].size), answer.dtype)
        seed[:, :, (slice(None) if everywhere else slice(flat, flat + 1))] = g
        return value, {layer: seed.reshape(answer.shape)}
    return Objective((layer,), measure, f"a direction of {layer}")


def towards(a: np.ndarray, v: np.ndarray, power: float) -> tuple[np.ndarray, np.ndarray]:
    """The mean over positions of (a . v) max(0.1, cos)^power, (N,), and its gradient for a
    (N, C, positions)."""
    v = v[:, :, None]
    dot = (a * v).sum(1, keepdims=True)
    lengths = np.sqrt((a * a).sum(1, keepdims=True)) + 1e-12, np.sqrt((v * v).sum(1, keepdims=True))
    cos = dot / (lengths[0] * lengths[1])
    held = np.maximum(cos, LEAST_COSINE)
    slope = v / (lengths[0] * lengths[1]) - cos * a / np.square(lengths[0])   # of the cosine
    g = v * held ** power
    if power:
        g = g + dot * power * held ** (power - 1) * slope * (cos > LEAST_COSINE)
    positions = a.shape[2]
    return (dot * held ** power).sum((1, 2)) / positions, g / positions


def pair(first: Objective, second: Objective, samples: int | None = None) -> Objective:
    """Half of each; with `samples`, a batch of so many from `first` alone to `second` alone."""
    share = np.float64(0.5) if samples is None else np.linspace(0, 1, samples)
    both = first * (1 - share) + second * share
    return Objective(both.layers, both.measure, f"{first.text} and {second.text}")


def diversity(layer: str) -> Objective:
    """Minus the mean over the other samples of the cosine between Gram matrices of a layer's maps:
    images of one batch shall differ."""
    def measure(answers):
        answer = answers[layer]
        count = len(answer)
        a = answer.reshape(count, answer.shape[1], -1).astype(np.float64)
        gram = a @ a.transpose(0, 2, 1)
        length = np.sqrt(np.square(gram).sum((1, 2), keepdims=True)) + 1e-12
        unit = gram / length
        others = unit.sum(0) - unit
        n = max(1, count - 1)
        slope = -2 * others / n     # each pair counts for both of its samples
        slope = (slope - unit * (unit * slope).sum((1, 2), keepdims=True)) / length
        g = 2 * slope @ a
        return -(unit * others).sum((1, 2)) / n, {layer: g.reshape(answer.shape).astype(answer.dtype)}
    return Objective((layer,), measure, f"diversity at {layer}")
