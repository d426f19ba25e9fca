"""GloVe's text format: a line a word, the word and its numbers, separated by spaces.
Pennington et al. (2014)."""
from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain, islice

import numpy as np

from .files import numbered_lines, opened
from .word_vectors import Collector, WordVectors, decoded

LINES_THAT_VOTE = 100   # on the dimension


def read_glove(path, *, words: Collection[str] | None = None, limit: int | None = None,
               dimension: int | None = None, strict: bool = False) -> WordVectors:
    """The vectors in a GloVe text file, gzipped or not, in the file's order.

    words: keep only these, and stop when all are found; lines of other words are not looked
    at closely. limit: keep at most so many. dimension: numbers in a vector; without it,
    what most of the first 100 lines have after one word. A word may contain spaces, as some
    of the 840B vectors do.

    Lines that cannot be used (too few or too many numbers, something that is no finite float32,
    no UTF-8, a word that was there before) are skipped with one warning, and listed with their
    numbers in `skipped`; strict=True makes the first of them a ValueError. ValueError too if
    nothing remains, or for a damaged gzip stream; OSError where the file cannot be read. One line
    is in memory at a time.
    """
    if dimension is not None and dimension < 1:
        raise ValueError(f"read_glove: dimension must be at least 1, got {dimension}")
    with opened(path) as file:
        lines = numbered_lines(file)
        if dimension is None:
            begin = list(islice(lines, LINES_THAT_VOTE))
            dimension, lines = likeliest_dimension(begin), chain(begin, lines)
        if not dimension:
            raise ValueError(f"{path}: no word vectors in it; "
                             + ("no line is a word and numbers" if begin else "it is empty"))
        collector = Collector(path, dimension, words, limit, strict)
        collect_lines(collector, lines)
        return collector.finish()


def likeliest_dimension(lines: Iterable[tuple[int, bytes | None]]) -> int:
    """How many numbers most lines have if their words have no space; among equals what came first.
    0 if no line has any."""
    counts = Counter(n for _, line in lines if line is not None and (n := len(line.split()) - 1) > 0)
    return counts.most_common(1)[0][0] if counts else 0


def collect_lines(collector: Collector, lines: Iterable[tuple[int, bytes | None]]) -> None:
    """Gives `collector` what it wants of numbered lines."""
    with np.errstate(over="ignore"):   # beyond float32 becomes infinite, which is refused
        for number, line in lines:
            if collector.full:
                return
            try:
                word, numbers = split(line, collector.dimension)
                if not collector.wants(word):
                    continue
                collector.row()[:] = parsed(numbers)
            except ValueError as why:
                collector.skip(number, str(why))
            else:
                collector.keep(number, word)


def split(line: bytes | None, dimension: int) -> tuple[str, list[bytes]]:
    """The word and its numbers. Only ASCII white space separates: words contain other kinds."""
    if line is None:
        raise ValueError("a line of more than a megabyte")
    first, *numbers = line.rsplit(None, dimension) or [b""]
    if len(numbers) < dimension:
        raise ValueError(f"a word and {dimension} numbers expected, there are {len(line.split())} fields")
    word = decoded(first.strip())
    *others, last = first.split()
    if others and is_number(last):
        raise ValueError(f"more than {dimension} numbers after {word.split()[0]!r}")
    return word, numbers


def parsed(numbers: list[bytes]) -> list[float]:
    try:
        values = list(map(float, numbers))
    except ValueError:
        values = []
    if not values or b"_" in b"".join(numbers):   # Python reads 1_0 as 10
        raise ValueError(f"{next(field for field in numbers if not is_number(field))[:40]!r} is not a number")
    return values


def is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field
