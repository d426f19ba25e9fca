"""The best of an axis, and its order."""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ...graph.counted import Counted
from ...ops.gather import TAKE
from .lengths import INT, of_length
from .rules import Refused, extreme, filled, like, rank, takes


@takes("aten.topk.default")
def topk(x, k, dim=-1, largest=True, sorted=True):
    axis = dim % rank(x)
    own = isinstance(x, Counted) and x.axis == axis
    if isinstance(x, Counted) and not own:
        return tuple(like(x, v, x.axis) for v in F.topk(x.values, k, axis, largest))
    if own and x.dtype.kind == "f" and not largest:
        raise Refused("an ascending order, in which NaN is last, of a length that a run decides")
    values = filled(x, extreme(x.dtype, -1 if largest else 1))
    count, most = of_length(k)
    room = int(min(values.shape[axis], most))
    best, places = F.topk(values, room, axis, largest)
    return limited(best, places, axis, count, x.count if own else np.asarray(x.shape[axis], INT))


def limited(best, places, axis: int, count, total):
    """The first `count` of them; more than there are in all is an error of the run."""
    room = best.shape[axis]
    if not room:
        raise Refused("the best of none")
    if isinstance(count, np.ndarray):
        if isinstance(total, np.ndarray):
            return best, places
        inside = F.where(F.gt(count, total), np.asarray(room, INT), np.arange(room))
        return TAKE(best, inside, dim=axis, wrap=False), TAKE(places, inside, dim=axis, wrap=False)
    inside = F.where(F.gt(count, total), np.asarray(room, INT), np.arange(room))
    return tuple(Counted(TAKE(v, inside, dim=axis, wrap=False), axis, count) for v in (best, places))


@takes("aten.sort.default")
def sort(x, dim=-1, descending=False):
    axis = dim % rank(x)
    if x.axis != axis:
        return tuple(like(x, v, x.axis) for v in F.sort(x.values, axis, descending))
    if x.dtype.kind == "f" and not descending:
        raise Refused("an ascending order, in which NaN is last, of a length that a run decides")
    values = filled(x, extreme(x.dtype, -1 if descending else 1))
    return tuple(like(x, v, axis) for v in F.sort(values, axis, descending))


@takes("aten.sort.stable")
def sort_stable(x, *, stable=True, dim=-1, descending=False):
    return sort(x, dim, descending)


@takes("aten.argsort.default")
def argsort(x, dim=-1, descending=False):
    return sort(x, dim, descending)[1]
