"""WordVectors: words and their vectors, and what was wrong with the file they come from."""
from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# of the array while nothing tells how many rows there will be; more would waste what less would
# copy
GROWTH = 1.25
MOST_LISTED = 1000   # skipped entries that are kept one by one; the rest is counted


class Skipped(NamedTuple):
    """An entry of a file that was left out. number: of the line, from 1; in a binary file
    of the word, from 1."""
    number: int
    why: str


@dataclass(frozen=True, eq=False)
class WordVectors:
    """words[i] has the vector vectors[i]; vectors: float32 (len(words), dimension). index: word ->
    i.

    skipped lists the first 1000 of the skipped_count entries that could not be used.
    """
    words: list[str]
    vectors: np.ndarray
    index: dict[str, int] = field(repr=False)
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0

    def __len__(self):
        return len(self.words)

    def __repr__(self):
        return f"WordVectors({len(self)} words, {self.vectors.dtype}{list(self.vectors.shape[1:])})"

    def __contains__(self, word):
        return word in self.index

    def __getitem__(self, word: str) -> np.ndarray:
        """The vector of `word` (a view). KeyError if it has none."""
        return self.vectors[self.index[word]]

    def nearest(self, to, count: int = 10) -> list[tuple[str, float]]:
        """The `count` words of the largest cosine with a word (which is left out itself) or with a
        vector (dimension,)."""
        vector = self[to] if isinstance(to, str) else np.asarray(to, np.float32)
        if vector.shape != self.vectors.shape[1:]:
            raise ValueError(f"nearest: a vector here has shape {self.vectors.shape[1:]}, got {vector.shape}")
        norms = np.sqrt(np.einsum("ij,ij->i", self.vectors, self.vectors)) * np.linalg.norm(vector)
        cosine = np.divide(self.vectors @ vector, norms, out=np.full(len(self), -np.inf, np.float32),
                           where=norms > 0)
        if isinstance(to, str):
            cosine[self.index[to]] = -np.inf
        best = np.argsort(-cosine, kind="stable")[:count]
        return [(self.words[i], float(cosine[i])) for i in best if cosine[i] > -np.inf]

    def table(self, vocabulary: Iterable[str], generator: np.random.Generator | None = None) -> np.ndarray:
        """float32 (len(vocabulary), dimension) for nn.Embedding.from_pretrained: a row for each
        word of one's own list.

        A word without a vector gets zeros or, with a generator, numbers of the mean and deviation
        that each column has here.
        """
        vocabulary = list(vocabulary)
        rows = np.array([self.index.get(word, -1) for word in vocabulary], np.int64)
        table = self.vectors[rows]
        unknown = rows < 0
        table[unknown] = 0
        if generator is not None and unknown.any():
            drawn = generator.standard_normal((int(unknown.sum()), table.shape[1]), np.float32)
            table[unknown] = drawn * self.vectors.std(0) + self.vectors.mean(0)
        return table


class Collector:
    """Vectors as they are read: into one float32 array, which grows in place.

    path: for messages. words: keep only these. limit: keep at most so many. strict: what would be
    skipped is a ValueError.
    """

    def __init__(self, path, dimension: int, words: Collection[str] | None, limit: int | None, strict: bool):
        if isinstance(words, str):
            raise TypeError(f"words must be a collection of words, got one str, {words!r}")
        if limit is not None and limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self.path, self.dimension, self.strict = path, dimension, strict
        self.wanted = None if words is None else frozenset(words)
        limits = [n for n in (limit, None if words is None else len(self.wanted)) if n is not None]
        self.most = min(limits, default=None)
        self.array = np.empty((16, dimension), np.float32)
        self.words: list[str] = []
        self.index: dict[str, int] = {}
        self.skipped: list[Skipped] = []
        self.skipped_count = 0

    @property
    def full(self) -> bool:
        """No further entry can be kept."""
        return self.most is not None and len(self.words) >= self.most

    def wants(self, word: str) -> bool:
        return self.wanted is None or word in self.wanted

    def row(self) -> np.ndarray:
        """Where the next vector is to be written; `keep` makes it count. Rows given out before must
        not be used any more."""
        rows = len(self.array)
        if len(self.words) == rows:
            # realloc: seldom a copy
            self.array.resize((rows + max(16, int(rows * (GROWTH - 1))), self.dimension), refcheck=False)
        return self.array[len(self.words)]

    def keep(self, number: int, word: str) -> None:
        """Takes the vector in row() for `word`, unless it must be skipped."""
        if word in self.index:
            self.skip(number, f"the word {word!r} again; the first is kept")
        elif not np.isfinite(self.array[len(self.words)]).all():
            self.skip(number, f"the vector of {word!r} has a number that is not finite in float32")
        else:
            self.index[word] = len(self.words)
            self.words.append(word)

    def skip(self, number: int, why: str) -> None:
        if self.strict:
            raise ValueError(f"{self.path}, {number}: {why}")
        self.skipped_count += 1
        if len(self.skipped) < MOST_LISTED:
            self.skipped.append(Skipped(number, why))

    def finish(self) -> WordVectors:
        """The vectors. Warns if entries were skipped; ValueError if nothing else was there."""
        first = f"{self.skipped[0].number}: {self.skipped[0].why}" if self.skipped else ""
        if not self.words and self.wanted is None:
            why = f"the first of {self.skipped_count} bad entries is {first}" if first else "it is empty"
            raise ValueError(f"{self.path}: no word vectors in it; {why}")
        if first:
            entries = "1 entry" if self.skipped_count == 1 else f"{self.skipped_count} entries"
            warnings.warn(f"{self.path}: {entries} skipped, the first is {first}", stacklevel=3)
        self.array.resize((len(self.words), self.dimension), refcheck=False)
        return WordVectors(self.words, self.array, self.index, self.skipped, self.skipped_count)


def decoded(word: bytes) -> str:
    """UTF-8 as text. ValueError that says what it is not."""
    try:
        text = word.decode()
    except UnicodeDecodeError:
        raise ValueError(f"the word {word[:40]!r} is not UTF-8") from None
    if not text:
        raise ValueError("there is no word")
    return text
