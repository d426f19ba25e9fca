"""Operators of values whose length along one axis depends on data (graph/counted.py).

An operator that keeps the entries of that axis apart runs on the whole room, whatever lies behind the
count; what mixes them is told where they end. What has no rule here is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ... import functional as F
from ...graph.counted import Counted
from ...ops.gather import TAKE
from ...ops.places import NONZERO
from ...ops.typed import as_type
from ..limits import short
from .row import KEEPS, OPS, Unsupported, axes_of, axis_of, rank, traced

RULES: dict[str, Callable] = {}
INT = np.dtype(np.int64)


def takes(*names):
    def enter(function):
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def counted(*values) -> bool:
    return any(isinstance(v, Counted) for v in values)


def called(call):
    """The operator's results. Unsupported where it does not take such a length, or not there."""
    rule = RULES.get(call.node.op)
    try:
        if rule is None:
            raise Unsupported("takes no value whose length depends on data")
        if call.node.op not in KEEPS and any(
            v is not None and np.dtype(v.dtype).name in ("float16", "bfloat16") for v in call.inputs
        ):
            raise Unsupported("takes no half precision of a length that depends on data")
        return rule(call)
    except Unsupported:
        for value in call.inputs:
            if isinstance(value, Counted):
                value.count.asked()  # of few numbers a Program can be made that knows them
        raise


def plain(call, inputs=None):
    """The operator's own row, on the whole room."""
    given = [v.values if isinstance(v, Counted) else v for v in (call.inputs if inputs is None else inputs)]
    return OPS[call.node.op](replace(call, inputs=given))


def cut(results, like: Counted, axis: int):
    """Results as long as another value along an axis."""
    several = results if isinstance(results, (tuple, list)) else (results,)
    found = tuple(Counted(r, axis, like.count) if traced(r) else r for r in several)
    return found if isinstance(results, (tuple, list)) else found[0]


def present(value: Counted, axis: int = 0, axes: int = 1):
    """Which entries of the axis are there, for a value of so many axes."""
    shape = [1] * axes
    shape[axis] = value.bound
    return F.reshape(F.lt(np.arange(value.bound), value.count), tuple(shape))


def filled(value: Counted, number):
    """The values, with a number behind the count."""
    return F.where(present(value, value.axis, value.ndim), value.values, np.asarray(number, value.dtype))


def same_length(values) -> Counted:
    """The first of several values, all of which end at one count."""
    first = next(v for v in values if isinstance(v, Counted))
    for v in values:
        if isinstance(v, Counted) and (v.count.value is not first.count.value or v.bound != first.bound):
            raise Unsupported("takes values of several lengths that depend on data")
    return first


# ---- what keeps entries apart

@takes(
    *"Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast "
    "Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish "
    "Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow "
    "Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh "
    "ThresholdedRelu Where Xor".split()
)
def value_by_value(call):
    """Operands broadcast: what has no such length has one entry or none along its axis."""
    given = [v for v in call.inputs if v is not None]
    like, most = same_length(given), max(map(rank, given))
    axes = {most - rank(v) + v.axis for v in given if isinstance(v, Counted)}
    if len(axes) > 1:
        raise Unsupported("takes values whose lengths depend on data along several axes")
    (axis,) = axes
    for v in given:
        at = axis - (most - rank(v))
        if not isinstance(v, Counted) and at >= 0 and v.shape[at] != 1:
            raise Unsupported(f"an axis of {v.shape[at]} meets one whose length depends on data")
    return cut(plain(call), like, axis)


def along(call, *axes: int):
    """The row's results, whose entries along the length's axis come from that entry alone unless it is
    among `axes`."""
    x = call[0]
    if counted(*call.inputs[1:]) or x.axis in (axis_of(a, rank(x)) for a in axes):
        raise Unsupported(f"mixes the entries of axis {x.axis}, whose number depends on data")
    return cut(plain(call), x, x.axis)


@takes("Softmax", "LogSoftmax", "Hardmax")
def softmax(call):
    n = rank(call[0])
    first = axis_of(call.attr("axis", -1 if call.version >= 13 else 1), n)
    return along(call, *(range(first, n) if call.version < 13 else (first,)))


@takes("LayerNormalization", "RMSNormalization")
def layer_norm(call):
    n = rank(call[0])
    return along(call, *range(axis_of(call.attr("axis", -1), n), n))


@takes("CumSum", "CumProd")
def running(call):
    axis = call.number(1, "the axis")
    return along(call, *((axis,) if call.attr("reverse", 0) else ()))


@takes("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "Resize",
       "ConvTranspose", "InstanceNormalization")
def of_samples(call):
    return along(call, *range(1, rank(call[0])))


