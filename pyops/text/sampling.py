"""Sampling: which number comes next, drawn by a network's scores."""
from __future__ import annotations

import numpy as np


def check_sampling(temperature: float, top_k: int | None, top_p: float | None = None) -> None:
    """ValueError unless temperature is positive and finite, top_k None or positive, and top_p None or
    in (0, 1]."""
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
    scores = scores.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):   # a temperature near 0 makes the unlikely infinitely so
        p = np.exp((scores - scores.max()) / temperature)
    if top_k is not None and top_k < len(p):
        p[np.argsort(-scores, kind="stable")[top_k:]] = 0
    if top_p is not None:
        order = np.argsort(-p, kind="stable")
        before = np.cumsum(p[order]) - p[order]
        p[order[before >= top_p * p.sum()]] = 0
    cumulative = np.cumsum(p)
    return int(np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right"))
