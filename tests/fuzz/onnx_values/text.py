"""Strings, n-grams, and sequences that come out of one operator."""

from __future__ import annotations

import numpy as np

from .draw import recipe

WORDS = ["", "a", "b c", " d", "Monday", "MONDAY", "é,f", "x,,y"]


def words(d, shape):
    return np.array([d.pick(*WORDS) for _ in range(int(np.prod(shape)))], object).reshape(shape)


@recipe("StringConcat")
def concat(d, op):
    d.opset = 20
    shape = d.shape(0, 3)
    d.given(words(d, shape), False)
    d.given(words(d, d.broadcasting(shape)), d.chance(0.4))
    return {}


@recipe("StringSplit")
def split(d, op):
    d.opset, d.outputs = 20, 2
    d.given(words(d, d.shape(1, 3, empty=0)), False)
    attrs = {"delimiter": d.pick(",", " ", "")} if d.chance(0.7) else {}
    return attrs | ({"maxsplit": d.r.randint(1, 3)} if d.chance(0.4) else {})


@recipe("TfIdfVectorizer")
def grams(d, op):
    longest = d.r.randint(1, 3)
    counts, pool = [], []
    for n in range(1, longest + 1):
        counts.append(len(pool))
        found = {tuple(d.r.randrange(4) for _ in range(n)) for _ in range(d.r.randint(1, 4))}
        pool += [v for gram in sorted(found) for v in gram]
    ends = [*counts[1:], len(pool)]
    total = sum((b - a) // n for n, (a, b) in enumerate(zip(counts, ends), 1))
    places = list(range(total))
    d.r.shuffle(places)
    d.given(d.n.integers(0, 4, d.pick((d.r.randint(1, 9),), (2, d.r.randint(1, 9)))), False)
    return {
        "mode": "TF",
        "min_gram_length": 1,
        "max_gram_length": d.r.randint(1, longest),
        "max_skip_count": d.r.randint(0, 2),
        "ngram_counts": counts,
        "ngram_indexes": places,
        "pool_int64s": pool,
    }


@recipe("SplitToSequence")
def to_sequence(d, op):
    x = d.operand(d.shape(1, 3, empty=0), d.dtype("f", "i"), 0)
    axis = d.axis(x.ndim)
    size = x.shape[axis]
    how = d.r.randrange(3)
    if how == 1:
        d.given(np.array(d.r.randint(1, size), np.int64))
    elif how == 2:
        first = d.r.randint(0, size)
        d.given(np.array([first, size - first], np.int64))
    return {"axis": axis, "keepdims": d.pick(0, 1)} if how == 0 else {"axis": axis}
