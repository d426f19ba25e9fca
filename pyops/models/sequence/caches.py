"""Keys and values of the tokens that were read, for a batch of texts of different lengths."""
from __future__ import annotations

import numpy as np

from ...core import memory

PIECE = 64   # capacities are multiples of so many entries


class Cache:
    """data: (layers, 2, rows, heads, capacity, features), keys and values. Row r has lengths[r]
    entries; mask (rows, 1, 1, capacity) is 0 at these and -inf behind them.

    A step attends over the whole capacity, so it grows in pieces, by a quarter where that is more: a
    Program is made for each.
    """

    def __init__(self, shape: tuple[int, int, int], rows: int, capacity: int, most: int, dtype=np.float32):
        """shape: layers, heads and features of a head. most: entries that there may ever be."""
        layers, heads, features = shape
        self.most, capacity = most, min(most, at_least(capacity))
        self.data = memory.empty((layers, 2, rows, heads, capacity, features), dtype)   # in huge pages
        self.data[...] = 0
        self.mask = np.full((rows, 1, 1, capacity), -np.inf, dtype)
        self.lengths = np.zeros(rows, np.int64)

    @property
    def capacity(self) -> int:
        return self.data.shape[4]

    def put(self, row: int, entries: np.ndarray) -> None:
        """The first entries (layers, 2, 1, heads, T, features) of a row."""
        length = entries.shape[4]
        self.data[:, :, row, :, :length] = entries[:, :, 0]
        self.mask[row, ..., :length] = 0
        self.lengths[row] = length

    def append(self, entries: np.ndarray) -> None:
        """One more entry (layers, 2, rows, heads, 1, features) for every row, in place."""
        if self.lengths.max() == self.capacity:
            self._grow()
        rows = np.arange(len(self.lengths))
        self.data[:, :, rows, :, self.lengths] = np.moveaxis(entries[..., 0, :], 2, 0)
        self.mask[rows, 0, 0, self.lengths] = 0
        self.lengths += 1

    def _grow(self) -> None:
        more = min(self.most, at_least(self.capacity + max(PIECE, self.capacity // 4)))
        if more == self.capacity:
            raise ValueError(f"generate: a text has reached the model's {self.most} positions")
        room = more - self.capacity
        self.data = np.pad(self.data, [(0, 0)] * 4 + [(0, room), (0, 0)])
        self.mask = np.pad(self.mask, [(0, 0)] * 3 + [(0, room)], constant_values=-np.inf)

    def choose(self, rows: np.ndarray) -> None:
        """Makes row i what row rows[i] was."""
        self.data, self.mask, self.lengths = self.data[:, :, rows], self.mask[rows], self.lengths[rows]


def at_least(capacity: int) -> int:
    """The least capacity that holds so many."""
    return -(-capacity // PIECE) * PIECE
