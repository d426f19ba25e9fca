"""What is known of lengths that a model computes with: of a short list of whole numbers, traced, the
numbers that are constants, and how large the others can be.
"""

from __future__ import annotations

import math

import numpy as np

from ...graph.counted import most_of
from ...graph.ir import Value
from ...graph.trace import Traced

SHORT = 64  # of a list of lengths
# Rows that move values and compute none: what is known of the lengths that they carry stays known.
MOVES = {"cat", "getitem", "reshape", "permute", "broadcast_to"}


def carried(value: Value, of):
    """of(part) of all that a moving row takes, moved by it, or chosen where it is known which; None of
    another row."""
    node = value.node
    if node is None or value.size > SHORT:
        return None
    if node.op == "cast" and value.dtype.kind in "iu" and node.inputs[0].dtype.kind in "iu":
        return of(node.inputs[0])
    if node.op == "take" and isinstance(node.inputs[1], np.ndarray):
        return node.row.reference(of(node.inputs[0]), node.inputs[1], **node.attrs)
    if node.op in MOVES:
        return node.row.reference(*map(of, node.inputs), **node.attrs)
    if node.op == "whole_add" and node.attrs.get("alpha", 1) == 1:
        for part, other in (node.inputs, node.inputs[::-1]):
            if isinstance(other, np.ndarray) and not other.any() and part.shape == value.shape:
                return of(part)
    if node.op == "select":
        condition = numbers(node.inputs[0])
        if not np.isnan(condition).any():
            return np.where(condition != 0, *map(of, node.inputs[1:]))
    return None


def numbers(v):
    """The numbers of a list that are known, and NaN."""
    if isinstance(v, np.ndarray):
        return v.astype(np.float64)
    found = carried(v, numbers)
    if found is None and v.node is not None and v.size <= SHORT and v.node.op in COMPARED:
        found = COMPARED[v.node.op](*((least(a), most(a)) for a in v.node.inputs))
    return np.full(v.shape, np.nan) if found is None else found


def decided(yes, no):
    """1 where a comparison is true of all that its sides may be, 0 where it is of nothing, else NaN."""
    return np.where(yes, 1.0, np.where(no, 0.0, np.nan))


def is_less(a, b):
    return decided(a[1] < b[0], a[0] >= b[1])


def is_equal(a, b):
    known = (a[0] == a[1]) & (b[0] == b[1]) & (a[0] == b[0])
    return decided(known, (a[1] < b[0]) | (a[0] > b[1]))


# of two sides, each (the least, the most) that its numbers may be
COMPARED = {"less": is_less, "equal": is_equal, "less_equal": lambda a, b: 1 - is_less(b, a),
            "not_equal": lambda a, b: 1 - is_equal(a, b)}


def entries(value) -> list:
    """The numbers of a traced list of lengths, None for those that a run says."""
    return [None if math.isnan(n) else int(n) for n in numbers(value.value).reshape(-1).tolist()]


def settled(value):
    """A short list of whole numbers of which none is a run's as an array, anything else as it is."""
    if not isinstance(value, Traced) or value.dtype != np.int64 or value.size > SHORT:
        return value
    node = value.value.node
    if node is None or node.op not in (*MOVES, "take", "cast", "select"):
        return value
    known = numbers(value.value)
    exact = (np.abs(known) < 2**53).all()   # false with NaN
    return known.astype(np.int64).reshape(value.shape) if exact else value


def origin(value):
    """The count that a traced number is, moved from place to place; None of others."""
    counts = []

    def places(v):
        if isinstance(v, np.ndarray):
            return np.zeros(v.shape)
        if most_of(v) is not None:
            counts.append(v)
            return np.full(v.shape, float(len(counts)))
        found = carried(v, places)
        return np.zeros(v.shape) if found is None else found

    (place,) = places(value.value).reshape(-1).tolist()
    return Traced(counts[int(place) - 1]) if place else None


def upper(value) -> list:
    """How large the numbers of a traced list of lengths can be, infinity where nobody knows."""
    return np.asarray(most(value.value)).reshape(-1).tolist()


def least(v):
    """How small numbers can be: a count is not negative."""
    if isinstance(v, np.ndarray):
        return v.astype(np.float64)
    if most_of(v) is not None:
        return np.zeros(v.shape)
    found = carried(v, least)
    return np.full(v.shape, -np.inf) if found is None else found


def most(v):
    if isinstance(v, np.ndarray):
        return v.astype(np.float64)
    known = most_of(v)
    if known is not None:
        return np.full(v.shape, known, np.float64)
    found = carried(v, most)
    if found is not None:
        return found
    nobody = np.full(v.shape, np.inf)
    if v.node is None or v.size > SHORT or v.dtype.kind not in "iu":
        return nobody
    op, inputs = v.node.op, v.node.inputs
    if op == "whole_minimum":
        return np.minimum(*map(most, inputs))
    if op == "whole_maximum":
        return np.maximum(*map(most, inputs))
    if op == "whole_add" and v.node.attrs.get("alpha", 1) == 1:
        return np.add(*map(most, inputs))
    if op == "whole_mul":
        for a, b in (inputs, inputs[::-1]):
            if isinstance(b, np.ndarray) and (b >= 0).all():
                with np.errstate(invalid="ignore"):
                    return np.where(b == 0, 0, most(a) * b)
    return nobody
