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

    It grows in pieces, by a quarter where that is more: a Program is made for each capacity.
    """

    def __init__(self, shape: tuple[int, int, int], rows: int, capacity: int, most: int, dtype=np.float32,
                 form: str = "float32"):
        """shape: layers, heads and features of a head. most: entries that there may ever be. ValueError
        for a form that there is not."""
        if form not in FORMS:
            raise ValueError(f"generate: cache must be one of {', '.join(FORMS)}, got {form!r}")
        layers, heads, features = shape
        self.stored = form == "bf16"
        self.most, capacity = most, min(most, at_least(capacity))
        self.data = memory.empty((layers, 2, rows, heads, capacity, features),
                                 np.uint16 if self.stored else dtype)   # in huge pages
        self.data[...] = 0
        self.lengths = np.zeros(rows, np.int64)

    @property
    def capacity(self) -> int:
        return self.data.shape[4]

    def kept(self, entries: np.ndarray) -> np.ndarray:
        """Entries as they are kept."""
        return bfloat16(entries) if self.stored else entries

    def put(self, row: int, entries: np.ndarray) -> None:
        """The first entries (layers, 2, 1, heads, T, features) of a row."""
        length = entries.shape[4]
        self.data[:, :, row, :, :length] = self.kept(entries)[:, :, 0]
        self.lengths[row] = length

    def append(self, entries: np.ndarray) -> None:
        """One more entry (layers, 2, rows, heads, 1, features) for every row, in place."""
        self.make_room()
        rows = np.arange(len(self.lengths))
        self.data[:, :, rows, :, self.lengths] = np.moveaxis(self.kept(entries)[..., 0, :], 2, 0)
        self.lengths += 1

    def make_room(self) -> None:
        """For one more entry of every row. ValueError where the model has no more positions."""
        if self.lengths.max() < self.capacity:
            return
        more = min(self.most, at_least(self.capacity + max(PIECE, self.capacity // 4)))
        if more == self.capacity:
            raise ValueError(f"generate: a text has reached the model's {self.most} positions")
        room = more - self.capacity
        self.data = np.pad(self.data, [(0, 0)] * 4 + [(0, room), (0, 0)])

    def choose(self, rows: np.ndarray) -> None:
        """Makes row i what row rows[i] was."""
        self.data, self.lengths = self.data[:, :, rows], self.lengths[rows]


def at_least(capacity: int) -> int:
    """The least capacity that holds so many."""
    return -(-capacity // PIECE) * PIECE
