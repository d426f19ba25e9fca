"""Sequences that a network writes: what it reads and should answer in training, and how
it writes on its own.

One token more than the vocabulary, number `vocabulary` itself, begins what is read and
ends what is written.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ... import functional as F
from ...core.tensor import no_grad

NO_TARGET = -100   # cross_entropy's ignore_index


def forced(tokens, lengths, end: int) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets), both (N, T + 1), of the wanted sequences, tokens (N, T): `end` and the
    tokens; the tokens and `end`.

    lengths: (N,), how many tokens of each row count, all if None; targets behind them are
    NO_TARGET.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens must be integers (N, T), got {tokens.dtype} of shape {tokens.shape}")
    n, t = tokens.shape
    lengths = np.full(n, t) if lengths is None else np.asarray(lengths)
    if lengths.shape != (n,) or n and (lengths.min() < 0 or lengths.max() > t):
        raise ValueError(f"lengths must be {n} numbers of 0 .. {t}, got {lengths}")
    place = np.arange(t + 1)
    inputs = np.full((n, t + 1), end, np.int64)
    targets = np.full((n, t + 1), NO_TARGET, np.int64)
    inputs[:, 1:] = np.where(place[:-1] < lengths[:, None], tokens, end)
    targets[:, :-1] = np.where(place[:-1] < lengths[:, None], tokens, NO_TARGET)
    targets[place == lengths[:, None]] = end
    return inputs, targets


def sequence_loss(scores, targets):
    """Mean cross-entropy of scores (N, T, C) for targets (N, T), NO_TARGET left out."""
    return F.cross_entropy(F.reshape(scores, (-1, scores.shape[-1])), np.reshape(targets, -1),
                           ignore_index=NO_TARGET)


def write(step: Callable, state, n: int, end: int, most: int) -> list[list[int]]:
    """n sequences of at most `most` tokens, at each place the likeliest. step(tokens (n, 1), state)
    -> (scores (n, 1, end + 1), state)."""
    written, done = [], np.zeros(n, bool)
    token = np.full(n, end)
    with no_grad():
        while len(written) < most and not done.all():
            scores, state = step(token[:, None], state)
            token = np.argmax(scores.data[:, 0], -1)
            done |= token == end
            written.append(np.where(done, end, token))
    return [[int(token) for token in row if token != end] for row in np.reshape(written, (len(written), n)).T]
