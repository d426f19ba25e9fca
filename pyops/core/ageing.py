"""Memory that a burst needed goes back to the system once it is over.

Who keeps memory from call to call (a program its workspaces, the pool its blocks) is asked now and
then to let go of what nothing has needed since it was asked before. A thread does so as long as
there is something to ask for; it starts with a burst and ends after it.
"""
from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

from .. import _C

INTERVAL = 10.0    # seconds; what is not needed for two of them is gone
QUIET = 3          # intervals without a burst after which the thread ends


class Keeper(Protocol):
    def age(self) -> None:
        """Lets go of what nothing has needed since the last call of this."""


_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
_lock = threading.Lock()
_thread: threading.Thread | None = None
_bursts = 0


def age() -> None:
    """Asks everybody once."""
    with _lock:
        keepers = list(_keepers)
    while keepers:   # none is held on to: what one of them gave up comes back to the pool before that is asked
        keepers.pop().age()
    _C.pool_age()


def burst(keeper: Keeper) -> None:
    """`keeper` has taken more memory than it had: it will be asked from now on."""
    global _thread, _bursts
    with _lock:
        _keepers.add(keeper)
        _bursts += 1
        if _thread is None:
            _thread = threading.Thread(target=_ask, name="pyops-ageing", daemon=True)
            _thread.start()


def rests() -> bool:
    """Whether nobody is asked at present."""
    return _thread is None


def _ask() -> None:
    global _thread
    seen, quiet = -1, 0
    while True:
        threading.Event().wait(INTERVAL)
        age()
        with _lock:
            quiet = quiet + 1 if seen == _bursts else 0
            seen = _bursts
            if quiet >= QUIET:
                _thread = None
                return


def _in_child() -> None:
    """After a fork there is no such thread, and its lock may have been held."""
    global _thread, _lock
    _lock, _thread = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