@takes("MatMul", "Gemm")
def product(call):
    """Rows of the first operand, or of both their batches."""
    a, b = call[0], call[1]
    if call.attr("transA", 0) or rank(a) < 2:
        raise Unsupported("sums over an axis whose length depends on data")
    if isinstance(a, Counted) and not counted(*call.inputs[1:]) and (
        a.axis == rank(a) - 2 and rank(b) <= 2 or a.axis < rank(a) - 2 and rank(b) <= rank(a) - a.axis - 1
    ):
        return cut(plain(call), a, a.axis)
    if isinstance(b, Counted) and not isinstance(a, Counted) and call.node.op == "MatMul" and rank(b) >= 2 and (
        b.axis == rank(b) - 1
    ):
        return cut(plain(call), b, max(rank(a), rank(b)) - 1)
    raise Unsupported("sums over an axis whose length depends on data, or has it in a batch of the other's")


# ---- what moves axes

@takes("Transpose")
def transpose(call):
    x = call[0]
    perm = call.attr("perm") or list(range(rank(x)))[::-1]
    return cut(plain(call), x, perm.index(x.axis))


@takes("Unsqueeze")
def unsqueeze(call):
    x, axes = call[0], call.numbers(1, "axes")
    total = rank(x) + len(axes)
    new = set(axes_of(axes, total))
    return cut(plain(call), x, [i for i in range(total) if i not in new][x.axis])


@takes("Squeeze")
def squeeze(call):
    x, axes = call[0], call.numbers(1, "axes")
    axes = ([i for i, n in enumerate(x.shape) if n == 1 and i != x.axis] if axes is None
            else axes_of(axes, rank(x)))
    if x.axis in axes:
        raise Unsupported(f"takes away axis {x.axis}, whose length depends on data")
    to = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    return cut(F.reshape(x.values, to), x, x.axis - sum(a < x.axis for a in axes))


@takes("Flatten")
def flatten(call):
    x = call[0]
    axis = call.attr("axis", 1)
    axis = axis + rank(x) if axis < 0 else axis
    return reshaped(x, [math.prod(x.shape[:axis]) if x.axis >= axis else None,
                        math.prod(x.shape[axis:]) if x.axis < axis else None])


@takes("Reshape")
def reshape(call):
    x, to = call[0], call[1]
    if not isinstance(x, Counted):
        raise Unsupported("the shape's own length depends on data")
    if traced(to):
        lengths = entries(to)
    else:
        lengths = [None if n == -1 else n for n in call.numbers(1, "shape")]
    if not call.attr("allowzero", 0):
        lengths = [x.shape[i] if n == 0 and i != x.axis else None if n == 0 else n
                   for i, n in enumerate(lengths)]
    return reshaped(x, lengths)


def reshaped(x: Counted, lengths):
    """x under another shape, in which the one length that is None follows from the others."""
    if lengths.count(None) == 0 and x.bound:
        raise Unsupported(f"makes shape {short(lengths)} of a value whose length depends on data")
    if lengths.count(None) != 1:
        raise Unsupported("makes several lengths that depend on data")
    axis = lengths.index(None)
    before, behind = math.prod(lengths[:axis]), math.prod(lengths[axis + 1 :])
    ahead, inner = math.prod(x.shape[: x.axis]), math.prod(x.shape[x.axis + 1 :])
    if before != ahead or not behind or inner % behind:
        raise Unsupported(f"makes {short('any' if n is None else n for n in lengths)} of {short(x.shape)}, whose "
                          f"axis {x.axis} has a length that depends on data")
    times = inner // behind
    values = F.reshape(x.values, (*lengths[:axis], x.bound * times, *lengths[axis + 1 :]))
    return Counted(values, axis, x.count if times == 1 else F.mul(x.count, times))


# Rows that move values and compute none: what is known of the lengths that they carry stays known.
MOVES = {"cat", "getitem", "take", "reshape", "permute", "broadcast_to", "cast", "cat_whole"}


def entries(value):
    """The numbers of a traced list of lengths, None for those that a run says."""

    def of(v):
        """(numbers, which of them are known)"""
        if isinstance(v, np.ndarray):
            return v, np.ones(v.shape, bool)
        if v.node is None or v.size > 64 or v.node.op not in MOVES:
            return np.zeros(v.shape, INT), np.zeros(v.shape, bool)
        row, attrs = v.node.row, v.node.attrs
        if v.node.op == "cast":
            return of(v.node.inputs[0])
        if v.node.op == "take":
            x, index = v.node.inputs
            if not isinstance(index, np.ndarray):
                return np.zeros(v.shape, INT), np.zeros(v.shape, bool)
            return tuple(row.reference(part, index, **attrs) for part in of(x))
        parts = [of(i) for i in v.node.inputs]
        return tuple(row.reference(*(p[k] for p in parts), **attrs) for k in (0, 1))

    numbers, known = of(value.value)
    return [int(n) if k else None for n, k in zip(numbers.reshape(-1), known.reshape(-1).astype(bool))]


