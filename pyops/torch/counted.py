"""ATen calls on values whose length along one axis a run decides (graph/counted.py), and those that
begin such lengths: nonzero, masks as indices, unique, suppression.

torch has proved that shapes fit, with a symbol for each such length. What has no rule here is
refused, and stays torch's. Sizes that a run decides are `Length`s: numbers of the run with the most
that they can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch.utils import _pytree as pytree

from .. import functional as F
from ..graph import trace
from ..graph.counted import Counted, begin, mark, same_number, shared
from ..graph.trace import Traced
from ..ops.gather import TAKE
from ..ops.places import NONZERO
from ..ops.typed import as_type
from .aten import OF_TORCHVISION, TABLE, numpys

INT = np.dtype(np.int64)
RULES: dict[str, Callable] = {}


def takes(*overloads: str):
    def enter(function):
        RULES.update(dict.fromkeys(overloads, function))
        return function

    return enter


class Refused(NotImplementedError):
    """A length that a run decides, where there is no rule for it."""


@dataclass(frozen=True, eq=False)
class Length:
    """A size that a run decides, a traced int64 without axes, and the most that it can be."""

    value: Traced
    most: float

    def __add__(self, other):
        value, most = of_length(other)
        return Length(shared(("sum", self.value, value), lambda: F.add(self.value, value)), self.most + most)

    def __sub__(self, other):
        value, _ = of_length(other)
        return Length(F.sub(self.value, value), self.most if isinstance(other, Length) else self.most - other)

    def __mul__(self, other):
        value, most = of_length(other)
        return Length(F.mul(self.value, value), self.most * most)

    def __floordiv__(self, other):
        value, _ = of_length(other)
        return Length(F.floor_divide(self.value, value), self.most)

    def __mod__(self, other):
        value, _ = of_length(other)
        return Length(F.remainder(self.value, value), self.most)

    __radd__, __rmul__ = __add__, __mul__


class Compared:
    """Of sizes that a run decides: what torch asserts."""


def of_length(size) -> tuple[Any, float]:
    return (size.value, size.most) if isinstance(size, Length) else (np.asarray(size, INT), size)


def length(value: Traced) -> Length:
    tracer = trace._tracer.get()
    most = None if tracer is None else tracer.most(value.value)
    return Length(value, math.inf if most is None else most)


def least_of(*sizes):
    """sym_min: at most what the smallest can be at most."""
    (a, most), (b, other) = map(of_length, sizes)
    if len({type(s) for s in sizes}) == 2:   # a count and a number: as a slice has it
        count, number = (b, a) if isinstance(a, np.ndarray) else (a, b)
        return Length(shared(("place", count, int(number)), lambda: F.minimum(count, number)), min(most, other))
    return Length(F.minimum(a, b), min(most, other))


def most_of(*sizes):
    (a, most), (b, other) = map(of_length, sizes)
    return Length(F.maximum(a, b), max(most, other))


def of_the_run(*values) -> bool:
    return any(isinstance(v, (Counted, Length, Compared)) for v in pytree.tree_leaves(values))


def called(name: str, args, kwargs):
    """The call's value. NotImplementedError where it does not take such a length, or not there."""
    since = begin()
    rule = RULES.get(name)
    result = rule(*args, **kwargs) if rule else value_by_value(TABLE.get(name), since, args, kwargs)
    for value in pytree.tree_leaves(result):
        if isinstance(value, Counted) and isinstance(value.values, Traced):
            mark(value, since, range(value.ndim, value.ndim + 1) if rule is None else range(99) if name in MOVES
                 else range(0))
    return result


# Calls whose rules compute nothing by the way that has as many entries for another reason
MOVES = {f"aten.{name}" for name in (
    "view.default", "reshape.default", "_unsafe_view.default", "slice.Tensor", "select.int", "unsqueeze.default",
    "squeeze.dim", "permute.default", "transpose.int", "unbind.int", "stack.default")}


