"""Texts with parts left out, which a network learns to put back: masked words, spans behind
sentinels."""
from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def mask_words(ids, mask_token: int, vocabulary: int, generator: np.random.Generator, rate: float = 0.15,
               special: Collection[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """What BERT is trained on: texts with masked tokens, and the tokens that were there.

    ids: whole numbers (N, T). Each token but the special ones is chosen with the probability
    `rate`; of those chosen 80 % become mask_token, 10 % any token of the vocabulary, and 10 % stay.
    Returns ids as they are read, and words (N, T), -100 where nothing was chosen. ValueError for a
    rate outside [0, 1] and for tokens beyond the vocabulary. Source: Devlin et al. (2019), section
    3.1.
    """
    ids = np.asarray(ids)
    checked("mask_words", ids, rate)
    if ids.size and not 0 <= ids.min() <= ids.max() < vocabulary or not 0 <= mask_token < vocabulary:
        raise ValueError(f"mask_words: ids and mask_token must be below the vocabulary of {vocabulary}")
    chosen = (generator.random(ids.shape) < rate) & ~np.isin(ids, list(special))
    how, others = generator.random(ids.shape), generator.integers(0, vocabulary, ids.shape)
    read = np.where(chosen & (how < 0.8), mask_token, np.where(chosen & (how < 0.9), others, ids))
    return read.astype(np.int64), np.where(chosen, ids, -100).astype(np.int64)


def corrupt_spans(ids, sentinels: Sequence[int], generator: np.random.Generator, rate: float = 0.15,
                  mean_length: float = 3.0, end: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What T5 is trained on: a text whose spans are replaced by sentinels, and what they stand for.

    ids: one text, whole numbers (T,), two or more. round(rate T) tokens are left out, in
    round(that / mean_length) spans whose lengths are drawn; the text begins with what is kept. The
    source has a sentinel for each span, in order; the target the sentinels each before its span,
    one more behind the last, and `end`, if there is one, which the source gets too.
    ValueError for a rate outside [0, 1], a length below 1, and for fewer sentinels than are needed.
    Source: Raffel et al. (2020), section 3.1.4 and figure 2.
    """
    ids = np.asarray(ids)
    checked("corrupt_spans", ids, rate)
    if ids.ndim != 1 or len(ids) < 2 or not mean_length >= 1:
        raise ValueError(f"corrupt_spans: ids must be one text of at least two tokens and mean_length at least 1, "
                         f"got shape {ids.shape} and {mean_length}")
    left_out = min(max(round(rate * len(ids)), 1), len(ids) - 1)
    count = max(1, min(round(left_out / mean_length), len(ids) - left_out))
    if count >= len(sentinels):
        raise ValueError(f"corrupt_spans: {count} spans need {count + 1} sentinels, got {len(sentinels)}")
    lengths = np.stack([parts(len(ids) - left_out, count, generator), parts(left_out, count, generator)], 1)
    borders = np.concatenate([[0], np.cumsum(lengths.reshape(-1))])
    pieces = [ids[a:b] for a, b in zip(borders, borders[1:])]
    last = [] if end is None else [end]
    source = [piece for kept, mark in zip(pieces[::2], sentinels) for piece in (kept, [mark])]
    target = [piece for span, mark in zip(pieces[1::2], sentinels) for piece in ([mark], span)]
    return np.concatenate([*source, last]).astype(np.int64), np.concatenate(
        [*target, [sentinels[count]], last]).astype(np.int64)


def parts(total: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """`count` positive lengths with this sum, all such equally likely."""
    borders = np.sort(generator.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff([0, *borders, total])


def checked(name: str, ids: np.ndarray, rate: float) -> None:
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name}: ids must be whole numbers, got {ids.dtype}")
    if not 0 <= rate <= 1:
        raise ValueError(f"{name}: rate must be in [0, 1], got {rate}")
