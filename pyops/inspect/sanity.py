"""Whether an explanation depends on what a network has learnt: a method whose map stays when the
weights are drawn anew shows the image, not the network. Adebayo et al., "Sanity Checks for Saliency
Maps" (2018)."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .attribution import positive
from .methods import Method, methods_for
from .objective import Objective
from .subject import checked, subject

SAME = 0.5   # a correlation above which a map counts as unchanged


class Sanity(NamedTuple):
    """layers: from which on, to the end, weights were drawn anew, stage by stage. maps: (H, W), as
    trained and of each stage. similarity: the correlation of each stage's map with that of the
    network as trained, of the last stage the mean over `draws`. changes: whether that is at most 0.5."""
    method: Method
    layers: tuple[str, ...]
    maps: tuple[np.ndarray, ...]
    similarity: np.ndarray
    changes: bool


def sanity(model: Any, image: np.ndarray, target: int | Objective, names: Sequence[str] | None = None,
           stages: int = 4, draws: int = 3, layer: str | None = None, seed: int = 0) -> list[Sanity]:
    """Each method's map (names: None for all), while layers lose their weights from the last one to
    the first, in `stages` steps, the last of them `draws` times.

    Parameters are drawn from a normal distribution of their own mean and deviation, and put back at
    the end. Maps are compared as they are drawn, by Pearson's correlation: ranks, of absolute values
    above all, mostly say where the image is black, where no method sees anything.
    """
    image = checked("sanity", image)
    positive("sanity", stages=stages, draws=draws)
    methods = methods_for(model, image, target, names)
    looked = subject(model)
    groups = weighted_layers(looked)[::-1]
    if not groups:
        raise ValueError(f"sanity: {looked.name} has no weights to draw anew")
    ends = np.unique(np.linspace(0, len(groups), stages + 1).round().astype(int))[1:]
    spans = list(zip([0, *ends[:-1]], ends)) + [(0, len(groups))] * (draws - 1)
    maps = {name: [method.ask(model, image, target, layer)] for name, method in methods.items()}
    rng = np.random.default_rng(seed)
    with restored(array for _, arrays in groups for array in arrays):
        for begin, end in spans:
            for array in (array for _, arrays in groups[begin:end] for array in arrays):
                array[...] = rng.normal(array.mean(), array.std() or 1e-12, array.shape)
            for name, method in methods.items():
                maps[name].append(method.ask(model, image, target, layer))
    layers, found = tuple(groups[end - 1][0] for end in ends), []
    for name, method in methods.items():
        alike = np.array([correlation(maps[name][0], m) for m in maps[name][1:]])
        alike = np.append(alike[:len(ends) - 1], alike[len(ends) - 1:].mean())
        found.append(Sanity(method, layers, tuple(maps[name][:len(ends) + 1]), alike, bool(alike[-1] <= SAME)))
    return found


def weighted_layers(looked: Any) -> list[tuple[str, list[np.ndarray]]]:
    """Layers in the order in which they are held, with the memory of their own parameters."""
    held: dict[str, list[np.ndarray]] = {}
    for name, parameter in looked.model.named_parameters():
        array = parameter.data
        held.setdefault(name.rpartition(".")[0] or name, []).append(
            array if isinstance(array, np.ndarray) else array.numpy())
    return list(held.items())


@contextmanager
def restored(arrays: Any) -> Iterator[None]:
    kept = [(array, array.copy()) for array in arrays]
    try:
        yield
    finally:
        for array, before in kept:
            array[...] = before


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; 0 where one of the two is constant."""
    a, b = (m.astype(np.float64) - m.mean(dtype=np.float64) for m in (a, b))
    length = np.sqrt(np.square(a).sum() * np.square(b).sum())
    return float((a * b).sum() / length) if length else 0.0
