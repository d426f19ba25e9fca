"""Activation maximisation: the image that a unit answers most to. Erhan et al. (2009); jitter and
blur as in distill.pub's work."""
from __future__ import annotations

import numpy as np

from .. import functional as F
from ..core.tensor import Tensor, grad
from ..graph.describe import evaluating
from .maps import layer_of


def maximise(model, shape: tuple[int, int, int], unit: int, layer: str | None = None, *, steps: int = 100,
             rate: float = 0.1,
             decay: float = 1e-3, jitter: int = 2, blur_every: int = 8, seed: int = 0) -> np.ndarray:
    """An input (C, H, W) that gradient ascent from faint noise makes for the mean of channel `unit`
    of `layer` (None: a class's score).

    Each step moves the image by `rate` along the normalised gradient, seen shifted by up to
    `jitter` pixels, and shrinks it by `decay`; every blur_every steps it is blurred a little:
    without these the result is high-frequency noise. ValueError where there is no such unit.
    """
    rng = np.random.default_rng(seed)
    image = 0.1 * rng.standard_normal((1, *shape)).astype(np.float32)
    caught: list[Tensor] = []
    handle = (None if layer is None
              else layer_of(model, layer).register_forward_hook(lambda m, i, output: caught.append(output)))
    kept = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.requires_grad_(False)
        with evaluating(model):
            for step in range(steps):
                moved = rng.integers(-jitter, jitter + 1, 2)
                x = Tensor(np.ascontiguousarray(np.roll(image, moved, (2, 3))), requires_grad=True)
                caught.clear()
                output = model(x)
                result = output if layer is None else caught[-1]
                g = grad([result], [x], [toward(result, unit, model, layer)])[0]
                image += rate * np.roll(g, -moved, (2, 3)) / (np.sqrt(np.mean(np.square(g))) + 1e-12)
                image *= 1 - decay
                if blur_every and step % blur_every == blur_every - 1:
                    image = blurred(image)
    finally:
        if handle is not None:
            handle.remove()
        for p, wanted in kept:
            p.requires_grad = wanted
    return image[0]


def toward(result: Tensor, unit: int, model, layer) -> np.ndarray:
    """The gradient of the mean of channel `unit`; of a class, of what the model calls its score (a
    distance counts negative)."""
    if not 0 <= unit < result.shape[1]:
        raise ValueError(
            f"maximise: {layer or type(model).__name__} has units 0 .. {result.shape[1] - 1}, got {unit}")
    g = np.zeros(result.shape, result.dtype)
    g[:, unit] = 1 / g[0, unit].size
    scores = getattr(model, "scores", None)
    return -g if layer is None and scores is not None and float(np.sum(scores(Tensor(g)).data)) < 0 else g


def blurred(image: np.ndarray) -> np.ndarray:
    """By (1 4 1) / 6 along both axes, edges repeated."""
    kernel = np.outer([1, 4, 1], [1, 4, 1]).astype(np.float32) / 36
    channels = image.shape[1]
    return F.conv2d(F.pad(image, (1, 1, 1, 1), "replicate"),
                    np.broadcast_to(kernel, (channels, 1, 3, 3)).copy(), groups=channels)
