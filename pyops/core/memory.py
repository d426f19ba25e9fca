"""Memory of large results (csrc/pool.cpp): kept when an array is freed, and given to the next result of about its size.

Fresh pages are cleared by the system before a program sees them, which took a tenth of a training step. What is in use and kept together stays
below 1.25 times the most that was in use at once, and at most PYOPS_POOL_BYTES (default 1 GiB; 0 keeps nothing) are kept.
"""
from __future__ import annotations

import math
import os

import numpy as np

from .. import _C
from .threads import whole_number

MOST = 1 << 62     # bytes
POOLED = 1 << 16   # elements; what is smaller is served as fast by the allocator of the C library, which keeps it too


def empty(shape, dtype) -> np.ndarray:
    """An uninitialised array, from the pool if it is large. Memory goes back to the pool with the last view of it."""
    return _C.pooled_empty(tuple(shape), np.dtype(dtype)) if math.prod(shape) >= POOLED else np.empty(shape, dtype)


def empty_cache() -> None:
    """Gives all memory that is kept but not in use back to the system."""
    _C.pool_clear()


def set_limit(nbytes: int) -> None:
    """The most bytes that are kept from now on; 0 keeps nothing."""
    if not isinstance(nbytes, int) or not 0 <= nbytes <= MOST:
        raise ValueError(f"memory.set_limit: nbytes={repr(nbytes)[:40]} must be a whole number of bytes, at most {MOST}, and not negative")
    _C.pool_limit(nbytes)


def state() -> dict[str, int]:
    """Bytes in use by large results, the most there ever were, bytes kept, and the limit to them."""
    return _C.pool_state()


def _from_environment():
    value = os.environ.get("PYOPS_POOL_BYTES")
    if value:
        limit = whole_number(value, MOST)
        if limit is None:
            raise ValueError(f"PYOPS_POOL_BYTES={value[:80]!r} must be a whole number of bytes")
        set_limit(limit)


_from_environment()
