"""The embedding projector: what a network makes of images, before it decides, as points of a plane;
and wrong predictions among their neighbours."""
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .attribution import positive
from .layout import layout as placed
from .subject import Place, checked, subject

BATCH = 32


class Embedded(NamedTuple):
    """features: (N, D). places: (N, 2) in 0 .. 1. chosen: (N,), the likeliest classes. labels: (N,).
    neighbours: (N, k), the nearest other images by the angle between features, the nearest first."""
    features: np.ndarray
    places: np.ndarray
    chosen: np.ndarray
    labels: np.ndarray
    neighbours: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Numbers of the images that were taken for another class than their own."""
        return np.flatnonzero(self.chosen != self.labels)


def embed(model: Any, images: np.ndarray, labels: Any, layer: str | None = None, *, method: str | None = None,
          neighbours: int = 6, seed: int = 0) -> Embedded:
    """Features of images (N, C, H, W), laid out. layer: whose answers they are, means over its maps;
    None: what the last linear layer is given. method: of layout."""
    images, labels = checked("embed", images, batch=True), np.asarray(labels)
    positive("embed", neighbours=neighbours)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(f"embed: {len(images)} images need as many integer labels, got {labels.dtype} {labels.shape}")
    vectors, scores = features(model, images, layer)
    near = nearest(vectors, min(neighbours, len(images) - 1))
    return Embedded(vectors, placed(vectors, method, seed), scores.argmax(1), labels, near)


def features(model: Any, images: np.ndarray, layer: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) and the scores (N, classes)."""
    looked = subject(model)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    given: list[Any] = []
    places: list[Place] = [None] if layer is None else [None, layer]
    handle = None
    if layer is None:
        handle = looked.layer(last_linear(looked)).register_forward_pre_hook(
            lambda module, inputs: given.append(np.asarray(getattr(inputs[0], "data", inputs[0]))))
    try:
        for begin in range(0, len(images), BATCH):
            answers = looked.look(images[begin:begin + BATCH], places)
            answer = given[-1] if layer is None else answers[layer]
            found.append((answer.reshape(*answer.shape[:2], -1).mean(2), answers[None]))
            given.clear()
    finally:
        if handle is not None:
            handle.remove()
    vectors, scores = (np.concatenate(parts) for parts in zip(*found))
    return vectors, scores


def last_linear(looked: Any) -> str:
    from .. import nn
    torch = sys.modules.get("torch")
    kinds = (nn.Linear,) if torch is None else (nn.Linear, torch.nn.Linear)
    names = [name for name, module in looked.model.named_modules() if isinstance(module, kinds)]
    if not names:
        raise ValueError(f"embed: {looked.name} has no linear layer: name one of its layers")
    return names[-1]


def nearest(vectors: np.ndarray, count: int) -> np.ndarray:
    """(N, count): the others with the largest cosine."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = []
    for begin in range(0, len(units), 256):
        cosine = units[begin:begin + 256] @ units.T
        cosine[np.arange(len(cosine)), begin + np.arange(len(cosine))] = -np.inf
        found.append(np.argsort(-cosine, axis=1, kind="stable")[:, :count])
    return np.concatenate(found)


def purity(found: Embedded) -> float:
    """The share of neighbours that are of an image's own class."""
    return float((found.labels[found.neighbours] == found.labels[:, None]).mean())


def worst(found: Embedded, most: int) -> Sequence[int]:
    """Up to `most` wrong predictions, those first whose neighbours are most of the class they were
    taken for: where the features, and not the last layer alone, are wrong."""
    wrong = found.wrong
    share = (found.labels[found.neighbours[wrong]] == found.chosen[wrong, None]).mean(1)
    return wrong[np.argsort(-share, kind="stable")][:most].tolist()
