"""Parts of values, and values joined."""

from __future__ import annotations

from functools import partial

import numpy as np

from ... import functional as F
from ...graph.counted import Counted, same_number, shared
from ...graph.trace import Traced
from ...ops.gather import TAKE
from .index import in_order
from .lengths import INT, Length
from .rules import Refused, like, plain, rank, same_length, taken, takes


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
