"""Sampling: which number comes next, drawn by a network's scores."""
from __future__ import annotations

import numpy as np

STRETCH = 64   # scores of which only the greatest is looked at first


def check_sampling(temperature: float, top_k: int | None, top_p: float | None = None) -> None:
    """ValueError unless temperature is positive and finite, top_k None or positive, and top_p None or
    in (0, 1]."""
    real, whole = (int, float, np.number), (int, np.integer)
    for name, value, kinds in (("temperature", temperature, real), ("top_k", top_k, whole), ("top_p", top_p, real)):
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            raise ValueError(f"{name} must be a {'whole ' if name == 'top_k' else ''}number, got {value!r}")
    if not 0 < temperature < float("inf"):
        raise ValueError(
            f"temperature must be positive and finite, got {temperature}; top_k=1 always takes the likeliest")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")


def draw(scores: np.ndarray, generator: np.random.Generator, temperature: float = 1.0,
         top_k: int | None = None, top_p: float | None = None) -> int:
    """A class of scores (C,), with the probabilities softmax(scores / temperature); top_k: among
    the so many likeliest only; top_p: among the fewest likeliest of these that together have at
    least this probability (Holtzman et al., 2020).

    A low temperature prefers the likely, a high one makes all alike. ValueError where
    a score is not finite.
    """
    check_sampling(temperature, top_k, top_p)
    if not np.isfinite(scores).all():
        raise ValueError("draw: a score is not finite")
    kept = None if top_k is None or top_k >= len(scores) else likeliest(scores, top_k)
    some = (scores if kept is None else scores[kept]).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):   # a temperature near 0 makes the unlikely infinitely so
        p = np.exp((some - some.max()) / temperature)
    if top_p is not None:
        nucleus = fewest(p, top_p * p.sum())
        kept, p = (nucleus if kept is None else kept[nucleus]), p[nucleus]
    if kept is not None:   # in the order of classes
        order = np.argsort(kept)
        kept, p = kept[order], p[order]
    cumulative = np.cumsum(p)
    found = np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right")
    return int(found if kept is None else kept[found])


def likeliest(scores: np.ndarray, count: int) -> np.ndarray:
    """The places of the greatest scores, in descending order, equal ones by place. A vocabulary is not
    sorted for the few of it that may come."""
    peaks = scores
    if count * STRETCH < len(scores):   # as many stretches have a peak that is no less than the least of these
        peaks = scores[:len(scores) // STRETCH * STRETCH].reshape(-1, STRETCH).max(1)
    least = np.partition(peaks, len(peaks) - count)[len(peaks) - count]
    some = np.flatnonzero(scores >= least)
    return some[np.argsort(-scores[some], kind="stable")[:count]]


def fewest(p: np.ndarray, least: float) -> np.ndarray:
    """The places of the greatest of p, as few as have the sum `least`."""
    count = min(64, len(p))
    while True:
        order = likeliest(p, count)
        cumulative = np.cumsum(p[order])
        if cumulative[-1] >= least or count == len(p):
            return order[cumulative - p[order] < least]
        count = min(8 * count, len(p))


def penalise(scores: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """scores (C,) with those of the classes `seen` made less likely: divided by penalty where positive,
    else multiplied (Keskar et al., 2019, "CTRL")."""
    scores = scores.copy()
    some = scores[seen]
    scores[seen] = np.where(some > 0, some / penalty, some * penalty)
    return scores
