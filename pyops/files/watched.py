"""Maps of files that another process may cut short, or a disk fail to read: what is gone reads as
zeros, and the map knows it, where the system would end the process (csrc/watched_maps.cpp).
"""
from __future__ import annotations

import mmap
from typing import Any, BinaryIO

import numpy as np

from .. import _C


class Watch:
    """What is known of a map, also when it has gone."""

    __slots__ = ("number", "known")

    def __init__(self, map: mmap.mmap) -> None:
        self.number, self.known = _C.watch_map(map), False

    @property
    def cut(self) -> bool:
        """Whether something was looked at that was not there."""
        return self.known or _C.map_cut(self.number)

    def end(self) -> None:
        if self.number >= 0:
            self.known, self.number = _C.forget_map(self.number) or self.known, -1


class Map(mmap.mmap):
    """A map of a whole open file. OSError or ValueError for what cannot be mapped."""

    watch: Watch

    def __new__(cls, file: BinaryIO, access: int) -> Map:
        made = super().__new__(cls, file.fileno(), 0, access=access)
        made.watch = Watch(made)
        return made

    def close(self) -> None:
        super().close()   # BufferError while somebody has a part of it
        self.watch.end()

    def __del__(self) -> None:
        self.watch.end()


def watch_of(array: Any) -> Watch | None:
    """That of the map in which an array lies."""
    while isinstance(array, (np.ndarray, memoryview)):
        array = array.base if isinstance(array, np.ndarray) else array.obj
    return array.watch if isinstance(array, Map) else None
