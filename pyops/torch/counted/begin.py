"""Calls whose results have a length that a run decides: nonzero, masks, unique, suppression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import functional as F
from ...graph.counted import Counted, begin, mark
from ...ops.typed import as_type
from .lengths import INT, Length
from .rules import Refused, extreme, filled, found, plain, rank, same_length, taken, takes

# Beginnings that a graph of known sizes has as well
BEGIN = {"aten.where.default", "aten.nonzero_numpy.default", "aten.nonzero.default", "aten.masked_select.default",
         "torchvision.nms.default", "aten._unique2.default", "aten._local_scalar_dense.default", "aten.item.default"}


def columns(mask) -> tuple[list, Any]:
    """Of each place that is not 0 its index along every axis, and how many there are."""
    shape = mask.shape
    places, count = found(mask)
    if len(shape) == 1:
        return [places], count
    return [F.remainder(F.floor_divide(places, max(1, math.prod(shape[a + 1 :]))), max(1, n))
            for a, n in enumerate(shape)], count


@takes("aten.where.default", "aten.nonzero_numpy.default")
def where(condition):
    each, count = columns(condition)
    return [Counted(c, 0, count) for c in each]


@takes("aten.nonzero.default")
def nonzero(x):
    if not rank(x):
        raise Refused("nonzero of a single number")
    each, count = columns(x)
    since = begin()
    rows = F.cat([F.reshape(c, (-1, 1)) for c in each], 1)
    mark(Counted(rows, 0, count), since, range(2, 3))
    return Counted(rows, 0, count)


@takes("aten.masked_select.default")
def masked_select(x, mask):
    if isinstance(x, Counted) or isinstance(mask, Counted):
        same_length([x, mask])
        if x.shape != mask.shape or not isinstance(mask, Counted):
            raise Refused("a mask of another shape than what it selects from")
    shape = np.broadcast_shapes(tuple(x.shape), tuple(mask.shape))
    x, mask = (v if tuple(v.shape) == shape else F.broadcast_to(v, shape) for v in (x, mask))
    places, count = found(mask)
    return Counted(taken(F.reshape(plain(x), (-1,)), places, 0), 0, count)


@takes("torchvision.nms.default")
def nms(boxes, scores, threshold):
    groups = np.zeros(boxes.shape[:1], INT)
    return suppressed(boxes, scores, groups, threshold)


def suppressed(boxes, scores, groups, threshold):
    """Boxes behind the count have a group of their own, in which one goes for the other, and the score of
    NaN, which is least: of those that stay one is theirs, the last."""
    if not boxes.shape[0]:
        raise Refused("no boxes")
    if not isinstance(boxes, Counted):
        return F.batched_nms(boxes, scores, groups, threshold)
    if not threshold < 1:
        raise Refused("a threshold by which no box goes")
    count = same_length([boxes, scores, *([groups] if isinstance(groups, Counted) else [])]).count
    there = F.lt(np.arange(boxes.bound), count)
    kept = F.batched_nms(F.where(F.reshape(there, (-1, 1)), boxes.values, np.array([0, 0, 1, 1], boxes.dtype)),
                         F.where(there, scores.values, np.asarray(math.nan, scores.dtype)),
                         F.where(there, plain(groups), np.asarray(np.iinfo(INT).min)), threshold)
    return Counted(kept.values, 0, F.sub(kept.count, as_type(F.lt(count, boxes.bound), INT)))


@takes("aten._unique2.default")
def unique(x, *_):
    """In ascending order, as torch has them. NaN is no number's equal, its own neither."""
    values = F.reshape(plain(x), (-1,))
    if isinstance(x, Counted):
        if rank(x) != 1:
            raise Refused("unique values of several axes, of which a run decides one")
        values = filled(x, extreme(x.dtype, 1))
    n = values.shape[0]
    if n == 0 or isinstance(x, Counted) and values.dtype.kind == "f":
        raise Refused("unique values of none, or of floats whose number a run decides")
    values, order = F.topk(values, n, 0, False)
    new = F.ne(F.getitem(values, (slice(1, n),)), F.getitem(values, (slice(0, n - 1),)))
    begins = F.cat([F.ge(F.getitem(order, (slice(0, 1),)), 0), new], 0)
    group = F.sub(F.cumsum(as_type(begins, INT), 0), 1)
    none = F.mul(order, 0)
    if isinstance(x, Counted):
        there = F.lt(np.arange(n), x.count)   # the greatest number may be among them, in front by its place
        begins = F.logical_and(begins, there)
    places, count = found(begins)
    inverse = F.scatter(none, 0, order, group)
    each = np.ones(n, INT) if not isinstance(x, Counted) else as_type(there, INT)
    times = F.scatter_add(none, 0, group, each)
    inverse = Counted(inverse, 0, x.count) if isinstance(x, Counted) else F.reshape(inverse, tuple(x.shape))
    return Counted(taken(values, places, 0), 0, count), inverse, Counted(times, 0, count)


@takes("aten._local_scalar_dense.default", "aten.item.default")
def item(x):
    """A whole number as a size."""
    if isinstance(x, Counted) or x.dtype.kind not in "iu" or math.prod(x.shape) != 1:
        raise Refused("a number that is no whole one")
    return Length(F.reshape(as_type(x, INT), ()), math.inf)
