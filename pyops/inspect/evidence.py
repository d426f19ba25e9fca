"""Where in an image the evidence for a class lies: by covering parts of it, and by the
gradient at the last maps."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from .attribution import goal, positive
from .objective import Objective
from .subject import Subject, checked, subject


def occlusion(model: Any, image: Any, target: int | Objective, size: int, stride: int | None = None,
              fill: float = 0.0, batch: int = 64) -> np.ndarray:
    """(H, W): how much the score of class `target` falls where a square of side `size` covers the
    image (C, H, W), averaged over the squares that cover a pixel. Positive: evidence for the class.
    Zeiler & Fergus (2014).
    """
    image, looked, objective = checked("occlusion", image), subject(model), goal(target)
    stride = max(1, size // 2) if stride is None else stride
    height, width = image.shape[1:]
    if not 0 < size <= min(height, width) or stride < 1:
        raise ValueError(
            f"occlusion: size must be 1 .. {min(height, width)} and stride positive, got {size} and {stride}")
    positive("occlusion", batch=batch)
    places = [(y, x) for y in starts(height, size, stride) for x in starts(width, size, stride)]
    scores: list[float] = []
    for begin in range(0, len(places) + 1, batch):   # the first one covers nothing
        chosen = ([None] + places)[begin:begin + batch]
        covered = np.repeat(image[None], len(chosen), 0)
        for one, place in zip(covered, chosen):
            if place is not None:
                one[:, place[0]:place[0] + size, place[1]:place[1] + size] = fill
        scores += list(objective.measure(looked.look(covered, objective.layers))[0])
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for (y, x), score in zip(places, scores[1:]):
        total[y:y + size, x:x + size] += scores[0] - score
        count[y:y + size, x:x + size] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def starts(length: int, size: int, stride: int) -> list[int]:
    """Where squares begin; the last one ends at the edge."""
    places = list(range(0, length - size + 1, stride))
    return places if places[-1] == length - size else [*places, length - size]


def grad_cam(model: Any, image: Any, target: int | Objective, layer: str | None = None) -> np.ndarray:
    """(H, W) in 0 .. 1: ReLU of the maps of `layer` weighted by their mean gradient of the class's
    score, resized to the image (C, H, W).

    layer: dotted name; None for the last one to end that is a convolution, or holds one, and has maps
    larger than one pixel: a whole block, where a network has blocks. Selvaraju et al. (2017).
    ValueError where there is no such layer or class.
    """
    image = checked("grad_cam", image)
    maps, g = at_maps("grad_cam", subject(model), image, target, layer)
    return shown((g.mean((1, 2), keepdims=True) * maps).sum(0), image.shape[1:])


def grad_cam_plus_plus(model: Any, image: Any, target: int | Objective, layer: str | None = None) -> np.ndarray:
    """As grad_cam, but a map weighs the sum of its positive gradients, each times g^2 / (2 g^2 +
    g^3 sum(map)): places share a map's weight, so that several objects of a class all show.

    The formula is that of exp(score), whose second and third derivatives are powers of the
    gradient where the rest of the network is linear. Chattopadhyay et al. (2018), equations 10, 19.
    """
    image = checked("grad_cam_plus_plus", image)
    maps, g = (a.astype(np.float64) for a in at_maps("grad_cam_plus_plus", subject(model), image, target, layer))
    below = 2 * g ** 2 + g ** 3 * maps.sum((1, 2), keepdims=True)
    share = np.where(below != 0, g ** 2 / np.where(below != 0, below, 1), 0)
    weights = (share * np.maximum(g, 0)).sum((1, 2), keepdims=True)
    return shown((weights * maps).sum(0), image.shape[1:])


def at_maps(what: str, looked: Subject, image: np.ndarray, target: int | Objective,
            layer: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The maps (C, h, w) of a layer for one image, and the gradient of the objective at them."""
    layer = last_maps(what, looked, image) if layer is None else layer
    objective = goal(target)
    answers, g = looked.pull(image[None], [*objective.layers, layer], lambda a: objective.measure(a)[1], to=layer)
    if g.ndim != 4:
        raise ValueError(f"{what}: {layer} answers with {answers[layer].shape}, which are no maps (N, C, H, W)")
    return answers[layer][0], g[0]


def last_maps(what: str, looked: Subject, image: np.ndarray) -> str:
    """The last layer to end that is or holds a convolution and whose maps are larger than one pixel."""
    names = looked.convolutions()
    around = {name.rsplit(".", cut)[0] for name in names for cut in range(name.count(".") + 1)}
    found = looked.look(image[None], sorted(around), some=True)
    names = [name for name, maps in found.items() if maps.ndim == 4 and maps[0, 0].size > 1]
    if not names:
        raise ValueError(f"{what}: {looked.name} has no convolution with maps of more than one pixel")
    return names[-1]


def shown(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Positive values (h, w) resized to the image and to 0 .. 1."""
    positive_ones = np.ascontiguousarray(np.maximum(values, 0)[None, None], np.float32)
    cam = np.asarray(F.interpolate(positive_ones, size=size, mode="bilinear", align_corners=False))[0, 0]
    return cam / cam.max() if cam.max() > 0 else cam
