"""What a model may ask for: memory and work in proportion to what is given, the bytes of the file
and of the inputs.

A kilobyte can name any number of bytes (ConstantOfShape), multiplications (MatMul of what Expand
made) or calls (functions of functions). Real models stay far below these bounds, as their weights
and inputs are given with them.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

from ..core.symbolic import SymInt, at

MEMORY, MEMORY_PER_BYTE = 1 << 30, 64  # bytes of results that live at once
WORK, WORK_PER_BYTE = 1 << 36, 1 << 20  # multiply-adds, a few seconds of one core
# What a node, a node of a Program (which is traced, fused and lowered) and an element of a result
# count for.
PER_NODE, PER_TRACED, PER_ELEMENT = 1 << 19, 1 << 22, 128


class Limits:
    """given: bytes of the model's constants and of the inputs. Memory is that of arrays that nodes
    made and that are still alive.
    """

    def __init__(self, given: int):
        self.memory, self.left = MEMORY + MEMORY_PER_BYTE * given, WORK + WORK_PER_BYTE * given
        self.held, self.owners = 0, {}
        self.rounds = 1  # of the loops of a Program around what is traced

    def room(self, shape, dtype=np.float32, copies: int = 1) -> tuple[int, ...]:
        """shape as ints, where an array of it may be made, with `copies` of it at a time; else
        ValueError.
        """
        shape = tuple(n if isinstance(n, SymInt) else int(n) for n in shape)
        if any(n < 0 for n in shape):
            raise ValueError(f"a result of shape {short(shape)} has a negative length")
        count = math.prod(at(shape, None)) * np.dtype(dtype).itemsize * copies
        if self.held + count > self.memory:
            self.bytes(count, f"a result of shape {short(shape)}")
        return shape   # of sizes that vary, the example's are counted

    def bytes(self, count: int, what: str) -> None:
        if self.held + count > self.memory:
            raise ValueError(
                f"{what} takes {brief(count)} bytes, with {brief(self.held)} of {brief(self.memory)} in use "
                f"({brief(MEMORY)} and {MEMORY_PER_BYTE} for each byte of the model and its inputs)"
            )

    def work(self, operations: int) -> None:
        self.left -= operations
        if self.left < 0:
            raise ValueError(
                f"takes more than the {brief(WORK)} operations and {brief(WORK_PER_BYTE)} for each "
                f"byte of the model and its inputs"
            )

    def give(self, arrays) -> None:
        """Arrays that are not the nodes' own, however long they live."""
        for array in arrays:
            if isinstance(array, np.ndarray):
                self.owners[id(owner(array))] = array

    def hold(self, result) -> None:
        """Counts an array until it, and all views of it, are gone."""
        if not isinstance(result, np.ndarray):
            return
        base = owner(result)
        key, size = id(base), base.nbytes
        if key in self.owners:
            return
        self.held += size

        def gone(_):
            self.held -= size
            del self.owners[key]

        self.owners[key] = weakref.ref(base, gone)


def owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def brief(count: int) -> str:
    return str(count) if count < 1 << 63 else f"about 2^{count.bit_length() - 1}"


def short(values, most: int = 8) -> str:
    """A few of many values, for messages: a file must not choose how long they are."""
    values = list(values)
    text = ", ".join(clipped(v) for v in values[:most]) + (
        f", ... {len(values)} in all" if len(values) > most else ""
    )
    return f"({text})"


def clipped(text, most: int = 60) -> str:
    text = str(text)
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"
