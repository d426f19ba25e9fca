"""Sequences, which are lists, and optional values. Lengths are known while a Program is made, so that
none of these costs anything in one.
"""

from __future__ import annotations

import numpy as np

from ... import functional as F
from ..limits import PER_NODE, short
from ..values import EMPTY, is_plain, kind
from .row import axis_of, op, rank, traced
from .select import sliced


def sequence(call, i: int) -> list:
    value = call[i]
    if not isinstance(value, list):
        raise ValueError(f"input {i} must be a sequence, got {kind(value)}")
    return value


def alike(parts: list) -> list:
    """A sequence; ValueError where its elements differ in type."""
    types = {np.dtype(p.dtype).name for p in parts if is_plain(p)}
    if len(types) > 1 or len({is_plain(p) for p in parts}) > 1:
        raise ValueError(f"elements of a sequence are of types {', '.join(sorted(types))}")
    return parts


def place(call, i: int, length: int, end: int) -> int:
    """Input i as a position in a sequence, from behind where it is negative; `end` where it is left
    out. Positions up to `end` are valid."""
    if call[i] is None:
        return end
    at = call.number(i, "the position")
    if not -length <= at <= end:
        raise ValueError(f"position {at} is outside of [{-length}, {end}], of a sequence of {length}")
    return at + length if at < 0 else at


@op("SequenceEmpty", keeps=True)
def empty(call):
    return []


@op("SequenceConstruct", keeps=True)
def construct(call):
    return alike(list(call.inputs))


@op("SequenceLength", keeps=True)
def length(call):
    return np.array(len(sequence(call, 0)), np.int64)


@op("SequenceAt", keeps=True)
def element(call):
    parts = sequence(call, 0)
    if not parts:
        raise ValueError("the sequence is empty")
    return parts[place(call, 1, len(parts), len(parts) - 1)]


@op("SequenceInsert", keeps=True)
def insert(call):
    parts = sequence(call, 0)
    at = place(call, 2, len(parts), len(parts))
    return alike([*parts[:at], call[1], *parts[at:]])


@op("SequenceErase", keeps=True)
def erase(call):
    parts = sequence(call, 0)
    if not parts:
        raise ValueError("the sequence is empty")
    at = place(call, 1, len(parts), len(parts) - 1)
    return [*parts[:at], *parts[at + 1 :]]


@op("SplitToSequence", keeps=True)
def split(call):
    """Parts of given lengths along an axis; of one length each, the last may be shorter; or of one
    entry each, without the axis unless it is kept."""
    x, axis = call[0], axis_of(call.attr("axis", 0), rank(call[0]))
    size = x.shape[axis]
    if call[1] is None:
        sizes = [1] * size
    elif not rank(call[1]):
        each = call.number(1, "split")
        if each < 1:
            raise ValueError(f"split must be positive, got {each}")
        sizes = [min(each, size - at) for at in range(0, size, each)]
    else:
        sizes = call.numbers(1, "split")
    if sum(sizes) != size or min(sizes, default=0) < 0:
        raise ValueError(f"{len(sizes)} parts {short(sizes)} of an axis of {size}")
    call.work(PER_NODE // 64 * len(sizes))
    ends = np.cumsum([0, *sizes]).tolist()
    parts = [sliced(x, {axis: slice(a, b)}) for a, b in zip(ends, ends[1:])]
    if call[1] is None and not call.attr("keepdims", 1):
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        parts = [F.reshape(p, shape) if traced(p) else np.reshape(p, shape) for p in parts]
    return parts


@op("ConcatFromSequence", keeps=True)
def concat(call):
    parts, fresh = sequence(call, 0), bool(call.attr("new_axis", 0))
    if not parts:
        raise ValueError("the sequence is empty")
    n = rank(parts[0])
    axis = axis_of(call.attr("axis"), n + fresh)
    shapes = {tuple(p.shape) if fresh else (*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts}
    if len(shapes) > 1 or any(rank(p) != n for p in parts):
        raise ValueError(f"elements of shapes {short(p.shape for p in parts)} do not fit along axis {axis}")
    first = parts[0].shape
    call.room(
        (*first[:axis], len(parts), *first[axis:])
        if fresh
        else (*first[:axis], sum(p.shape[axis] for p in parts), *first[axis + 1 :]),
        parts[0].dtype,
    )
    if traced(*parts):
        return F.stack(parts, axis) if fresh else F.cat(parts, axis)
    return (np.stack if fresh else np.concatenate)(parts, axis)


@op("SequenceMap", keeps=True)
def over(call):
    """The body for each element of a sequence, with the elements of others in its place; what is no
    sequence is given to all."""
    body, first = call.attr("body"), sequence(call, 0)
    lengths = {len(v) for v in call.inputs if isinstance(v, list)}
    if len(lengths) > 1 or len(body.inputs) != len(call.inputs):
        raise ValueError(
            f"sequences of lengths {sorted(lengths)} for a body of {len(body.inputs)} inputs"
        )
    found: list[list] = [[] for _ in body.outputs]
    for i in range(len(first)):
        call.work(PER_NODE)
        results = call.evaluate(body, [v[i] if isinstance(v, list) else v for v in call.inputs])
        for parts, value in zip(found, results):
            parts.append(value)
    return tuple(found)


@op("Optional", keeps=True)
def optional(call):
    return EMPTY if call[0] is None else call[0]


@op("OptionalHasElement", keeps=True)
def has_element(call):
    return np.array(call[0] is not None and call[0] is not EMPTY)


@op("OptionalGetElement", keeps=True)
def get_element(call):
    if call[0] is None or call[0] is EMPTY:
        raise ValueError("the optional value is empty")
    return call[0]
