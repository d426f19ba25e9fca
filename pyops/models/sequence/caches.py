"""Keys and values of the tokens that were read, for a batch of texts of different lengths."""
from __future__ import annotations

import numpy as np

from ...core import memory
from ...graph.packing import bfloat16

FORMS = ("float32", "bf16")
PIECE = 64   # capacities are multiples of so many entries


class Cache:
    """data: (layers, 2, rows, heads, capacity, features), keys and values. Row r has lengths[r]
    entries, which are all that a step reads of it. form "bf16" keeps them as bfloat16's bits in uint16.

    It grows in pieces, by a quarter where that is more: a Program is made for each capacity. With a
    window it keeps the last so many entries in a ring, in memory that stays the same: entry p lies at
    place p % window.
    """

    def __init__(self, shape: tuple[int, int, int], rows: int, capacity: int, most: int, dtype=np.float32,
                 form: str = "float32", window: int | None = None):
        """shape: layers, heads and features of a head. most: entries that there may ever be. window: how
        many of them are kept, None for all. ValueError for a form that there is not."""
        if form not in FORMS:
            raise ValueError(f"generate: cache must be one of {', '.join(FORMS)}, got {form!r}")
        layers, heads, features = shape
        self.stored = form == "bf16"
        self.most, self.window = most, window
        capacity = min(most, at_least(capacity)) if window is None else window
        self.data = memory.empty((layers, 2, rows, heads, capacity, features),
                                 np.uint16 if self.stored else dtype)   # in huge pages
        self.data[...] = 0
        self.lengths = np.zeros(rows, np.int64)

    @property
    def capacity(self) -> int:
        return self.data.shape[4]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """What a step is given."""
        return (self.data,)

    def kept(self, entries: np.ndarray) -> np.ndarray:
        """Entries as they are kept."""
        return bfloat16(entries) if self.stored else entries

    def put(self, row: int, entries: np.ndarray) -> None:
        """The first entries (layers, 2, 1, heads, T, features) of a row."""
        length = entries.shape[4]
        first = 0 if self.window is None else max(0, length - self.window)
        places = np.arange(first, length) % self.capacity
        self.data[:, :, row, :, places] = np.moveaxis(self.kept(entries[..., first:, :])[:, :, 0], 3, 0)
        self.lengths[row] = length

    def append(self, entries: np.ndarray) -> None:
        """One more entry (layers, 2, rows, heads, 1, features) for every row, in place."""
        self.make_room()
        rows = np.arange(len(self.lengths))
        self.data[:, :, rows, :, self.lengths % self.capacity] = np.moveaxis(self.kept(entries)[..., 0, :], 2, 0)
        self.lengths += 1

    def make_room(self) -> None:
        """For one more entry of every row. ValueError where the model has no more positions."""
        if self.lengths.max() < (self.most if self.window else self.capacity):
            return
        more = min(self.most, at_least(self.capacity + max(PIECE, self.capacity // 4)))
        if more == self.capacity:
            raise ValueError(f"generate: a text has reached the model's {self.most} positions")
        room = more - self.capacity
        self.data = np.pad(self.data, [(0, 0)] * 4 + [(0, room), (0, 0)])

    def choose(self, rows: np.ndarray) -> None:
        """Makes row i what row rows[i] was."""
        self.data, self.lengths = self.data[:, :, rows], self.lengths[rows]


class Alternating:
    """Caches of layers by turns: the first of every two layers is in the first one."""

    def __init__(self, *parts: Cache):
        self.parts = parts

    @property
    def lengths(self) -> np.ndarray:
        return self.parts[0].lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return tuple(part.data for part in self.parts)

    def put(self, row: int, entries: np.ndarray) -> None:
        for i, part in enumerate(self.parts):
            part.put(row, entries[i::len(self.parts)])

    def append(self, entries: np.ndarray) -> None:
        for i, part in enumerate(self.parts):
            part.append(entries[i::len(self.parts)])

    def make_room(self) -> None:
        for part in self.parts:
            part.make_room()

    def choose(self, rows: np.ndarray) -> None:
        for part in self.parts:
            part.choose(rows)


def at_least(capacity: int) -> int:
    """The least capacity that holds so many."""
    return -(-capacity // PIECE) * PIECE
