"""Taking by indices and masks, and assignments to them."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from ...graph.counted import Counted
from ...graph.counted_rows import put_rows
from ...ops.gather import TAKE
from ...ops.typed import as_type
from .lengths import INT
from .rules import Refused, found, like, plain, present, rank, same_length, taken, takes


def in_order(x, indices, axis: int):
    """Indices counted from the front; beyond the end of an axis they are put outside of the room,
    where kernels refuse them; behind their own count they are 0."""
    own = isinstance(x, Counted) and x.axis == axis
    end = x.count if own else np.asarray(x.shape[axis], INT)
    values = as_type(plain(indices), INT)
    values = F.where(F.lt(values, 0), F.add(values, end), values)
    outside = F.logical_or(F.lt(values, 0), F.ge(values, end))
    values = F.where(outside, np.asarray(max(x.shape[axis], 1), INT), values)
    return F.where(present(indices), values, np.asarray(0, INT)) if isinstance(indices, Counted) else values


@takes("aten.index.Tensor")
def index(x, indices):
    axes = [a for a, i in enumerate(indices) if i is not None]
    if not axes:
        return x
    if len(axes) == 1 and indices[axes[0]].dtype == np.bool_:
        return by_mask(x, indices[axes[0]], axes[0])
    if any(i is not None and i.dtype == np.bool_ for i in indices) or axes != list(range(axes[0], axes[-1] + 1)):
        raise Refused("masks beside indices, or indices of axes that are apart")
    given = [indices[a] for a in axes]
    if isinstance(x, Counted) and x.axis not in (axes[0], *range(axes[0])) and any(
            isinstance(i, Counted) for i in given):
        raise Refused("two lengths that a run decides")
    return along(x, given[0], axes[0]) if len(axes) == 1 else along_several(x, given, axes)


def along_several(x, given, axes: list[int]):
    """An index for each of neighbouring axes: one of the entries that they have as a single axis."""
    if isinstance(x, Counted) and x.axis != axes[0]:
        raise Refused("indices of several axes, of which a run decides one")
    if {rank(i) for i in given} != {1} or len({i.shape[0] for i in given}) != 1:
        raise Refused("indices that broadcast")
    first = same_length(given) if any(isinstance(i, Counted) for i in given) else None
    if first is not None and not all(isinstance(i, Counted) for i in given):
        raise Refused("indices of known length beside one that a run decides")
    row = None
    for a, i in zip(axes, given):
        place = in_order(x, i, a)
        # one outside of its axis is outside of all rows
        place = F.where(F.ge(place, x.shape[a]), np.asarray(math.prod(x.shape) + 1, INT), place)
        row = place if row is None else F.add(F.mul(row, x.shape[a]), place)
    values = F.reshape(plain(x), (*x.shape[: axes[0]], -1, *x.shape[axes[-1] + 1 :]))
    result = taken(values, row, axes[0])
    return result if first is None else Counted(result, axes[0], first.count)


def by_mask(x, mask, axis: int):
    n = rank(mask)
    if isinstance(x, Counted) or isinstance(mask, Counted):
        if not (isinstance(x, Counted) and isinstance(mask, Counted)) or x.axis != axis + mask.axis:
            raise Refused("two lengths that a run decides")
        same_length([x, mask])
    places, count = found(mask)
    values = F.reshape(plain(x), (*x.shape[:axis], math.prod(mask.shape), *x.shape[axis + n :])) if n != 1 else plain(x)
    if n == 0:
        raise Refused("a mask without axes")
    return Counted(taken(values, places, axis), axis, count)


@takes("aten.index_select.default")
def index_select(x, dim, indices):
    return along(x, indices, dim % rank(x))


def along(x, indices, axis: int):
    own = isinstance(x, Counted) and x.axis == axis
    if isinstance(x, Counted) and not own and isinstance(indices, Counted):
        raise Refused("two lengths that a run decides")
    if not own and isinstance(indices, Counted) and indices.axis == axis == 0 and rank(indices) == 1 < indices.bound:
        # a run takes those that are there: `mark` has the call shortened
        result = TAKE(x, indices.values, dim=0, wrap=True) if x.shape[0] else taken(x, None, 0)
        return Counted(result, 0, indices.count)
    result = taken(plain(x), in_order(x, indices, axis), axis)
    if isinstance(indices, Counted):
        return Counted(result, axis + indices.axis, indices.count)
    return result if own else Counted(result, x.axis + (rank(indices) - 1 if x.axis > axis else 0), x.count)


@takes("aten.index_put.default")
def index_put(x, indices, values, accumulate=False):
    """x[mask] = a number, and x[indices] = rows."""
    if accumulate or len(indices) != 1 or isinstance(x, Counted) and x.axis:
        raise Refused("sums, or several indices, in an assignment")
    (at,) = indices
    if at.dtype == np.bool_:
        if math.prod(values.shape) != 1:
            raise Refused("an assignment of as many values as a mask has")
        if isinstance(x, Counted) != isinstance(at, Counted):
            raise Refused("two lengths that a run decides")
        if isinstance(x, Counted):
            same_length([x, at])
        mask = F.reshape(plain(at), (*at.shape, *[1] * (rank(x) - rank(at))))
        return like(x, F.where(mask, F.reshape(plain(values), ()), plain(x)), 0)
    return with_rows(x, at, values)


def with_rows(x, at, values):
    """x with the rows at some places overwritten."""
    if rank(at) != 1 or not isinstance(at, Counted) or not x.shape[0]:
        raise Refused("indices of several axes in an assignment")
    rows = (at.bound, *x.shape[1:])
    if not isinstance(values, Counted):
        values = F.broadcast_to(values, rows)
    elif tuple(values.shape) != rows or values.axis:
        raise Refused("rows of another shape in an assignment")
    places = F.reshape(in_order(x, at, 0), (-1, 1))
    return like(x, put_rows(plain(x), places, plain(values), at.count), 0)
