"""Python's collector of cycles, at rest while something large is made.

It looks at every object there is whenever enough new ones have come, which making a graph of thousands of
objects that all stay brings about several times: a third of the time to compile a small network.
"""
from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Rest:
    """Threads within a rest, and whether the collector ran before the first of them."""

    def __init__(self) -> None:
        self.lock, self.within, self.ran = threading.Lock(), 0, False

    def begin(self) -> None:
        with self.lock:
            if not self.within:
                self.ran = gc.isenabled()
                gc.disable()
            self.within += 1

    def end(self) -> None:
        with self.lock:
            self.within -= 1
            if not self.within and self.ran:
                gc.enable()


_rest = Rest()


def _forked() -> None:
    """Of the threads that were within, a child has at most the one that forked."""
    global _rest
    if _rest.within and _rest.ran:
        gc.enable()
    _rest = Rest()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


@contextmanager
def resting() -> Iterator[None]:
    """While the block runs, no thread's objects are looked at; where the collector was off, it stays
    so."""
    rest = _rest
    rest.begin()
    try:
        yield
    finally:
        rest.end()
