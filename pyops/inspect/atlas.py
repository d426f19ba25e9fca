"""The activation atlas: answers of many positions of many images, laid out in a plane, averaged on a
grid, and made visible. Carter et al., "Activation Atlas" (Distill, 2019)."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .attribution import positive
from .grid import directions
from .layout import layout
from .objective import score
from .subject import Subject, checked, subject

BATCH = 32


class Collected(NamedTuple):
    """vectors: (M, C), answers of positions of a layer. evidence: (M, K), what each weighs for the
    scores of `classes` (K,). image: (M,), the number of the image it comes from."""
    vectors: np.ndarray
    evidence: np.ndarray
    classes: np.ndarray
    image: np.ndarray


class Cell(NamedTuple):
    """row, column: on a grid of `side` cells. count: of positions that fell here. evidence: (K,), the
    mean. image: float32 (C, H, W) in 0 .. 1."""
    side: int
    row: int
    column: int
    count: int
    evidence: np.ndarray
    image: np.ndarray


class Atlas(NamedTuple):
    """places: (M, 2) in 0 .. 1 of the positions collected. cells: of each grid, the coarsest first.
    names: of the K classes."""
    places: np.ndarray
    cells: tuple[Cell, ...]
    names: tuple[str, ...]
    layer: str


def collect(model: Any, images: np.ndarray, layer: str, *, per_image: int = 1, most_classes: int = 12,
            seed: int = 0) -> Collected:
    """Answers at `per_image` drawn positions of each of images (N, C, H, W), border positions left
    out where there are others. Evidence for a class is the position's answer times its gradient;
    with more than most_classes classes, for those that are likeliest of most images."""
    images = checked("collect", images, batch=True)
    positive("collect", per_image=per_image, most_classes=most_classes)
    looked, rng = subject(model), np.random.default_rng(seed)
    parts = [looked.look(images[i:i + BATCH], [None, layer]) for i in range(0, len(images), BATCH)]
    scores, maps = (np.concatenate([part[place] for part in parts]) for place in (None, layer))
    flat = maps.reshape(*maps.shape[:2], -1)
    inner = inner_positions(maps.shape[2:])
    chosen = np.stack([rng.choice(inner, min(per_image, len(inner)), replace=False) for _ in images])
    counts = np.bincount(scores.argmax(1), minlength=scores.shape[1])
    classes = np.sort(np.argsort(-counts, kind="stable")[:most_classes])
    evidence = [attributed(looked, images, layer, int(c), chosen) for c in classes]
    vectors = np.take_along_axis(flat, chosen[:, None], 2).transpose(0, 2, 1).reshape(-1, flat.shape[1])
    return Collected(vectors, np.stack(evidence, 1), classes, np.arange(len(images)).repeat(chosen.shape[1]))


def inner_positions(sides: tuple[int, ...]) -> np.ndarray:
    """Flat numbers of the positions of maps, but for their borders where there is an inside."""
    mask = np.ones(sides or (1,), bool)
    for axis, n in enumerate(sides):
        if n > 2:
            edge = np.arange(n).reshape([-1 if i == axis else 1 for i in range(len(sides))])
            mask &= (edge > 0) & (edge < n - 1)
    return np.flatnonzero(mask)


def attributed(looked: Subject, images: np.ndarray, layer: str, target: int, chosen: np.ndarray) -> np.ndarray:
    """Answer times gradient of a class's score, summed over channels, at the chosen positions."""
    objective, found = score(target), []
    for begin in range(0, len(images), BATCH):
        answers, g = looked.pull(images[begin:begin + BATCH], [None, layer],
                                 lambda a: objective.measure(a)[1], to=layer)
        weighed = (answers[layer].astype(np.float64) * g).sum(1).reshape(len(g), -1)
        found.append(np.take_along_axis(weighed, chosen[begin:begin + BATCH], 1).ravel())
    return np.concatenate(found)


def atlas(model: Any, images: np.ndarray, layer: str, *, sides: Sequence[int] = (6, 12), least: int = 1,
          names: Sequence[str] | None = None, size: int = 48, steps: int = 60, per_image: int = 2,
          method: str | None = None, most_classes: int = 12, seed: int = 0, **how: Any) -> Atlas:
    """The atlas of `layer` over images (N, C, H, W).

    sides: of the grids, coarse to fine. least: positions that a cell needs. names: of all classes.
    size, steps: of the picture of a cell, which climbs along the mean answer of its positions.
    method: of layout. how: mean, std and others of visualise.
    """
    if not sides or any(not isinstance(n, (int, np.integer)) or n < 1 for n in sides):
        raise ValueError(f"atlas: sides must be positive ints, got {sides}")
    positive("atlas", least=least, size=size)
    found = collect(model, images, layer, per_image=per_image, most_classes=most_classes, seed=seed)
    if names is not None and len(names) <= int(found.classes.max()):
        raise ValueError(f"atlas: {len(names)} names for classes up to {int(found.classes.max())}")
    places = layout(found.vectors, method, seed)
    told: list[tuple[int, int, int, np.ndarray]] = []
    for side in sides:
        column, row = np.minimum((places * side).astype(int), side - 1).T
        for at in np.unique(row * side + column):
            members = np.flatnonzero(row * side + column == at)
            if len(members) >= least:
                told.append((side, int(at) // side, int(at) % side, members))
    if not told:
        raise ValueError(f"atlas: no cell holds {least} of {len(places)} positions")
    means = np.stack([found.vectors[members].mean(0) for *_, members in told])
    pictures = directions(model, layer, means, (images.shape[1], size, size), steps=steps, seed=seed, **how)
    cells = tuple(Cell(side, row, column, len(members), found.evidence[members].mean(0), picture)
                  for (side, row, column, members), picture in zip(told, pictures))
    called = tuple(str(names[c]) if names is not None else f"class {c}" for c in found.classes)
    return Atlas(places, cells, called, layer)
