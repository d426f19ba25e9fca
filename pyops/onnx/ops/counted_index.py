"""Taking, putting, slicing and joining where a length along one axis depends on data (counted.py)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from ... import functional as F
from ...graph.counted import Counted, same_number, shared
from ...graph.counted_rows import put_rows
from ...ops.gather import TAKE
from ...ops.typed import as_type
from ..limits import short
from .counted import cut, filled, plain, present, same_length, takes
from .lengths import origin
from .row import OPS, Unsupported, axes_of, axis_of, rank, traced

INT, LARGEST = np.dtype(np.int64), (1 << 62) - 1
BESIDE = -float(1 << 20)   # pixels: outside of every map


def index_of(value):
    """Indices with 0 behind their count, which are in range; and along which axis that is, or None."""
    return (filled(value, 0), value.axis) if isinstance(value, Counted) else (value, None)


def in_order(x, indices, axis: int):
    """Indices counted from the front of an axis of x; beyond a count that depends on data they are put
    outside of the room, where kernels refuse them."""
    if not isinstance(x, Counted) or x.axis != axis:
        return indices
    if not traced(indices):
        indices = np.asarray(indices, INT)
    found = F.where(F.lt(indices, 0), F.add(as_type(indices, INT), x.count), as_type(indices, INT))
    outside = F.logical_or(F.lt(found, 0), F.ge(found, x.count))
    return F.where(outside, np.asarray(max(x.bound, 1), INT), found)


@takes("Gather")
def gather(call):
    x, axis = call[0], axis_of(call.attr("axis", 0), rank(call[0]))
    indices, at = call[1], None
    own = isinstance(x, Counted) and x.axis == axis
    if isinstance(indices, Counted) and not isinstance(x, Counted) and axis == indices.axis == 0 and (
        indices.bound > 1 and x.shape[0]
    ):
        return Counted(TAKE(x, indices.values, dim=0, wrap=True), 0, indices.count)  # runs on those that are there
    if isinstance(indices, Counted):
        inside = in_order(x, indices.values, axis)
        indices, at = index_of(replaced(indices, inside))
        if own and x.bound:  # 0 is no entry of none
            indices = F.where(present(call[1], call[1].axis, rank(call[1])), indices, np.asarray(0, INT))
    elif own:
        indices = in_order(x, indices, axis)
    if isinstance(x, Counted) and not own and at is not None:
        raise Unsupported("makes two lengths that depend on data")
    values = x.values if isinstance(x, Counted) else x
    if values.shape[axis] == 0:
        raise Unsupported(f"takes from axis {axis}, which is empty")
    found = TAKE(values, indices, dim=axis, wrap=True) if traced(indices) else plain(call)
    if at is not None:
        return Counted(found, axis + at, call[1].count)
    if own:
        return found
    return cut(found, x, x.axis + (rank(indices) - 1 if x.axis > axis else 0))


def replaced(value: Counted, values) -> Counted:
    return Counted(values, value.axis, value.count)


@takes("GatherND")
def gather_nd(call):
    x, indices = call[0], call[1]
    if isinstance(x, Counted) or not isinstance(indices, Counted) or indices.axis == rank(indices) - 1 or (
        call.attr("batch_dims", 0) or 0 in x.shape
    ):
        raise Unsupported("takes lengths that depend on data as those of its indices alone")
    if indices.axis == 0 and indices.bound > 1 and indices.shape[-1]:   # runs on those that are there
        return cut(F.gather_nd(x, indices.values), indices, 0)
    return cut(F.gather_nd(x, index_of(indices)[0]), indices, indices.axis)


@takes("GatherElements")
def gather_elements(call):
    x, indices = call[0], call[1]
    axis = axis_of(call.attr("axis", 0), rank(x))
    if isinstance(x, Counted) and x.axis == axis or not isinstance(indices, Counted) or 0 in x.shape:
        raise Unsupported("takes lengths that depend on data as those of its indices alone")
    return cut(plain(call, [x, index_of(indices)[0]]), indices, indices.axis)


def whole_rows(call, axis: int, values):
    """One index a row, where those of all of its values were made of it; else None."""
    indices, updates = call[1].values, call[2].values
    if axis or call.attr("reduction", "none") != "none" or tuple(updates.shape[1:]) != tuple(values.shape[1:]):
        return None
    node = indices.value.node if traced(indices) else None
    source = node.inputs[0] if node is not None and node.op == "broadcast_to" else None
    if source is None or tuple(source.shape) != (indices.shape[0], *[1] * (rank(indices) - 1)):
        return None
    return F.reshape(source if isinstance(source, np.ndarray) else type(indices)(source), (-1,))


@takes("ScatterElements", "Scatter")
def scatter_elements(call):
    x, indices, updates = call.inputs
    axis = axis_of(call.attr("axis", 0), rank(x))
    along_axis = [isinstance(v, Counted) and v.axis == axis for v in call.inputs]
    if not (along_axis[1] and along_axis[2] and same_length([indices, updates])) or 0 in x.shape or (
        isinstance(x, Counted) and not along_axis[0]
    ):
        raise Unsupported("takes lengths that depend on data along its axis alone")
    values, length = (x.values, x.count) if along_axis[0] else (x, np.asarray(x.shape[axis], INT))
    n, rows = values.shape[axis], whole_rows(call, axis, values)
    places = as_type(indices.values if rows is None else rows, INT)
    places = F.where(F.lt(places, 0), F.add(places, length), places)
    wrong = F.logical_or(F.lt(places, 0), F.ge(places, length))
    places = F.where(wrong, np.asarray(n + 1, INT), places)   # which the kernel refuses
    if rows is None:
        places = F.where(present(indices, axis, rank(x)), places, np.asarray(n, INT))
        wide = F.cat([values, np.zeros((*values.shape[:axis], 1, *values.shape[axis + 1 :]), x.dtype)], axis)
        found = OPS["ScatterElements"](replace(call, inputs=[wide, places, updates.values]))
        found = F.getitem(found, (slice(None),) * axis + (slice(0, n),))
    else:
        found = put_rows(values, F.reshape(places, (-1, 1)), updates.values, indices.count)
    return Counted(found, axis, length) if along_axis[0] else found


@takes("ScatterND")
def scatter_nd(call):
    x, indices, updates = call.inputs
    if isinstance(x, Counted) or not isinstance(indices, Counted) or indices.axis == rank(indices) - 1 or (
        isinstance(updates, Counted) and (updates.axis != indices.axis or same_length([indices, updates]) is None)
    ) or rank(indices) < 1 or indices.shape[-1] < 1 or 0 in x.shape:
        raise Unsupported("takes lengths that depend on data as those of its indices and updates alone")
    n, depth = x.shape[0], indices.shape[-1]
    values = updates.values if isinstance(updates, Counted) else updates
    if tuple(values.shape) != (*indices.shape[:-1], *x.shape[depth:]):
        raise Unsupported(f"updates of shape {short(values.shape)} for indices {short(indices.shape)}")
    reduction = call.attr("reduction", "none")
    reduction = "" if reduction == "none" else reduction
    sizes = np.array(x.shape[:depth], INT)
    places = F.where(F.lt(indices.values, 0), F.add(indices.values, sizes), indices.values)
    # what is outside of its axis must not come to lie in the row behind
    wrong = F.logical_or(F.lt(places, 0), F.ge(places, sizes))
    places = F.where(wrong, np.asarray(max(x.shape) + 1, INT), places)
    if rank(indices) == 2:
        return put_rows(x, places, values, indices.count, reduction)
    # what lies behind the count is put into a row behind the others, which is dropped
    places = F.where(present(indices, indices.axis, rank(indices)), places, np.array([n, *[0] * (depth - 1)], INT))
    wide = F.cat([x, np.zeros((1, *x.shape[1:]), x.dtype)], 0)
    return F.getitem(F.scatter_nd(wide, places, values, reduction), (slice(0, n),))


def part(x: Counted, start, end):
    """Entries start to end of the axis, numbers or of a run, counted from its end where negative."""

    def place(v):
        if not traced(v) and v >= x.bound:
            return x.count   # a length that is known to be the same
        if not traced(v):
            return shared(("place", x.count, v), lambda: known_place(v))
        number = origin(v)
        if number is not None and same_number(number, x.count):
            return x.count
        v = as_type(v, INT)
        v = F.where(F.lt(v, 0), F.add(v, x.count), v)
        return F.maximum(F.minimum(v, x.count), np.asarray(0, INT))

    def known_place(v):
        if v >= 0:
            return F.minimum(x.count, np.asarray(min(v, LARGEST), INT))
        return F.maximum(F.add(x.count, np.asarray(max(v, -LARGEST), INT)), np.asarray(0, INT))

    first = None if not traced(start) and start == 0 else place(start)
    last = place(end)
    known = not traced(start) and not traced(end) and min(start, end) >= 0
    room = max(0, min(x.bound, end) - start) if known else x.bound
    if first is None and traced(x.values):
        whole = (slice(None),) * x.axis
        values = F.getitem(x.values, (*whole, slice(0, room)))
        return Counted(values, x.axis, last)
    if x.bound == 0:
        return x
    length = last if first is None else shared(
        ("between", first, last), lambda: F.maximum(F.sub(last, first), np.asarray(0, INT)))
    place = np.arange(room) if first is None else F.add(first, np.arange(room))
    index = F.minimum(place, np.asarray(x.bound - 1, INT))
    return Counted(TAKE(x.values, index, dim=x.axis, wrap=False), x.axis, length)


@takes("Slice")
def slice_of(call):
    x = call[0]
    if call.version < 10:
        raise Unsupported("of operator sets before 10")
    starts, ends, axes, steps = call[1], call[2], call.numbers(3, "axes"), call.numbers(4, "steps")
    if isinstance(starts, Counted) or isinstance(ends, Counted):
        raise Unsupported("how many axes it cuts depends on data")
    axes = axes_of(range(starts.shape[0]) if axes is None else axes, rank(x))
    steps = steps or [1] * len(axes)
    here = x.axis if isinstance(x, Counted) else None
    fixed = [i for i, a in enumerate(axes) if a != here and not traced(starts, ends)]
    values = x.values if isinstance(x, Counted) else x
    if fixed:
        given = [np.array([np.asarray(v)[i] for i in fixed], INT) for v in (starts, ends)]
        values = OPS["Slice"](replace(call, inputs=[
            values, *given, np.array([axes[i] for i in fixed], INT), np.array([steps[i] for i in fixed], INT)]))
    found = replaced(x, values) if isinstance(x, Counted) else values
    for i, a in enumerate(axes):
        if i in fixed:
            continue
        if steps[i] != 1:
            raise Unsupported(f"a step of {steps[i]} along an axis whose length depends on data")
        if isinstance(found, Counted) and found.axis != a:
            raise Unsupported("makes two lengths that depend on data")
        if not isinstance(found, Counted):
            found = Counted(found, a, whole_count(found.shape[a]))
        found = part(found, entry(starts, i), entry(ends, i))
    return found


def whole_count(n: int):
    """A length that is known, as those of a run are."""
    return np.asarray(n, INT)


def entry(values, i: int):
    if not traced(values):
        return int(np.asarray(values).reshape(-1)[i])
    return F.reshape(F.getitem(values, (slice(i, i + 1),)), ())


@takes("Concat")
def concat(call):
    axis = axis_of(call.attr("axis", 1), rank(call[0]))
    across = [v for v in call.inputs if isinstance(v, Counted) and v.axis != axis]
    if across:
        if len(across) < len(call.inputs):
            raise Unsupported(f"an axis of known length meets axis {across[0].axis}, whose length depends on data")
        like = same_length(across)
        return cut(F.cat([v.values for v in across], axis), like, like.axis)
    values = [v.values if isinstance(v, Counted) else v for v in call.inputs]
    around = {(*v.shape[:axis], *v.shape[axis + 1 :]) for v in values}
    if len(around) > 1:
        raise ValueError(f"{len(values)} operands differ outside of axis {axis}")
    whole = F.cat([v for v in values if v.shape[axis]] or values[:1], axis)
    # where each entry of the result comes from: the parts lie behind each other with room between them
    place, end, begin = np.arange(whole.shape[axis]), np.asarray(0, INT), 0
    index = place
    for v in call.inputs:
        n = v.shape[axis]
        length = v.count if isinstance(v, Counted) else np.asarray(n, INT)
        after = length if begin == 0 else shared(("sum", end, length), partial(F.add, end, length))
        index = F.where(F.ge(place, end), F.add(F.sub(place, end), begin), index)
        begin, end = begin + n, after
    index = F.minimum(index, np.asarray(max(whole.shape[axis] - 1, 0), INT))
    if not whole.shape[axis]:
        return whole
    return Counted(TAKE(whole, index, dim=axis, wrap=False), axis, end)


@takes("RoiAlign")
def roi_align(call):
    if isinstance(call[0], Counted):
        raise Unsupported("takes no maps whose number depends on data")
    like = same_length(call.inputs[1:])
    if like.axis:
        raise Unsupported("takes lengths that depend on data as the number of regions alone")
    # regions behind the count are of the first map and lie beside it, where nothing is sampled
    regions = [filled(v, fill) if isinstance(v, Counted) else v for v, fill in zip(call.inputs[1:], (BESIDE, 0))]
    return cut(plain(call, [call[0], *regions]), like, 0)
