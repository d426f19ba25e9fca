"""What the programs of one model for several batch sizes have in common: packed weights, and how
many of them are kept.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from .plan import Plan

Made = TypeVar("Made")
# batch sizes whose plans are kept: a service sees few, and a plan is made anew in
# milliseconds to seconds
PROGRAMS = 8
SMALL = 1 << 12  # bytes of a constant that is not worth looking for


class Constants:
    """Constants by their content, as long as some program holds them."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[tuple, np.ndarray] = weakref.WeakValueDictionary()

    def share(self, plan: Plan) -> None:
        """Puts arrays that are known already into the places of the plan's equal ones."""
        own = {id(a): self._shared(a) for a in plan.constants}
        plan.steps = [
            replace(s, args=tuple(own[id(a)] if isinstance(a, np.ndarray) else a for a in s.args))
            for s in plan.steps
        ]
        plan.constants = list({id(a): a for a in own.values()}.values())

    def _shared(self, array: np.ndarray) -> np.ndarray:
        if array.nbytes < SMALL:
            return array
        key = (
            array.shape,
            array.dtype.str,
            hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=20).digest(),
        )
        return self._known.setdefault(key, array)


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
