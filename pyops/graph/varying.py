"""Programs of one model for whatever sizes come, and for numbers that say sizes.

A plan is for fixed sizes. Where a model takes several, one is made for each that comes, and the
last few are kept with their weights shared. So are plans for the numbers of an input that says
how to compute rather than what: an axis, a count, a rate that a branch is chosen by. Which inputs
those are shows when the model asks for their numbers: then they are constants of a plan, and
other numbers get another.
"""
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .program import Program, as_array
from .shared import PROGRAMS, Recent

Size = int | tuple[int, int | None] | None   # of an axis: known, in a range, any
MOST_NUMBERS = 64   # of an input that says how to compute


class Varying:
    """varying(x, ...) -> what the model returns. Inputs: a dtype and a shape each, None where a
    dimension may vary (a whole shape: any), (least, most) where it may within a range.

    make(arrays, fixed) gives a Program that takes the arrays whose places are not in `fixed`; what
    it raises for a model that asks for the numbers of others has their places as `wanted`.
    ValueError for arrays that do not fit; several threads may call.
    """

    def __init__(self, make: Callable[[tuple[np.ndarray, ...], frozenset[int]], Program],
                 inputs: Sequence[tuple[np.dtype[Any], tuple[Size, ...] | None]],
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
            fits = shape is None or array.ndim == len(shape) and all(map(within, shape, array.shape))
            if array.dtype != dtype or not fits:
                wanted = "any shape" if shape is None else f"[{', '.join(map(text_of, shape))}]"
                raise ValueError(
                    f"program: {name} is {array.dtype}{list(array.shape)}, the model takes {dtype} {wanted}")
        return ready

    def __repr__(self) -> str:
        takes = (f"{name} {dtype}{'' if shape is None else f'[{chr(44).join(map(text_of, shape))}]'}"
                 for name, (dtype, shape) in zip(self.names, self.inputs))
        return f"Varying({', '.join(takes)}; {self.programs} plans)"

    def summary(self, rounds: int = 20) -> str:
        """The summary of each plan that is kept (Program.summary), under the sizes that it is for."""
        return "\n\n".join(f"{program!r}\n{program.summary(rounds)}" for program in self._programs.values()) or (
            f"{self!r}: no size has come yet")

    def save(self, file: Any) -> None:
        """Refused: a file holds a plan, which is for one size."""
        raise ValueError("program: a program of varying sizes has no file; save that of one size, "
                         "program.program_for(x, ...).save(file)")

    def __reduce__(self) -> Any:
        self.save(None)


def within(wanted: Size, size: int) -> bool:
    if isinstance(wanted, tuple):
        least, most = wanted
        return least <= size and (most is None or size <= most)
    return wanted is None or wanted == size


def text_of(wanted: Size) -> str:
    if not isinstance(wanted, tuple):
        return "any" if wanted is None else str(wanted)
    return f"{wanted[0]} or more" if wanted[1] is None else f"{wanted[0]} to {wanted[1]}"


def opened(names: Sequence[str], shapes: Sequence[tuple[int, ...]],
           dynamic: Mapping[Any, Mapping[int, Any]]) -> list[tuple[Size, ...]]:
    """The shapes of inputs, with ranges for the axes that vary.

    dynamic: {name or position of an input: {axis: (least, most), or None for any}}, either bound
    None for none. ValueError or TypeError for what is no such thing, or an example outside of it.
    """
    if not isinstance(dynamic, Mapping):
        raise TypeError(f"compile: dynamic must be a dict of inputs, got {type(dynamic).__name__}")
    found: list[list[Size]] = [list(shape) for shape in shapes]
    for key, axes in dynamic.items():
        at = names.index(key) if key in names else key
        if not isinstance(at, int) or isinstance(at, bool) or not 0 <= at < len(shapes):
            raise ValueError(f"compile: dynamic names the input {key!r}; there are {', '.join(names)} "
                             f"(or 0 to {len(shapes) - 1})")
        if not isinstance(axes, Mapping):
            raise TypeError(f"compile: dynamic[{key!r}] must be a dict of axes, got {axes!r}")
        for axis, given in axes.items():
            count = len(shapes[at])
            if not isinstance(axis, int) or isinstance(axis, bool) or not -count <= axis < count:
                raise ValueError(f"compile: dynamic[{key!r}] names the axis {axis!r}; "
                                 f"{names[at]} has shape {list(shapes[at])}")
            limits = range_of(key, axis, given)
            if not within(limits, shapes[at][axis]):
                raise ValueError(f"compile: axis {axis} of {names[at]} is {shapes[at][axis]} in the example, "
                                 f"outside of dynamic's {text_of(limits)}")
            found[at][axis] = limits
    return [tuple(shape) for shape in found]


def range_of(key: Any, axis: int, given: Any) -> tuple[int, int | None]:
    least, most = pair = (None, None) if given is None else tuple(given) if isinstance(
        given, (tuple, list)) and len(given) == 2 else (given, given)
    if any(n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0) for n in pair) or (
            given is not None and not isinstance(given, (tuple, list))) or (
            least is not None and most is not None and least > most):
        raise ValueError(f"compile: dynamic[{key!r}][{axis}] must be (least, most) or None, got {given!r}")
    return least or 0, most


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