def value_by_value(function, since: int, args, kwargs):
    """A function of the table, if every row that it calls works value by value. Operands broadcast:
    what has no such length has one entry or none along its axis."""
    if function is None:
        raise Refused("a length that a run decides")
    given = [v for v in pytree.tree_leaves((args, kwargs)) if hasattr(v, "shape")]
    like, most = same_length(given), max(len(v.shape) for v in given)
    axis = most - like.ndim + like.axis
    for v in given:
        at = axis - most + len(v.shape)
        if isinstance(v, Counted) and v.axis != at:
            raise Refused("lengths that a run decides along several axes")
        if not isinstance(v, Counted) and at >= 0 and v.shape[at] != 1:
            raise Refused("an axis whose length a run decides beside one of known length")
    if any(isinstance(v, Length) for v in pytree.tree_leaves((args, kwargs))):
        raise Refused("a size that a run decides as a number")
    result = function(*pytree.tree_map_only(Counted, lambda v: v.values, args),
                      **pytree.tree_map_only(Counted, lambda v: v.values, kwargs))
    if not all(node.op == "cast" or node.row.pointwise for node in trace._tracer.get().nodes[since:]):
        raise Refused("entries of an axis whose length a run decides, which it mixes")
    return pytree.tree_map_only(Traced, lambda v: Counted(v, axis - most + len(v.shape), like.count), result)


def same_length(values) -> Counted:
    """The first of several values, all of which end at one count."""
    first = next((v for v in values if isinstance(v, Counted)), None)
    if first is None:
        raise Refused("a size that a run decides")
    for v in values:
        if isinstance(v, Counted) and (not same_number(v.count, first.count) or v.bound != first.bound):
            raise Refused("values of several lengths that a run decides")
    return first


def plain(x):
    return x.values if isinstance(x, Counted) else x


def like(x, values, axis: int):
    """Values as long as x along an axis; themselves if x is of known length."""
    return Counted(values, axis, x.count) if isinstance(x, Counted) else values


def present(x: Counted):
    """Which entries are there, to broadcast with the value."""
    shape = [1] * x.ndim
    shape[x.axis] = x.bound
    return F.reshape(F.lt(np.arange(x.bound), x.count), tuple(shape))


def filled(x, number):
    """The values, with a number behind the count."""
    if not isinstance(x, Counted):
        return x
    return F.where(present(x), x.values, np.asarray(number, x.dtype))


def extreme(dtype, sign: int):
    if dtype.kind == "f":
        return sign * math.inf
    return sign > 0 if dtype.kind == "b" else np.iinfo(dtype).max if sign > 0 else np.iinfo(dtype).min


def rank(x) -> int:
    return len(x.shape)


# ---- what begins such a length

def found(mask):
    """(places, count) of what is not 0."""
    if isinstance(mask, Counted):
        return shared(("nonzero", mask.values, mask.count), lambda: NONZERO(filled(mask, 0)))
    return shared(("nonzero", mask), lambda: NONZERO(mask)) if isinstance(mask, Traced) else NONZERO(mask)


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


# ---- taking by indices

def taken(x, indices, axis: int):
    if not x.shape[axis]:
        raise Refused("entries of an empty axis")
    return TAKE(x, indices, dim=axis, wrap=False)


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
    if len(axes) == 1:
        return along(x, given[0], axes[0])
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
        if isinstance(x, Counted) != isinstance(at, Counted) or isinstance(x, Counted) and same_length([x, at]) is None:
            raise Refused("two lengths that a run decides")
        mask = F.reshape(plain(at), (*at.shape, *[1] * (rank(x) - rank(at))))
        return like(x, F.where(mask, F.reshape(plain(values), ()), plain(x)), 0)
    if rank(at) != 1 or not isinstance(at, Counted) or not x.shape[0]:
        raise Refused("indices of several axes in an assignment")
    if tuple(values.shape) != (at.bound, *x.shape[1:]) or not isinstance(values, Counted) or values.axis:
        values = F.broadcast_to(plain(values), (at.bound, *x.shape[1:])) if not isinstance(values, Counted) else None
        if values is None:
            raise Refused("rows of another shape in an assignment")
    n = x.shape[0]
    place = F.where(present(at), in_order(x, at, 0), np.asarray(n, INT))   # a row behind all, which is dropped
    outside = F.logical_and(present(at), F.ge(place, n))
    place = F.where(outside, np.asarray(n + 1, INT), place)
    wide = F.cat([plain(x), np.zeros((1, *x.shape[1:]), x.dtype)], 0)
    return like(x, F.getitem(F.scatter_nd(wide, F.reshape(place, (-1, 1)), plain(values)), (slice(0, n),)), 0)


# ---- order, parts, joins

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