@takes("Shape")
def shape(call):
    x = call[0]
    parts = [F.reshape(x.count, (1,)) if i == x.axis else np.array([n], INT) for i, n in enumerate(x.shape)]
    parts = parts[call.attr("start", 0) : call.attr("end")]
    if not traced(*parts):
        return np.concatenate([*parts, np.zeros(0, INT)])
    return F.cat(parts, 0) if len(parts) > 1 else parts[0]


@takes("Size")
def size(call):
    return F.mul(call[0].count, call[0].size // max(call[0].bound, 1))


# ---- what takes and puts by index

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
    return cut(F.gather_nd(x, index_of(indices)[0]), indices, indices.axis)


@takes("GatherElements")
def gather_elements(call):
    x, indices = call[0], call[1]
    axis = axis_of(call.attr("axis", 0), rank(x))
    if isinstance(x, Counted) and x.axis == axis or not isinstance(indices, Counted) or 0 in x.shape:
        raise Unsupported("takes lengths that depend on data as those of its indices alone")
    return cut(plain(call, [x, index_of(indices)[0]]), indices, indices.axis)


@takes("ScatterND")
def scatter_nd(call):
    """What lies behind the count is put into a row behind the others, which is dropped."""
    x, indices, updates = call.inputs
    if isinstance(x, Counted) or not isinstance(indices, Counted) or indices.axis == rank(indices) - 1 or (
        isinstance(updates, Counted) and (updates.axis != indices.axis or same_length([indices, updates]) is None)
    ) or rank(indices) < 1 or indices.shape[-1] < 1 or 0 in x.shape:
        raise Unsupported("takes lengths that depend on data as those of its indices and updates alone")
    n, depth = x.shape[0], indices.shape[-1]
    first = np.array([n, *[0] * (depth - 1)], INT)
    sizes = np.array(x.shape[:depth], INT)
    counted_from_front = F.where(F.lt(indices.values, 0), F.add(indices.values, sizes), indices.values)
    # what is outside of its axis must not come to lie in the row behind
    wrong = F.logical_or(F.lt(counted_from_front, 0), F.ge(counted_from_front, sizes))
    inside = F.where(wrong, np.asarray(max(x.shape) + 1, INT), counted_from_front)
    places = F.where(present(indices, indices.axis, rank(indices)), inside, first)
    wide = F.cat([x, np.zeros((1, *x.shape[1:]), x.dtype)], 0)
    values = updates.values if isinstance(updates, Counted) else updates
    if tuple(values.shape) != (*indices.shape[:-1], *x.shape[depth:]):
        raise Unsupported(f"updates of shape {short(values.shape)} for indices {short(indices.shape)}")
    reduction = call.attr("reduction", "none")
    found = F.scatter_nd(wide, places, values, "" if reduction == "none" else reduction)
    return F.getitem(found, (slice(0, n),))


# ---- what begins, ends and joins

def part(x: Counted, start, end):
    """Entries start to end of the axis, numbers or of a run, counted from its end where negative."""

    def place(v):
        if not traced(v) and v >= 0:
            return F.minimum(x.count, np.asarray(min(v, LARGEST), INT))
        v = as_type(v, INT) if traced(v) else np.asarray(v, INT)
        v = F.where(F.lt(v, 0), F.add(v, x.count), v) if traced(v) else F.add(x.count, v)
        return F.maximum(F.minimum(v, x.count), np.asarray(0, INT))

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
    place = np.arange(room) if first is None else F.add(first, np.arange(room))
    index = F.minimum(place, np.asarray(x.bound - 1, INT))
    length = last if first is None else F.maximum(F.sub(last, first), np.asarray(0, INT))
    return Counted(TAKE(x.values, index, dim=x.axis, wrap=False), x.axis, length)


LARGEST = (1 << 62) - 1


@takes("Slice")
def slice_of(call):
    x = call[0]
    if call.version < 10:
        raise Unsupported("of operator sets before 10")
    starts, ends, axes, steps = call[1], call[2], call.numbers(3, "axes"), call.numbers(4, "steps")
    if counted(starts, ends):
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
        after = F.add(end, v.count if isinstance(v, Counted) else np.asarray(n, INT))
        index = F.where(F.ge(place, end), F.add(F.sub(place, end), begin), index)
        begin, end = begin + n, after
    index = F.minimum(index, np.asarray(max(whole.shape[axis] - 1, 0), INT))
    if not whole.shape[axis]:
        return whole
    return Counted(TAKE(whole, index, dim=axis, wrap=False), axis, end)


# ---- what is made of all entries

NEUTRAL = {"ReduceSum": 0, "ReduceL1": 0, "ReduceL2": 0, "ReduceSumSquare": 0, "ReduceProd": 1, "ReduceMean": 0,
           "ReduceLogSum": 0, "ReduceMax": -1, "ReduceMin": 1, "ReduceLogSumExp": -1}


def extreme(dtype, sign: int):
    """The greatest or the least that a type has."""
    if dtype.kind == "f":
        return sign * math.inf
    if dtype.kind == "b":
        return sign > 0
    return np.iinfo(dtype).max if sign > 0 else np.iinfo(dtype).min


@takes(*NEUTRAL)
def reduce(call):
    x, axes, keep = call[0], call.numbers(1, "axes"), bool(call.attr("keepdims", 1))
    if not axes and call.attr("noop_with_empty_axes", 0):
        return cut(plain(call), x, x.axis)
    axes = axes_of(axes or range(rank(x)), rank(x))
    if x.axis not in axes:
        return cut(plain(call), x, x.axis if keep else x.axis - sum(a < x.axis for a in axes))
    number = NEUTRAL[call.node.op]
    if call.node.op in ("ReduceMax", "ReduceMin", "ReduceLogSumExp"):
        number = extreme(x.dtype, number)
    found = plain(call, [filled(x, number), *call.inputs[1:]])
    if call.node.op != "ReduceMean":
        return found
    if x.dtype.kind != "f":
        raise Unsupported("the mean of whole numbers whose count depends on data")
    return F.mul(found, F.div(np.asarray(x.bound, x.dtype), as_type(x.count, x.dtype)))


@takes("ArgMax", "ArgMin")
def place_of_extreme(call):
    x = call[0]
    axis = axis_of(call.attr("axis", 0), rank(x))
    keep = call.attr("keepdims", 1)
    if x.axis != axis:
        return cut(plain(call), x, x.axis if keep else x.axis - (axis < x.axis))
    if call.attr("select_last_index", 0):
        raise Unsupported("the last of equal values, whose number depends on data")
    return plain(call, [filled(x, extreme(x.dtype, -1 if call.node.op == "ArgMax" else 1))])


@takes("TopK")
def top_k(call):
    x, k, largest = call[0], call[1], bool(call.attr("largest", 1))
    axis = axis_of(call.attr("axis", -1), rank(x))
    if isinstance(x, Counted) and x.axis != axis:
        return cut(plain(call), x, x.axis)
    own = isinstance(x, Counted)
    values = filled(x, extreme(x.dtype, -1 if largest else 1)) if own else x
    room = values.shape[axis]
    if traced(k):
        k = F.reshape(as_type(k, INT), ())
    else:
        k = np.asarray(call.numbers(1, "k")[0], INT)
        room = min(room, int(k))
    best, places = F.topk(values, room, axis, largest)
    total = x.count if own else np.asarray(x.shape[axis], INT)
    # more than there are is an error of the run
    index = F.where(F.gt(k, total), np.asarray(room, INT), np.arange(room))
    best, places = (TAKE(v, index, dim=axis, wrap=False) if room else v for v in (best, places))
    return (Counted(best, axis, k), Counted(places, axis, k)) if traced(k) else (best, places)


# ---- what begins such a length

@takes("NonZero")
def non_zero(call):
    x = call[0]
    shape = tuple(x.shape)
    places, count = NONZERO(filled(x, 0) if isinstance(x, Counted) else x)
    rows = [F.remainder(F.floor_divide(places, max(1, math.prod(shape[a + 1 :]))), max(1, n))
            for a, n in enumerate(shape)]
    return Counted(F.stack(rows, 0), 1, count)


@takes("Compress")
def compress(call):
    x, condition, axis = call[0], call[1], call.attr("axis")
    if isinstance(x, Counted) and (axis is None or x.axis != axis_of(axis, rank(x))):
        raise Unsupported("makes two lengths that depend on data")
    values = x.values if isinstance(x, Counted) else x
    if axis is None:
        values, axis = F.reshape(values, (-1,)), 0
    axis = axis_of(axis, rank(values))
    if rank(condition) != 1 or condition.shape[0] > values.shape[axis]:
        raise ValueError(f"a condition of shape {short(condition.shape)} for {short(values.shape)}, axis {axis}")
    places, count = NONZERO(filled(condition, False) if isinstance(condition, Counted) else condition)
    if not values.shape[axis]:
        return Counted(F.getitem(values, (slice(None),) * axis + (slice(0, 0),)), axis, count)
    return Counted(TAKE(values, places, dim=axis, wrap=False), axis, count)
