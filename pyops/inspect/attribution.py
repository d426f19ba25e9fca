"""What each value of an image weighs for a score, by gradients and their kin: saliency, guided
backpropagation, the deconvnet, SmoothGrad, integrated gradients. Results (C, H, W) are signed;
`of_pixels` makes a map of them."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .objective import Objective, score
from .rules import Rectify, deconvolved, guided
from .subject import Subject, checked, subject

BATCH = 16


def goal(target: int | Objective) -> Objective:
    """A class's score, or the objective itself."""
    return target if isinstance(target, Objective) else score(target)


def slopes(looked: Subject, images: np.ndarray, target: int | Objective,
           rectify: Rectify | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The objective of each of images (N, C, H, W), and its gradient for each."""
    objective = goal(target)
    answers, g = looked.pull(images, objective.layers, lambda found: objective.measure(found)[1], rectify=rectify)
    return objective.measure(answers)[0], g


def saliency(model: Any, image: Any, target: int | Objective) -> np.ndarray:
    """(C, H, W): the gradient of the score of class `target`, or of an Objective, at image (C, H, W).
    Simonyan, Vedaldi & Zisserman (2014)."""
    return slopes(subject(model), checked("saliency", image)[None], target)[1][0]


def guided_backprop(model: Any, image: Any, target: int | Objective) -> np.ndarray:
    """(C, H, W): the gradient, but that rectifiers hand on positive values only. Springenberg et al.
    (2015). It shows what an image holds more than why a class was chosen: see sanity.py."""
    return slopes(subject(model), checked("guided_backprop", image)[None], target, guided)[1][0]


def deconvnet(model: Any, image: Any, target: int | Objective) -> np.ndarray:
    """(C, H, W): from the score back by transposed convolutions, poolings undone by the switches that
    say where their maxima were, and rectifiers that let positive values pass wherever they come
    from. Zeiler & Fergus (2014)."""
    return slopes(subject(model), checked("deconvnet", image)[None], target, deconvolved)[1][0]


def smooth_grad(model: Any, image: Any, target: int | Objective, samples: int = 32, noise: float = 0.15,
                seed: int = 0) -> np.ndarray:
    """(C, H, W): the mean gradient at `samples` images with normal noise of deviation `noise` times
    the image's range. Smilkov et al. (2017)."""
    image = checked("smooth_grad", image)
    positive("smooth_grad", samples=samples)
    if not noise >= 0:
        raise ValueError(f"smooth_grad: noise must not be negative, got {noise}")
    looked, rng = subject(model), np.random.default_rng(seed)
    deviation, total = noise * float(np.ptp(image)), np.zeros(image.shape)
    for count in parts(samples):
        noisy = image + deviation * rng.standard_normal((count, *image.shape))
        total += slopes(looked, noisy, target)[1].sum(0, dtype=np.float64)
    return (total / samples).astype(image.dtype)


def integrated_gradients(model: Any, image: Any, target: int | Objective, baseline: Any = 0.0,
                         steps: int = 64) -> np.ndarray:
    """(C, H, W): (image - baseline) times the mean gradient on the straight way between them, by
    Gauss-Legendre's rule of `steps` points. They add up to the score of the image less that of the
    baseline, as nearly as the rule integrates. baseline: a number, or an image. Sundararajan, Taly &
    Yan (2017)."""
    image = checked("integrated_gradients", image)
    positive("integrated_gradients", steps=steps)
    start = np.asarray(baseline, image.dtype)
    if start.shape not in ((), image.shape) or not np.isfinite(start).all():
        raise ValueError("integrated_gradients: the baseline must be a finite number or an image of "
                         f"{image.shape}, got {np.shape(baseline)}")
    looked, total, begin = subject(model), np.zeros(image.shape), 0
    places, weights = np.polynomial.legendre.leggauss(steps)
    for count in parts(steps):
        at = ((places[begin:begin + count] + 1) / 2).reshape(-1, 1, 1, 1)
        g = slopes(looked, start + at * (image - start), target)[1]
        total += np.tensordot(weights[begin:begin + count] / 2, g.astype(np.float64), 1)
        begin += count
    return ((image - start) * total).astype(image.dtype)


def of_pixels(attribution: np.ndarray, absolute: bool = False) -> np.ndarray:
    """(H, W) of (C, H, W): the sum over channels, or their largest absolute value."""
    return np.abs(attribution).max(0) if absolute else attribution.sum(0)


def parts(count: int, most: int = BATCH) -> Iterator[int]:
    while count > 0:
        yield min(count, most)
        count -= most


def positive(what: str, **values: Any) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{what}: {name} must be a positive int, got {value!r}")
