"""Where in an image the evidence for a class lies: by covering parts of it, and by the
gradient at the last maps."""
from __future__ import annotations

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor, grad, no_grad
from ..graph.describe import evaluating
from ..models.classification.classifier import scores_of
from .maps import convolutions, layer_of


def occlusion(model, image: np.ndarray, target: int, size: int, stride: int | None = None, fill: float = 0.0,
              batch: int = 64) -> np.ndarray:
    """(H, W): how much the score of class `target` falls where a square of side `size` covers the
    image (C, H, W), averaged over the squares that cover a pixel. Positive: evidence for the class.
    Zeiler & Fergus (2014).
    """
    stride = stride or max(1, size // 2)
    height, width = image.shape[1:]
    if not 0 < size <= min(height, width) or stride < 1:
        raise ValueError(
            f"occlusion: size must be 1 .. {min(height, width)} and stride positive, got {size} and {stride}")
    places = [(y, x) for y in starts(height, size, stride) for x in starts(width, size, stride)]
    covered = np.repeat(image[None], len(places) + 1, 0)
    for one, (y, x) in zip(covered[1:], places):
        one[:, y:y + size, x:x + size] = fill
    with evaluating(model), no_grad():
        parts = [scores_of(model, model(Tensor(covered[i:i + batch]))).data
                 for i in range(0, len(covered), batch)]
    scores = column(np.concatenate(parts), target)
    total, count = np.zeros((height, width)), np.zeros((height, width))
    for (y, x), score in zip(places, scores[1:]):
        total[y:y + size, x:x + size] += scores[0] - score
        count[y:y + size, x:x + size] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)


def starts(length: int, size: int, stride: int) -> list[int]:
    """Where squares begin; the last one ends at the edge."""
    places = list(range(0, length - size + 1, stride))
    return places if places[-1] == length - size else [*places, length - size]


def column(scores: np.ndarray, target: int) -> np.ndarray:
    if not 0 <= target < scores.shape[1]:
        raise ValueError(f"target must be a class 0 .. {scores.shape[1] - 1}, got {target}")
    return scores[:, target]


def grad_cam(model, image: np.ndarray, target: int, layer: str | None = None) -> np.ndarray:
    """(H, W) in 0 .. 1: ReLU of the maps of `layer` weighted by their mean gradient of the class's
    score, resized to the image (C, H, W).

    layer: dotted name; None for the last convolution whose maps are larger than one pixel.
    Selvaraju et al. (2017). ValueError where there is no such layer or class.
    """
    caught: dict[str, Tensor] = {}

    def cut(name):
        def hook(module, given, output):
            if layer is None and output.shape[2] * output.shape[3] == 1:
                return None
            caught.clear()   # the last one that ran
            caught[name] = Tensor(output.data, requires_grad=True)
            return caught[name]
        return hook
    names = convolutions(model) if layer is None else [layer]
    handles = [layer_of(model, name).register_forward_hook(cut(name)) for name in names]
    try:
        with evaluating(model):
            scores = scores_of(model, model(Tensor(image[None])))
    finally:
        for handle in handles:
            handle.remove()
    if not caught:
        raise ValueError(
            f"grad_cam: {type(model).__name__} has no convolution with maps of more than one pixel")
    maps = next(iter(caught.values()))
    column(scores.data, target)
    seed = np.zeros(scores.shape, scores.dtype)
    seed[:, target] = 1
    g = grad([scores], [maps], [seed])[0]
    weighted = np.maximum((g.mean((2, 3), keepdims=True) * maps.data).sum(1, keepdims=True), 0)
    cam = np.asarray(F.interpolate(weighted, size=image.shape[1:], mode="bilinear",
                                   align_corners=False))[0, 0]
    return cam / cam.max() if cam.max() > 0 else cam
