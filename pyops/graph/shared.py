"""What the programs of one model for several batch sizes have in common: packed weights, and how
many of them are kept.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from .plan import Plan

Made = TypeVar("Made")
P = ParamSpec("P")
# batch sizes whose plans are kept: a service sees few, and a plan is made anew in
# milliseconds to seconds
PROGRAMS = 8
PIECE = 1 << 20   # bytes that are compared at once
SMALL = 1 << 16  # bytes of a constant that is not worth looking for


class Constants:
    """Constants by their content, as long as some program holds them; and what was made of arrays, as
    long as these are there: packed for one size, weights are packed for all."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[tuple, np.ndarray] = weakref.WeakValueDictionary()
        self._own: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()   # by id
        self._made: dict[tuple, tuple[list[weakref.ref], Any]] = {}
        self._most_made = 1 << 10

    def share(self, plan: Plan) -> None:
        """Puts arrays that are known already into the places of the plan's equal ones."""
        own = {id(a): found for a in plan.constants if (found := self._shared(a)) is not a}
        if own:
            plan.steps = [
                replace(s, args=tuple(own.get(id(a), a) if isinstance(a, np.ndarray) else a for a in s.args))
                for s in plan.steps
            ]
            plan.constants = list({id(found): found for a in plan.constants
                                   if (found := own.get(id(a), a)) is not None}.values())

    def _shared(self, array: np.ndarray) -> np.ndarray:
        if array.nbytes < SMALL or self._own.get(id(array)) is array:
            return array
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        sample = numbers[::max(1, numbers.size >> 12)].tobytes()
        found = self._known.setdefault((array.shape, array.dtype.str, sample), array)
        if found is not array and not equal(np.ascontiguousarray(found).reshape(-1).view(np.uint8), numbers):
            found = array
        self._own[id(found)] = found
        return found

    def made(self, function: Callable[..., Any], *given: Any) -> Any:
        """function(*given), once for arrays in the same memory. Neither they nor an array that comes
        out are held: what is no longer used may be made again."""
        key = (function.__qualname__, *map(identity, given))
        owners = [owner(a) for a in given if isinstance(a, np.ndarray)]
        sources, result = self._made.get(key, ([], None))
        if sources and all(ref() is array for ref, array in zip(sources, owners)):
            found = result() if isinstance(result, weakref.ref) else result
            if found is not None:
                return found
        made = function(*given)
        if owners:
            if len(self._made) >= self._most_made:
                self._made = {k: v for k, v in list(self._made.items()) if all(ref() is not None for ref in v[0])}
                self._most_made = max(1 << 10, 2 * len(self._made))
            self._made[key] = ([weakref.ref(a) for a in owners],
                               weakref.ref(made) if isinstance(made, np.ndarray) else made)
        return made


def equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether rows of bytes are the same: piece by piece, as a comparison makes a truth value of each."""
    same = a.__array_interface__["data"] == b.__array_interface__["data"]
    return a.shape == b.shape and (same or all(
        np.array_equal(a[i:i + PIECE], b[i:i + PIECE]) for i in range(0, len(a), PIECE)))


def identity(value: Any) -> Any:
    """What tells arrays apart by the memory they lie in; other values as they are."""
    if not isinstance(value, np.ndarray):
        return type(value), value
    return value.__array_interface__["data"][0], value.shape, value.strides, value.dtype.str


def owner(array: np.ndarray) -> np.ndarray:
    """The array whose end is that of the memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


_constants: ContextVar[Constants | None] = ContextVar("pyops_constants", default=None)


@contextmanager
def keeping(constants: Constants | None) -> Iterator[None]:
    """While the block runs, functions behind `once` keep what they make in these."""
    token = _constants.set(constants)
    try:
        yield
    finally:
        _constants.reset(token)


def once(function: Callable[P, Made]) -> Callable[P, Made]:
    """The function, called once for the same arrays where constants are kept."""
    @wraps(function)
    def of(*given: P.args, **named: P.kwargs) -> Made:
        constants = _constants.get()
        found: Made = (function(*given, **named) if constants is None or named
                       else constants.made(function, *given))
        return found
    return of


class Recent(Generic[Made]):
    """The last few things that were asked for, made where they are not there; for several
    threads.
    """

    def __init__(self, make: Callable[..., Made], most: int = PROGRAMS) -> None:
        self.make, self.most = make, most
        self._held: OrderedDict[Hashable, Made] = OrderedDict()
        self._asked: set[Hashable] = set()  # since `idle` was last called
        self._lock = threading.Lock()
        # by process: a fork copies locks that are held
        self._making: dict[tuple[int, Hashable], threading.Lock] = {}

    def __getitem__(self, key: Hashable) -> Made:
        with self._lock:
            found = self._found(key)
            if found is not None:
                return found
            making = self._making.setdefault((os.getpid(), key), threading.Lock())
        with making:  # one thread makes it, the others wait
            with self._lock:
                found = self._found(key)
            if found is not None:
                return found
            try:
                made = self.make(key)
            except BaseException:
                self._let_go(key)
                raise
            with self._lock:
                self._held[key] = made
                while len(self._held) > self.most:
                    self._asked.discard(self._held.popitem(last=False)[0])
            self._let_go(key)
            return made

    def _let_go(self, key: Hashable) -> None:
        """Nobody makes it any more: of keys that come once, nothing stays."""
        with self._lock:
            self._making.pop((os.getpid(), key), None)
            if key not in self._held:
                self._asked.discard(key)

    def _found(self, key: Hashable) -> Made | None:
        self._asked.add(key)
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def idle(self) -> dict[Hashable, Made]:
        """Those that nobody has asked for since the last call of this."""
        with self._lock:
            found = {key: made for key, made in self._held.items() if key not in self._asked}
            self._asked.clear()
            for key in [key for key in self._making if key[1] in self._held]:
                del self._making[key]
        return found

    def forget(self, key: Hashable) -> None:
        with self._lock:
            self._held.pop(key, None)

    def values(self) -> list[Made]:
        with self._lock:
            return list(self._held.values())

    def __len__(self) -> int:
        return len(self._held)
