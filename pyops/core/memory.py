"""Memory of large results (csrc/pool.cpp): kept when an array is freed, and given to the next
result of about its size.

What nothing has asked for in ten to twenty seconds goes back to the system (core/ageing.py, and
whenever something is asked for).
Fresh pages are cleared by the system before a program sees them, which took a tenth of a training
step. What is in use and kept together stays below 1.25 times the most that was in use at once, and
at most PYOPS_POOL_BYTES (default 1 GiB; 0 keeps nothing) are kept.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import _C
from .threads import whole_number

MOST = 1 << 62     # bytes
LARGE = 1 << 30    # bytes, from which it is worth asking how much there is


def empty(shape, dtype) -> np.ndarray:
    """An uninitialised array, from the pool if it is large. Memory goes back to the pool with the
    last view of it. MemoryError if there is none."""
    return _empty(shape, dtype)


def at_hand(shape, dtype) -> np.ndarray:
    """The same for what a program waits for before its first run: in huge pages only where the system has
    them at hand, and else once `settle` is called and the system finds time."""
    return _at_hand(shape, dtype)


def settle() -> None:
    """Arrays from `at_hand` are filled."""
    _C.pool_settle()


def allocator(dtype) -> Callable[..., np.ndarray]:
    """`empty` with a dtype of its own: empty(shape, dtype=that one)."""
    return _C.allocator(np.dtype(dtype))


_empty = allocator(np.float32)
_at_hand: Callable[..., np.ndarray] = _C.allocator(np.dtype(np.float32), at_hand=True)


def require(nbytes: int, what: str) -> None:
    """MemoryError if `what` needs more bytes than there are altogether: where the system promises
    what it does not have, taking it ends the process."""
    if nbytes >= LARGE and nbytes > installed():
        raise MemoryError(f"no memory for {what}: {nbytes} bytes of {installed()}")


@lru_cache(1)
def installed() -> int:
    """Bytes of memory of this machine, or of this container if it is allowed less."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            sizes.append(int(text))
    return min(sizes)


_C.pool_installed(installed())


def empty_cache() -> None:
    """Gives all memory that is kept but not in use back to the system."""
    _C.pool_clear()


@contextmanager
def returned() -> Iterator[None]:
    """What the block takes and frees goes back to the system at its end; no more is kept than before."""
    before: int = _C.pool_state()["kept"]
    try:
        yield
    finally:
        _C.pool_keep(before)


def set_limit(nbytes: int) -> None:
    """The most bytes that are kept from now on; 0 keeps nothing."""
    if not isinstance(nbytes, int) or not 0 <= nbytes <= MOST:
        raise ValueError(f"memory.set_limit: nbytes={repr(nbytes)[:40]} must be a whole number of bytes, at "
                         f"most {MOST}, and not negative")
    _C.pool_limit(nbytes)


def state() -> dict[str, int]:
    """Bytes in use by large results, the most there ever were, bytes kept, and the limit to
    them."""
    return _C.pool_state()


def _from_environment():
    value = os.environ.get("PYOPS_POOL_BYTES")
    if value:
        limit = whole_number(value, MOST)
        if limit is None:
            raise ValueError(f"PYOPS_POOL_BYTES={value[:80]!r} must be a whole number of bytes")
        set_limit(limit)


_from_environment()
