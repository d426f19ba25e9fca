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


def moved(value: Value, of):
    """of(part) of all that a moving row takes, moved by it; None of another row."""
    node = value.node
    if node.op == "cast" and value.dtype.kind in "iu" and node.inputs[0].dtype.kind in "iu":
        return of(node.inputs[0])
    if node.op == "take" and isinstance(node.inputs[1], np.ndarray):
        return node.row.reference(of(node.inputs[0]), node.inputs[1], **node.attrs)
    if node.op in MOVES:
        return node.row.reference(*map(of, node.inputs), **node.attrs)
    return None


def entries(value) -> list:
    """The numbers of a traced list of lengths, None for those that a run says."""

    def numbers(v):
        if isinstance(v, np.ndarray):
            return v.astype(np.float64)
        found = moved(v, numbers) if v.node is not None and v.size <= SHORT else None
        return np.full(v.shape, np.nan) if found is None else found

    return [None if math.isnan(n) else int(n) for n in numbers(value.value).reshape(-1).tolist()]


def origin(value):
    """The count that a traced number is, moved from place to place; None of others."""
    counts = []

    def places(v):
        if isinstance(v, np.ndarray):
            return np.zeros(v.shape)
        if most_of(v) is not None:
            counts.append(v)
            return np.full(v.shape, float(len(counts)))
        found = moved(v, places) if v.node is not None and v.size <= SHORT else None
        return np.zeros(v.shape) if found is None else found

    (place,) = places(value.value).reshape(-1).tolist()
    return Traced(counts[int(place) - 1]) if place else None


def upper(value) -> list:
    """How large the numbers of a traced list of lengths can be, infinity where nobody knows."""

    def most(v):
        if isinstance(v, np.ndarray):
            return v.astype(np.float64)
        known = most_of(v)
        if known is not None:
            return np.full(v.shape, known, np.float64)
        nobody = np.full(v.shape, np.inf)
        if v.node is None or v.size > SHORT or v.dtype.kind not in "iu":
            return nobody
        found = moved(v, most)
        if found is not None:
            return found
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

    return np.asarray(most(value.value)).reshape(-1).tolist()
