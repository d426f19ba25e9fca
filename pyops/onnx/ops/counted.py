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
from ...graph.counted import Counted, begin, mark, same_number
from ..limits import short
from .lengths import SHORT, entries, origin
from .row import KEEPS, OPS, Unsupported, axes_of, axis_of, rank, traced

RULES: dict[str, Callable] = {}
INT = np.dtype(np.int64)


# Operators whose rules compute nothing by the way that has as many entries for another reason
MOVES = ("Flatten", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")


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
        since = begin()
        results = rule(call)
        for result in results if isinstance(results, tuple) else (results,):
            if isinstance(result, Counted) and traced(result.values):
                axes = range(result.ndim, result.ndim + 1) if rule is value_by_value else range(0)
                mark(result, since, range(99) if call.node.op in MOVES else axes)
        return results
    except Unsupported:
        for value in call.inputs:  # of few numbers a Program can be made that knows them
            number = value.count if isinstance(value, Counted) else value
            if traced(number) and np.dtype(number.dtype).kind in "iub" and number.size <= SHORT:
                number.asked()
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
        if isinstance(v, Counted) and (not same_number(v.count, first.count) or v.bound != first.bound):
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
    x, n = call[0], rank(call[0])
    first = axis_of(call.attr("axis", -1 if call.version >= 13 else 1), n)
    if first == x.axis and (call.version >= 13 or first == n - 1) and call.node.op != "Hardmax":
        return cut(plain(call, [filled(x, -math.inf)]), x, x.axis)
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


@takes("Split")
def split(call):
    return along(call, call.attr("axis", 0))


@takes("Tile")
def tile(call):
    repeats = call.numbers(1, "repeats")
    return along(call, *(i for i, n in enumerate(repeats) if n != 1))


@takes("Pad")
def pad(call):
    n = rank(call[0])
    pads = call.numbers(1, "pads")
    axes = axes_of(range(n) if call[3] is None else call.numbers(3, "the axes"), n)
    return along(call, *(a for i, a in enumerate(axes) if pads[i] or pads[i + len(axes)]))


@takes("MatMul", "Gemm")
def product(call):
    """Rows of the first operand, or of both their batches."""
    a, b = call[0], call[1]
    if call.attr("transA", 0):
        raise Unsupported("sums over an axis whose length depends on data")
    if rank(a) > 1 and isinstance(a, Counted) and not counted(*call.inputs[1:]) and (
        a.axis == rank(a) - 2 and rank(b) <= 2 or a.axis < rank(a) - 2 and rank(b) <= rank(a) - a.axis - 1
    ):
        return cut(plain(call), a, a.axis)
    if isinstance(b, Counted) and not isinstance(a, Counted) and call.node.op == "MatMul" and rank(b) >= 2 and (
        b.axis == rank(b) - 1
    ):
        return cut(plain(call), b, max(rank(a), rank(b)) - 1)
    if counted(a, b) and isinstance(a, Counted) and isinstance(b, Counted) and call.node.op == "MatMul" and (
        a.axis == rank(a) - 1 and b.axis == max(rank(b) - 2, 0) and same_length([a, b])
    ):
        return plain(call, [filled(a, 0), filled(b, 0)])
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
        if -1 in lengths and lengths.count(None) == 1 and counts(x, to, lengths.index(None)):
            rest = math.prod(n for n in lengths if n not in (None, -1))
            lengths[lengths.index(-1)] = math.prod(n for i, n in enumerate(x.shape) if i != x.axis) // max(1, rest)
    else:
        lengths = [None if n == -1 else n for n in call.numbers(1, "shape")]
    if not call.attr("allowzero", 0):
        lengths = [x.shape[i] if n == 0 and i != x.axis else None if n == 0 else n
                   for i, n in enumerate(lengths)]
    return reshaped(x, lengths)


def counts(x: Counted, to, i: int) -> bool:
    """Whether entry i of a traced list of lengths is the value's own count."""
    number = origin(F.getitem(to, (slice(i, i + 1),)))
    return number is not None and same_number(number, x.count)


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
