"""Strings and counts of n-grams, by Python, node by node."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from .row import Unsupported, known, op
from .shape import broadcast_shape

QUANTIFIER = re.compile(r"[*+]|\{\d+(,\d*)?\}")


def strings(call, i: int = 0) -> np.ndarray:
    x = known(call[i], f"input {i}")
    if x.dtype.kind != "O":
        raise ValueError(f"takes strings, got {x.dtype}")
    return x


def mapped(function, x: np.ndarray, dtype) -> np.ndarray:
    return np.array([function(v) for v in x.reshape(-1)], dtype).reshape(x.shape)


@op("StringConcat", keeps=True)
def concat(call):
    a, b = strings(call, 0), strings(call, 1)
    shape = call.room(broadcast_shape(a.shape, b.shape), object, copies=4)
    a, b = (np.broadcast_to(v, shape) for v in (a, b))
    call.limits.bytes(sum(len(s) + len(t) for s, t in zip(a.flat, b.flat)), "a result of strings")
    found = np.empty(shape, object)
    found.reshape(-1)[:] = [s + t for s, t in zip(a.flat, b.flat)]
    return found


@op("StringSplit", keeps=True)
def split(call):
    """Parts along a new last axis, "" where a string has fewer than another, and how many each has."""
    x, delimiter, most = strings(call), call.attr("delimiter", "") or None, call.attr("maxsplit", -1)
    parts = [s.split(delimiter, most) for s in x.flat]
    counts = np.array([len(p) for p in parts], np.int64)
    longest = int(counts.max(initial=0))
    found = np.empty(call.room((len(parts), longest), object, copies=2), object)
    for i, p in enumerate(parts):
        found[i] = p + [""] * (longest - len(p))
    return found.reshape((*x.shape, longest)), counts.reshape(x.shape)


@op("RegexFullMatch", keeps=True)
def full_match(call):
    """Whether all of a string matches, by RE2 (the package google-re2) where it is installed.

    It takes time in proportion to a string, which Python's module may not: there patterns that repeat
    what repeats are refused, others pay for each repetition.
    """
    x, pattern = strings(call), call.attr("pattern", "")
    expression = linear(pattern)
    if expression is None:
        try:
            expression = re.compile(pattern)
        except re.error as why:
            raise ValueError(f"pattern {pattern[:60]!r}: {why}") from None
        repeats = repetitions(pattern)
        for text in x.flat:
            call.work((len(text) + 1) ** min(max(repeats, 1), 64))
    return mapped(lambda text: expression.fullmatch(text) is not None, x, bool)


def linear(pattern: str):
    """The pattern for RE2; None without that package. ValueError for what is no pattern."""
    try:
        import re2
    except ImportError:
        return None
    try:
        return re2.compile(pattern)
    except re2.error as why:
        raise ValueError(f"pattern {pattern[:60]!r}: {why}") from None


def repetitions(pattern: str) -> int:
    """How many quantifiers a pattern has; Unsupported where one is in what another repeats."""
    plain = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern)  # no escapes and no sets
    inside: list[bool] = []
    for i, letter in enumerate(plain):
        if letter == "(":
            inside.append(False)
        elif letter == ")" and inside:
            repeats = inside.pop()
            if repeats and QUANTIFIER.match(plain, i + 1):
                raise Unsupported("a pattern that repeats what repeats, without the package google-re2")
            if inside:
                inside[-1] |= repeats
        elif inside and (letter == "|" or QUANTIFIER.match(plain, i)):
            inside[-1] = True
    return len(QUANTIFIER.findall(plain))


@op("StringNormalizer", keeps=True)
def normalise(call):
    """Without the elements that are stop words, in lower or upper case."""
    x, stops = strings(call), call.attr("stopwords") or []
    case = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}.get(call.attr("case_change_action", "NONE"))
    if case is None or x.ndim not in (1, 2) or x.ndim == 2 and x.shape[0] != 1:
        raise ValueError(
            f"case_change_action {call.attr('case_change_action')!r}, strings of shape {x.shape}: takes NONE, "
            f"LOWER or UPPER and (C) or (1, C)"
        )
    same = str if call.attr("is_case_sensitive", 0) else str.casefold
    stopped = {same(word) for word in stops}
    kept = [case(text) for text in x.flat if same(text) not in stopped] or [""]
    return np.array(kept, object).reshape((*x.shape[:-1], len(kept)))


@op("TfIdfVectorizer", keeps=True)
def count_grams(call):
    """How often each n-gram of a pool comes in a row: (C) -> (size), (N, C) -> (N, size).

    n-grams are of min_gram_length to max_gram_length entries, each with up to max_skip_count
    entries left out between two of its own. TF counts, IDF gives the weight of what comes at all,
    TFIDF their product.
    """
    x = known(call[0], "the operand")
    mode, skips = call.attr("mode"), call.attr("max_skip_count")
    least, most = call.attr("min_gram_length"), call.attr("max_gram_length")
    places, starts = call.attr("ngram_indexes"), call.attr("ngram_counts")
    pool = call.attr("pool_strings") or call.attr("pool_int64s") or []
    if mode not in ("TF", "IDF", "TFIDF") or not 1 <= least <= most or skips < 0 or x.ndim not in (1, 2):
        raise ValueError(f"mode {mode!r}, n-grams of {least} to {most}, {skips} left out, shape {x.shape}")
    grams = pooled(pool, starts)
    weights = call.attr("weights") or [1.0] * len(places)
    if len(grams) != len(places) or len(weights) != len(places) or min(places, default=0) < 0:
        raise ValueError(f"{len(grams)} n-grams, {len(places)} indexes, {len(weights)} weights")
    known_grams = {gram: i for i, gram in enumerate(grams) if least <= len(gram) <= most}
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    y = np.zeros(call.room((len(rows), max(places, default=-1) + 1), copies=2), np.float32)
    call.work(256 * x.size * (most - least + 1) * (skips + 1) * most)
    for row, out in zip(rows.tolist(), y):
        for i, count in counted(row, known_grams, range(least, most + 1), skips).items():
            out[places[i]] += {"TF": count, "IDF": weights[i], "TFIDF": count * weights[i]}[mode]
    return y.reshape(-1) if x.ndim == 1 else y


def pooled(pool: list, starts: list) -> list[tuple]:
    """The n-grams of a pool: those of length n begin at starts[n - 1]."""
    found = []
    for n, (first, end) in enumerate(zip(starts, [*starts[1:], len(pool)]), 1):
        if not 0 <= first <= end <= len(pool) or (end - first) % n:
            raise ValueError(f"n-grams of {n} from {first} to {end} of a pool of {len(pool)}")
        found += [tuple(pool[i : i + n]) for i in range(first, end, n)]
    return found


def counted(row: list, grams: dict, lengths, skips: int) -> Counter:
    found: Counter = Counter()
    for n in lengths:
        for distance in range(1, (skips if n > 1 else 0) + 2):
            for first in range(len(row) - (n - 1) * distance):
                i = grams.get(tuple(row[first : first + (n - 1) * distance + 1 : distance]))
                if i is not None:
                    found[i] += 1
    return found