def part(x, axis: int, start, end):
    """Entries start to end of an axis, counted from its end where negative."""
    n = x.shape[axis]
    own = isinstance(x, Counted) and x.axis == axis
    total = x.count if own else np.asarray(n, INT)
    if not isinstance(start, Length) and not isinstance(end, Length) and not own:
        return like(x, F.getitem(plain(x), (*(slice(None),) * axis, slice(start, end))), getattr(x, "axis", 0))
    if isinstance(x, Counted) and not own:
        raise Refused("two lengths that a run decides")

    def place(v):
        if not isinstance(v, Length) and v >= n:
            return total
        if isinstance(v, Length) and isinstance(total, Traced) and same_number(v.value, total):
            return total
        if isinstance(v, Length):
            number = F.where(F.lt(v.value, 0), F.add(v.value, total), v.value)
            return F.maximum(F.minimum(number, total), np.asarray(0, INT))
        if v >= 0:
            return shared(("place", total, v), lambda: F.minimum(total, np.asarray(v, INT)))
        return F.maximum(F.add(total, np.asarray(max(v, -n), INT)), np.asarray(0, INT))

    values, last = plain(x), place(end)
    if not isinstance(start, Length) and start == 0:
        room = n if isinstance(end, Length) or end < 0 else min(n, end)
        room = int(min(room, end.most)) if isinstance(end, Length) else room
        return Counted(F.getitem(values, (*(slice(None),) * axis, slice(0, room))), axis, last)
    first = place(start)
    count = shared(("between", first, last), lambda: F.maximum(F.sub(last, first), np.asarray(0, INT)))
    at = F.minimum(F.add(first, np.arange(n)), np.asarray(max(n - 1, 0), INT))
    return Counted(taken(values, at, axis), axis, count)


@takes("aten.slice.Tensor")
def slice_of(x, dim=0, start=None, end=None, step=1):
    axis = dim % rank(x)
    start, end = 0 if start is None else start, (1 << 62) if end is None else end
    if isinstance(x, Counted) and x.axis == axis or isinstance(start, Length) or isinstance(end, Length):
        if step != 1:
            raise Refused("steps along an axis whose length a run decides")
        return part(x, axis, start, end)
    return like(x, F.getitem(x.values, (*(slice(None),) * axis, slice(start, end, step))), x.axis)


@takes("aten.narrow.default")
def narrow(x, dim, start, size):
    return part(x, dim % rank(x), start, start + size)


@takes("aten.select.int")
def select(x, dim, index):
    axis = dim % rank(x)
    if x.axis == axis or isinstance(index, Length):
        if isinstance(index, Length):
            raise Refused("an entry whose place a run decides")
        return along_number(x, index, axis)
    return like(x, F.getitem(x.values, (*(slice(None),) * axis, index)), x.axis - (axis < x.axis))


def along_number(x, index: int, axis: int):
    place = in_order(x, np.asarray([index], INT), axis)
    return F.squeeze(taken(x.values, place, axis), axis)


@takes("aten.unbind.int")
def unbind(x, dim=0):
    axis = dim % rank(x)
    if axis == x.axis:
        raise Refused("as many values as a run decides")
    return [select(x, axis, i) for i in range(x.shape[axis])]


@takes("aten.split_with_sizes.default")
def split_with_sizes(x, sizes, dim=0):
    axis, start, parts = dim % rank(x), 0, []
    if len(sizes) == 1 and isinstance(x, Counted) and x.axis == axis:   # all of it, as torch has proved
        return [x]
    for size in sizes:
        parts.append(part(x, axis, start, start + size))
        start = start + size
    return parts


@takes("aten.cat.default")
def cat(values, dim=0):
    axis = dim % max(map(rank, values))
    values = [v for v in values if isinstance(v, Counted) or tuple(v.shape) != (0,)]   # which torch skips
    across = [v for v in values if isinstance(v, Counted) and v.axis != axis]
    if across:
        if len(across) < len(values):
            raise Refused("an axis of known length beside one that a run decides")
        return like(same_length(across), F.cat([v.values for v in across], axis), across[0].axis)
    whole = F.cat([plain(v) for v in values], axis)
    if not whole.shape[axis]:
        return whole
    # where each entry of the result comes from: the parts lie behind each other with room between them
    at = np.arange(whole.shape[axis])
    place, end, first = at, np.asarray(0, INT), 0
    for v in values:
        count = v.count if isinstance(v, Counted) else np.asarray(v.shape[axis], INT)
        after = count if first == 0 else shared(("sum", end, count), partial(F.add, end, count))
        place = F.where(F.ge(at, end), F.add(F.sub(at, end), first), place)
        first, end = first + v.shape[axis], after
    place = F.minimum(place, np.asarray(whole.shape[axis] - 1, INT))
    return Counted(TAKE(whole, place, dim=axis, wrap=False), axis, end)


