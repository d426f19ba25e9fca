"""Arrays that lie in a file, in a map of it: each is read when it is looked at, and the pages of each go
back to the system as soon as nobody has the array any more.

They are borrowed: whoever keeps one copies it, as the file may be written to later. They lie as the
file has them, so that most are not aligned.
"""

from __future__ import annotations

import math
import mmap
from typing import Any, BinaryIO

import numpy as np


class Mapped:
    """A private map of an open file. free: whether whoever has the one array of a piece may write to it
    (`own`), which changes no file."""

    def __init__(self, file: BinaryIO) -> None:
        """OSError or ValueError for what cannot be mapped."""
        self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.address: int = np.frombuffer(self.map, np.uint8).__array_interface__["data"][0]
        self.free = False

    def array(self, shape: tuple[int, ...], dtype: Any, first: int) -> np.ndarray:
        """The array at a place, all of which is in the file."""
        dtype = np.dtype(dtype)
        assert 0 <= first and first + math.prod(shape) * dtype.itemsize <= len(self.map)
        return np.asarray(Piece(self, first, tuple(map(int, shape)), dtype))

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


def own(array: np.ndarray) -> np.ndarray | None:
    """The array's memory to be written to, as another array, if it is all of a piece that was given up; the
    caller knows that nobody else reads the numbers that it has now."""
    piece = array.base
    if not isinstance(piece, Piece) or not piece.mapped.free:
        return None
    if not array.flags.c_contiguous or array.nbytes != piece.end - piece.first:
        return None
    taken = np.asarray(Piece(piece.mapped, piece.first, array.shape, array.dtype))
    piece.end = piece.first   # the old one gives nothing back
    return taken
