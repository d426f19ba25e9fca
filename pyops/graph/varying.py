"""Programs of one model for whatever sizes come, and for numbers that say sizes.

A plan is for fixed sizes. Where a model takes several, one is made for each that comes, and the
last few are kept with their weights shared. So are plans for the numbers of an input that says
how to compute rather than what: an axis, a count, a rate that a branch is chosen by. Which inputs
those are shows when the model asks for their numbers: then they are constants of a plan, and
other numbers get another.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .program import Program, as_array
from .shared import PROGRAMS, Recent

MOST_NUMBERS = 64   # of an input that says how to compute


class Varying:
    """varying(x, ...) -> what the model returns. Inputs: a dtype and a shape each, None where a
    dimension may vary (a whole shape: any).

    make(arrays, fixed) gives a Program that takes the arrays whose places are not in `fixed`; what
    it raises for a model that asks for the numbers of others has their places as `wanted`.
    ValueError for arrays that do not fit; several threads may call.
    """

    def __init__(self, make: Callable[[tuple[np.ndarray, ...], frozenset[int]], Program],
                 inputs: Sequence[tuple[np.dtype[Any], tuple[int | None, ...] | None]],
                 names: Sequence[str] = ()) -> None:
        self.inputs = list(inputs)
        self.names = list(names) or [f"input {i}" for i in range(len(inputs))]
        self.fixed: frozenset[int] = frozenset()   # places of inputs that are constants of plans
        self._make = make
        self._lock = threading.RLock()
        self._programs: Recent[Program] = Recent(self._planned, PROGRAMS)

    def __call__(self, *arrays: Any) -> Any:
        ready = self._ready(arrays)
        program, fixed = self._found(ready)
        return program(*(a for i, a in enumerate(ready) if i not in fixed))

    def program_for(self, *arrays: Any) -> Program:
        """The Program for arrays like these, made if there is none yet."""
        return self._found(self._ready(arrays))[0]

    def _found(self, ready: tuple[np.ndarray, ...]) -> tuple[Program, frozenset[int]]:
        """The Program, and the places that are constants of it: another thread may find out
        of more meanwhile."""
        while True:
            key = _Key(ready, self.fixed)
            try:
                return self._programs[key], key.fixed
            except _Learned:   # of other inputs that they are constants: by another key
                pass

    @property
    def programs(self) -> int:
        """How many plans are kept."""
        return len(self._programs)

    def _planned(self, key: _Key) -> Program:
        arrays, key.arrays = key.arrays, ()   # the key is kept, and they need not be
        with self._lock:
            if key.fixed != self.fixed:
                raise _Learned
            try:
                return self._make(arrays, self.fixed)
            except (TypeError, ValueError) as why:
                wanted = wanted_numbers(why, arrays) - self.fixed
                if not wanted:
                    raise
                self.fixed = self.fixed | wanted
                raise _Learned from why

    def _ready(self, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
        if len(arrays) != len(self.inputs):
            raise TypeError(
                f"program: takes {len(self.inputs)} inputs ({', '.join(self.names)}), got {len(arrays)}")
        ready = tuple(map(as_array, arrays))
        for name, array, (dtype, shape) in zip(self.names, ready, self.inputs):
            fits = (shape is None
                    or array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape)))
            if array.dtype != dtype or not fits:
                wanted = ("any shape" if shape is None
                          else f"[{', '.join('any' if n is None else str(n) for n in shape)}]")
                raise ValueError(
                    f"program: {name} is {array.dtype}{list(array.shape)}, the model takes {dtype} {wanted}")
        return ready


def wanted_numbers(why: Exception, arrays: Sequence[np.ndarray]) -> frozenset[int]:
    """The places of the inputs whose numbers the model asked for; none where one of them is too
    large for a constant."""
    wanted = frozenset(getattr(why, "wanted", ()))
    return wanted if all(arrays[i].size <= MOST_NUMBERS for i in wanted) else frozenset()


class _Learned(Exception):
    """The model asked for the numbers of more inputs than were constants."""


class _Key:
    """Arrays as a plan tells them apart: by shape, those that are constants of it by their
    numbers."""

    def __init__(self, arrays: tuple[np.ndarray, ...], fixed: frozenset[int]) -> None:
        self.arrays, self.fixed = arrays, fixed
        self._parts = tuple((a.shape, np.ascontiguousarray(a).tobytes() if i in fixed else b"")
                            for i, a in enumerate(arrays))

    def __hash__(self) -> int:
        return hash(self._parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (self.fixed, self._parts) == (other.fixed, other._parts)
