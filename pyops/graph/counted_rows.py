"""What is done to rows of which a run says how many there are (counted.py)."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..ops.gather import PUT_BLOCKS, TAKE
from ..ops.places import NONZERO
from . import trace
from .counted import Counted, begin, mark
from .trace import Traced


def put_rows(x: Any, places: Any, values: Any, count: Any, reduction: str = "") -> Any:
    """x with the first `count` of values (room, ...) put in, each where its row of places (room, axes) int64
    says along the first axes of x. A place before the count that is none of x's is an IndexError of the
    run; what stands behind the count may be anything."""
    tracer, room, n, axes = trace._tracer.get(), int(places.shape[0]), int(x.shape[0]), int(places.shape[1])
    if tracer is not None and room > 1 and isinstance(count, Traced):
        found = PUT_BLOCKS(x, places, values, wrap=False, reduction=reduction)
        tracer.nodes[-1].short = tracer.own(count.value)   # the call is made with those rows alone
        return found
    sizes = np.array([n, *x.shape[1:axes]], np.int64)
    outside = F.logical_or(F.lt(places, np.int64(0)), F.ge(places, sizes))
    refuse(outside, places, sizes, count)
    places = F.where(outside, sizes + 1, places)
    behind = np.array([n, *[0] * (axes - 1)], np.int64)   # in a row behind all, which is dropped
    places = F.where(F.reshape(F.lt(np.arange(room), count), (room, 1)), places, behind)
    wide = F.cat([x, np.zeros((1, *x.shape[1:]), x.dtype)], 0)
    return F.getitem(PUT_BLOCKS(wide, places, values, wrap=False, reduction=reduction), (slice(0, n),))


def refuse(outside: Any, places: Any, sizes: np.ndarray, count: Any) -> None:
    """IndexError for a place, of arrays, that is none."""
    if not isinstance(outside, np.ndarray) or isinstance(count, Traced):
        return
    wrong = np.flatnonzero(outside[:int(count)].any(1))
    if len(wrong):
        where, limits = (", ".join(map(str, row)) for row in (np.asarray(places)[wrong[0]], sizes))
        raise IndexError(f"put_rows: row {wrong[0]} of places is [{where}], outside the axes of x, which are of "
                         f"size [{limits}]")


def of_present(compute: Callable[..., tuple[Any, ...]], present: Any, *arrays: Any) -> tuple[Any, ...]:
    """compute(*arrays) row by row, for the rows alone that `present` (n,) bool says; zeros for the others.

    compute: takes arrays (k, ...) and gives a tuple of arrays (k, ...), each row of which comes from the
    rows in its place. A program computes as many as there are in a run. Arrays that record gradients, and
    those of a device, are computed whole.
    """
    n = int(present.shape[0])
    if n > 1 and isinstance(present, Traced):
        places, count = NONZERO(present)
        since = begin()
        results = compute(*(TAKE(a, places, dim=0, wrap=False) for a in arrays))
        for result in results:
            mark(Counted(result, 0, count), since, range(99), of=[places.value])
        return tuple(put_rows(zeros(n, r), F.reshape(places, (-1, 1)), r, count) for r in results)
    if not isinstance(present, np.ndarray) or not all(isinstance(a, np.ndarray) for a in arrays):
        return compute(*arrays)
    places = np.flatnonzero(present)
    results = compute(*(a[places] for a in arrays))
    if not all(isinstance(r, np.ndarray) for r in results):
        return compute(*arrays)
    found = tuple(zeros(n, r) for r in results)
    for whole, part in zip(found, results, strict=True):
        whole[places] = part
    return found


def zeros(n: int, like: Any) -> np.ndarray:
    return np.zeros((n, *map(int, like.shape[1:])), like.dtype)
