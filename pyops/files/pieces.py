"""Arrays that lie in a file, in a map of it: each is read when it is looked at, and the pages of each go
back to the system as soon as nobody has the array any more.

They are borrowed: whoever keeps one copies it, as the file may be written to later. They lie as the
file has them, so that most are not aligned.
"""

from __future__ import annotations

import math
import mmap
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from .watched import Map

STRIP = 1 << 20   # bytes
POPULATE_READ = 22   # MADV_POPULATE_READ of Linux 5.14, which Python does not name


class Mapped:
    """A private map of an open file."""

    def __init__(self, file: BinaryIO) -> None:
        """OSError or ValueError for what cannot be mapped."""
        self.map = Map(file, mmap.ACCESS_COPY)
        self.address: int = np.frombuffer(self.map, np.uint8).__array_interface__["data"][0]

    def array(self, shape: tuple[int, ...], dtype: Any, first: int) -> np.ndarray:
        """The array at a place, all of which is in the file."""
        dtype = np.dtype(dtype)
        assert 0 <= first and first + math.prod(shape) * dtype.itemsize <= len(self.map)
        return np.asarray(Piece(self, first, tuple(map(int, shape)), dtype))

    def fetch(self, first: int, end: int) -> None:
        """These bytes are about to be read: their pages come at once, not a few at each fault."""
        first = first // mmap.PAGESIZE * mmap.PAGESIZE
        if sys.platform == "linux" and first < end:
            with suppress(OSError):   # an older system, or a file that was cut short
                self.map.madvise(POPULATE_READ, first, end - first)

    def forget(self, first: int, end: int) -> None:
        """Nobody needs these bytes any more."""
        page = mmap.PAGESIZE
        first, end = -(-first // page) * page, end // page * page
        if first < end and hasattr(mmap, "MADV_DONTNEED"):
            self.map.madvise(mmap.MADV_DONTNEED, first, end - first)


class Piece:
    """What an array in a map has as its base, and so have all views of it."""

    __slots__ = ("mapped", "first", "end", "__array_interface__")

    def __init__(self, mapped: Mapped, first: int, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.mapped, self.first = mapped, first
        self.end = first + math.prod(shape) * dtype.itemsize
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str,
                                    "data": (mapped.address + first, False)}

    def __del__(self) -> None:
        self.mapped.forget(self.first, self.end)


def borrowed(array: np.ndarray) -> bool:
    """Whether an array lies in a map."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return isinstance(array.base, Piece)


def whole_piece(array: np.ndarray) -> Piece | None:
    """The piece that an array in order is all of."""
    piece = array.base
    whole = isinstance(piece, Piece) and array.flags.c_contiguous and array.nbytes == piece.end - piece.first
    return piece if whole else None


def fetch(array: np.ndarray) -> None:
    """All of an array is about to be read."""
    piece = whole_piece(array)
    if piece is not None:
        piece.mapped.fetch(piece.first, piece.end)


def seen(array: np.ndarray, first: int, end: int) -> None:
    """These bytes of an array were read and need not stay in memory: where they are as in the file, they
    are there again when they are looked at."""
    piece = whole_piece(array)
    if piece is not None:
        piece.mapped.forget(piece.first + first, piece.first + end)


def copy_into(made: np.ndarray, array: np.ndarray) -> None:
    """made[...] = array, of which what is copied does not stay in memory if it lies in a file."""
    if whole_piece(array) is None or not made.flags.c_contiguous or array.dtype != made.dtype:
        made[...] = array
        return
    to, numbers = made.reshape(-1).view(np.uint8), array.reshape(-1).view(np.uint8)
    for first in range(0, len(numbers), STRIP):
        to[first:first + STRIP] = numbers[first:first + STRIP]
        seen(array, first, min(first + STRIP, len(numbers)))
