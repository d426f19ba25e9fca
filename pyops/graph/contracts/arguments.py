"""A step's arguments as a contract sees them: made from what a file holds, and checked one by one.

Sizes are Python's integers, which do not overflow; what is kept fits into 63 bits with room to
spare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...core import dispatch

BLOCK = 16
# Types of the arrays of programs, but for bfloat16, which NumPy alone does not know.
ELEMENTS = {name: np.dtype(name) for name in sorted(dispatch.ELEMENTS - {"bfloat16"})}
TYPES = frozenset(ELEMENTS.values())
ARENA, INPUT, OUTPUT = 0, 1, 2
LARGEST = (1 << 31) - 1  # of an attribute, as of a size
MOST_BYTES = 1 << 46  # no address space is larger


class Refused(ValueError):
    """A step that no kernel may see; the message says which rule it breaks."""


def need(condition: bool, rule: str) -> None:
    if not condition:
        raise Refused(rule)


@dataclass(frozen=True, slots=True)
class Array:
    """An array of a call: its shape, and how many values there are in its memory from its first on
    and before it.
    """

    shape: tuple[int, ...]
    room: int
    before: int = 0
    dtype: np.dtype = np.dtype(np.float32)
    data: np.ndarray | None = None  # of a constant

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Map:
    """An image in blocked layout: n samples of blocks x h x w x 16."""

    n: int
    blocks: int
    h: int
    w: int


@dataclass(frozen=True, slots=True)
class Spaces:
    """What places may lie in: bytes of the arena, and shapes and types of the program's inputs and
    outputs.
    """

    arena: int
    inputs: list[tuple[tuple[int, ...], np.dtype]]
    outputs: list[tuple[tuple[int, ...], np.dtype]]

    def extent(self, space: int, index: int, dtype: np.dtype) -> int:
        """Bytes of a space in which values of the type may lie."""
        if space == ARENA:
            need(index == 0, "a place in the arena has index 0")
            return self.arena
        arrays = self.inputs if space == INPUT else self.outputs if space == OUTPUT else ()
        need(index < len(arrays), "a place lies in the arena, an input or an output that there is")
        shape, own = arrays[index]
        need(own == dtype, f"a place of {dtype} lies in an array of {dtype}")
        return math.prod(shape) * own.itemsize


def is_size(value, most: int = LARGEST) -> bool:
    return type(value) is int and 0 <= value <= most


def place(given, spaces: Spaces, wanted: np.dtype | None, writes: bool) -> tuple:
    """(shape, sample, values from the first on, values before, type) of a place (space, index,
    offset, shape, sample, type); wanted: the type that it must be of, None for any.
    """
    need(
        type(given) is tuple
        and len(given) in (5, 6)
        and (len(given) == 5 or type(given[5]) is str and given[5] in ELEMENTS),
        "an array is a constant or a place (space, index, offset, shape, sample, type)",
    )
    space, index, offset, shape, sample, name = given if len(given) == 6 else (*given, "float32")
    dtype = ELEMENTS[name]
    if wanted is not None and dtype != wanted:
        raise Refused(f"an array of {wanted} is expected, not of {dtype}")
    need(
        is_size(space, OUTPUT)
        and is_size(index)
        and is_size(offset, MOST_BYTES)
        and is_size(sample, MOST_BYTES),
        "a place's numbers are whole and not negative",
    )
    need(
        type(shape) is tuple and len(shape) <= 32 and all(map(is_size, shape)),
        "a shape is a tuple of at most 32 sizes below 2^31",
    )
    need(not writes or space != INPUT, "kernels write to the arena and to outputs")
    extent = spaces.extent(space, index, dtype)
    need(offset % dtype.itemsize == 0 and offset <= extent, "a place begins at a value of its space")
    return shape, sample, (extent - offset) // dtype.itemsize, offset // dtype.itemsize, dtype


def array(given, spaces: Spaces, dtype: np.dtype | None, writes: bool = False) -> Array:
    if isinstance(given, np.ndarray):
        if dtype is not None and given.dtype != dtype:   # NumPy takes long to say a type's name
            raise Refused(f"an array of {dtype} is expected, not of {given.dtype}")
        if given.dtype not in TYPES:
            raise Refused(f"an array of numbers is expected, not of {given.dtype}")
        need(not writes or given.size == 0, "constants are not written to")
        return Array(given.shape, given.size, 0, given.dtype, given)
    shape, _, room, before, found_dtype = place(given, spaces, dtype, writes)
    found = Array(shape, room, before, found_dtype)
    need(found.size <= room, "a place lies inside its space")
    return found


def image(given, spaces: Spaces, writes: bool = False) -> Map:
    shape, sample, room, _, _ = place(given, spaces, FLOAT, writes)
    need(len(shape) == 5 and shape[4] == BLOCK, "a map's shape is (n, blocks, h, w, 16)")
    n, blocks, h, w, _ = shape
    need(not n or (n - 1) * sample + math.prod(shape[1:]) <= room, "a map lies inside its space")
    return Map(n, blocks, h, w)


FLOAT, DOUBLE, INT = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def dims(given) -> tuple[int, ...]:
    need(
        type(given) is tuple
        and len(given) <= 8
        and all(type(v) is int and abs(v) <= MOST_BYTES for v in given),
        "an argument is a tuple of at most 8 whole numbers",
    )
    return given


def whole(given) -> int:
    need(type(given) is int and abs(given) <= LARGEST, "an argument is a whole number of 32 bits")
    return given


def number(given) -> float:
    need(type(given) is float or type(given) is int and abs(given) <= MOST_BYTES, "an argument is a number")
    return float(given)


def truth(given) -> bool:
    need(type(given) is bool, "an argument is true or false")
    return given