@takes("aten.stack.default")
def stack(values, dim=0):
    first = same_length(values)
    if not all(isinstance(v, Counted) and v.axis == first.axis for v in values):
        raise Refused("an axis of known length beside one that a run decides")
    dim = dim % (first.ndim + 1)
    return like(first, F.stack([v.values for v in values], dim), first.axis + (dim <= first.axis))


# ---- shapes

@takes("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")
def view(x, sizes):
    """The one length that a run decides follows from the others, as torch has proved."""
    sizes = [None if isinstance(n, Length) or n == -1 else n for n in sizes]
    if not isinstance(x, Counted) or sizes.count(None) != 1:
        raise Refused("a shape with several lengths that a run decides")
    axis = sizes.index(None)
    before, behind = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    inner = math.prod(x.shape[x.axis + 1 :])
    if before != math.prod(x.shape[: x.axis]) or not behind or inner % behind:
        raise Refused("a shape that joins what a run decides with what is before it")
    times = inner // behind
    values = F.reshape(x.values, (*sizes[:axis], x.bound * times, *sizes[axis + 1 :]))
    return Counted(values, axis, x.count if times == 1 else shared(
        ("times", x.count, times), lambda: F.mul(x.count, np.asarray(times, INT))))


@takes("aten.flatten.using_ints")
def flatten(x, start_dim=0, end_dim=-1):
    start, end = start_dim % rank(x), end_dim % rank(x)
    joined = -1 if start <= x.axis <= end else math.prod(x.shape[start : end + 1])
    sizes = [*x.shape[:start], joined, *x.shape[end + 1 :]]
    if not start <= x.axis <= end:
        sizes[x.axis if x.axis < start else x.axis - (end - start)] = -1
    return view(x, sizes)


@takes("aten.unsqueeze.default")
def unsqueeze(x, dim):
    dim = dim % (rank(x) + 1)
    return like(x, F.unsqueeze(x.values, dim), x.axis + (dim <= x.axis))


@takes("aten.squeeze.dim", "aten.squeeze.dims")
def squeeze(x, dim):
    dims = {d % rank(x) for d in (dim if isinstance(dim, (list, tuple)) else [dim])}
    gone = [d for d in dims if d != x.axis and x.shape[d] == 1]
    return like(x, F.reshape(x.values, tuple(n for d, n in enumerate(x.shape) if d not in gone)),
                x.axis - sum(d < x.axis for d in gone))


@takes("aten.permute.default")
def permute(x, dims):
    dims = [d % rank(x) for d in dims]
    return like(x, F.permute(x.values, tuple(dims)), dims.index(x.axis))


@takes("aten.transpose.int")
def transpose(x, a, b):
    dims = list(range(rank(x)))
    dims[a], dims[b] = dims[b], dims[a]
    return permute(x, dims)


@takes("aten.t.default")
def t(x):
    return transpose(x, 0, 1) if rank(x) > 1 else x


@takes("aten.expand.default")
def expand(x, sizes, implicit=False):
    """To sizes of which at most one is a run's, that of x itself or of an axis of 1."""
    lead = len(sizes) - rank(x)
    shape = (*[1] * lead, *x.shape)
    axes = [i for i, n in enumerate(sizes) if isinstance(n, Length)]
    if isinstance(x, Counted):
        own = lead + x.axis
        if axes not in ([], [own]):
            raise Refused("several lengths that a run decides")
        to = [shape[i] if i == own or n == -1 else n for i, n in enumerate(sizes)]
        return like(x, F.broadcast_to(x.values, tuple(to)), own)
    if len(axes) != 1 or shape[axes[0]] != 1 or sizes[axes[0]].most == math.inf:
        raise Refused("a length that nobody knows a bound of")
    to = [int(n.most) if i == axes[0] else shape[i] if n == -1 else n for i, n in enumerate(sizes)]
    if not isinstance(x, Traced):
        return lifted(np.broadcast_to(x, tuple(to)).copy(), axes[0], sizes[axes[0]].value)
    return Counted(F.broadcast_to(x, tuple(to)), axes[0], sizes[axes[0]].value)


@takes("aten.sym_size.int")
def sym_size(x, dim):
    return length(x.count) if dim % rank(x) == x.axis else x.shape[dim]


@takes("aten.sym_numel.default")
def sym_numel(x):
    return length(x.count) * (math.prod(x.shape) // max(1, x.bound))


# ---- constants of such sizes

def constant(sizes, number, dtype):
    axes = [i for i, n in enumerate(sizes) if isinstance(n, Length)]
    if len(axes) != 1 or not 0 < sizes[axes[0]].most < 1 << 31:
        raise Refused("several lengths that a run decides, or one that nobody knows a bound of")
    (axis,) = axes
    values = np.full([int(n.most) if i == axis else n for i, n in enumerate(sizes)], number, dtype)
    return lifted(values, axis, sizes[axis].value)


def lifted(values: np.ndarray, axis: int, count) -> Counted:
    """Values that are known, as many as the count says."""
    shape = [1] * values.ndim
    shape[axis] = values.shape[axis]
    there = F.reshape(F.lt(np.arange(values.shape[axis]), count), tuple(shape))
    return Counted(F.where(there, values, np.zeros((), values.dtype)), axis, count)


def type_of(dtype, otherwise):
    return otherwise if dtype is None else numpys(dtype)


@takes("aten.full.default")
def full(size, value, *, dtype=None, **_):
    default = np.dtype(np.bool_ if isinstance(value, bool) else INT if isinstance(value, int) else np.float32)
    return constant(size, value, type_of(dtype, default))


@takes("aten.zeros.default", "aten.empty.memory_format")
def zeros(size, *, dtype=None, **_):
    return constant(size, 0, type_of(dtype, np.dtype(np.float32)))


@takes("aten.ones.default")
def ones(size, *, dtype=None, **_):
    return constant(size, 1, type_of(dtype, np.dtype(np.float32)))


def like_shape(x):
    return [length(x.count) if axis == x.axis else n for axis, n in enumerate(x.shape)]


@takes("aten.full_like.default")
def full_like(x, value, *, dtype=None, **_):
    return constant(like_shape(x), value, type_of(dtype, x.dtype))


@takes("aten.zeros_like.default", "aten.empty_like.default")
def zeros_like(x, *, dtype=None, **_):
    return full_like(x, 0, dtype=dtype)


@takes("aten.ones_like.default")
def ones_like(x, *, dtype=None, **_):
    return full_like(x, 1, dtype=dtype)


@takes("aten.new_full.default")
def new_full(x, size, value, *, dtype=None, **_):
    return constant(size, value, type_of(dtype, x.dtype))


@takes("aten.new_zeros.default", "aten.new_empty.default")
def new_zeros(x, size, *, dtype=None, **_):
    return new_full(x, size, 0, dtype=dtype)


@takes("aten.new_ones.default")
def new_ones(x, size, *, dtype=None, **_):
    return new_full(x, size, 1, dtype=dtype)


@takes("aten.arange.default")
def arange(end, *, dtype=None, **_):
    return arange_from(0, end, dtype=dtype)


@takes("aten.arange.start", "aten.arange.start_step")
def arange_from(start, end, step=1, *, dtype=None, **_):
    if start or step != 1 or not isinstance(end, Length) or not 0 < end.most < 1 << 31:
        raise Refused("counting from or by a number that a run decides")
    return lifted(np.arange(int(end.most), dtype=type_of(dtype, INT)), 0, end.value)


# ---- all entries of the axis

def reduction(name: str, number: Callable, function):
    """number(dtype): what changes nothing."""
    def reduce(x, dim=None, keepdim=False, *, dtype=None):
        given = () if dim is None or dim in ([], ()) else tuple(dim) if isinstance(dim, (list, tuple)) else (dim,)
        axes = tuple(d % rank(x) for d in given) or tuple(range(rank(x)))
        if dtype is not None:
            x = like(x, as_type(x.values, numpys(dtype)), x.axis)
        whole = x.axis in axes
        found = function(filled(x, number(x.dtype)) if whole else x.values, axes, keepdim)
        if whole:
            return found
        return like(x, found, x.axis if keepdim else x.axis - sum(a < x.axis for a in axes))

    RULES.update({f"aten.{name}": reduce})
    return reduce


def mean_of(x, dim=None, keepdim=False, *, dtype=None):
    total = RULES["aten.sum.dim_IntList"](x, dim, keepdim, dtype=dtype)
    axes = range(rank(x)) if not dim else [d % rank(x) for d in dim]
    if isinstance(total, Counted):
        return like(total, F.div(total.values, float(math.prod(x.shape[a] for a in axes))), total.axis)
    others = math.prod(x.shape[a] for a in axes if a != x.axis)
    return F.div(total, as_type(F.mul(x.count, np.asarray(others, INT)), total.dtype))


def whole_sum(x, axes, keepdim):
    return F.sum(as_type(x, INT) if x.dtype.kind in "bui" else x, axes, keepdim)


for _form in ("dim_IntList", "default"):
    reduction(f"sum.{_form}", lambda _: 0, whole_sum)
for _name, _sign in (("amax", -1), ("amin", 1)):
    reduction(f"{_name}.default", partial(lambda sign, dtype: extreme(dtype, sign), _sign), getattr(F, _name))
for _name, _sign in (("max", -1), ("min", 1)):
    reduction(f"{_name}.default", partial(lambda sign, dtype: extreme(dtype, sign), _sign), getattr(F, "a" + _name))
for _name in ("any", "all"):
    for _form in ("default", "dim", "dims"):
        reduction(f"{_name}.{_form}", partial(lambda name, _: name == "all", _name), getattr(F, _name))
RULES.update({"aten.mean.dim": mean_of, "aten.mean.default": mean_of})


# ---- layers, whose samples do not mix

def rows_only(name: str, last: int | None):
    """A rule for a layer: the entries stay apart along axis 0, or all axes but the last `last`."""
    def layer(x, *rest, **named):
        inner = rank(x) - 1 if last is None else last
        if not isinstance(x, Counted) or of_the_run(rest, named) or x.axis >= rank(x) - inner:
            raise Refused("an axis whose length a run decides, which it mixes")
        found = TABLE[f"aten.{name}"](x.values, *rest, **named)
        return like(x, found, x.axis)

    RULES[f"aten.{name}"] = layer


for _name in ("conv1d.default", "conv2d.default", "conv3d.default", "conv2d.padding", "conv_transpose2d.input",
              "max_pool2d.default", "avg_pool2d.default", "adaptive_avg_pool2d.default", "batch_norm.default",
              "_native_batch_norm_legit_no_training.default", "upsample_bilinear2d.vec", "upsample_nearest2d.vec",
              "upsample_bicubic2d.vec", "instance_norm.default", "group_norm.default"):
    if f"aten.{_name}" in TABLE:
        rows_only(_name, None)
rows_only("linear.default", 1)


@takes("aten.layer_norm.default")
def layer_norm(x, shape, *rest, **named):
    if of_the_run(rest, named) or x.axis >= rank(x) - len(shape):
        raise Refused("an axis whose length a run decides, which it mixes")
    return like(x, TABLE["aten.layer_norm.default"](x.values, shape, *rest, **named), x.axis)


def softmax_rule(name: str):
    def rule(x, dim, dtype=None):
        axis = dim % rank(x)
        values = filled(x, -math.inf) if axis == x.axis else x.values
        return like(x, TABLE[name](values, dim, dtype), x.axis)

    RULES[name] = rule


softmax_rule("aten.softmax.int")
softmax_rule("aten.log_softmax.int")


@takes("aten.addmm.default")
def addmm(bias, a, b, **named):
    if not isinstance(a, Counted) or a.axis or isinstance(b, Counted) or isinstance(bias, Counted):
        raise Refused("a product over an axis whose length a run decides")
    return like(a, TABLE["aten.addmm.default"](bias, a.values, b, **named), 0)


@takes("aten.mm.default", "aten.matmul.default")
def matmul(a, b):
    if isinstance(a, Counted) and isinstance(b, Counted) and a.axis == rank(a) - 1 and b.axis == 0:
        same_length([a, b])
        return F.matmul(filled(a, 0), filled(b, 0))
    if isinstance(a, Counted) and not isinstance(b, Counted) and a.axis < rank(a) - 1 and rank(b) <= 2:
        return like(a, F.matmul(a.values, b), a.axis)
    raise Refused("a product over an axis whose length a run decides")


# ---- regions

def of_regions(name: str):
    def regions(x, boxes, *rest):
        if isinstance(x, Counted) or not isinstance(boxes, Counted) or boxes.axis:
            raise Refused("maps whose number a run decides")
        # regions behind the count are of the first map, and empty
        return like(boxes, OF_TORCHVISION[name](x, filled(boxes, 0), *rest), 0)

    RULES[name] = regions


of_regions("torchvision.roi_align.default")

# Beginnings that a graph of known sizes has as well
BEGIN = {"aten.where.default", "aten.nonzero_numpy.default", "aten.nonzero.default", "aten.masked_select.default",
         "torchvision.nms.default", "aten._unique2.default", "aten._local_scalar_dense.default", "aten.item.default"}
