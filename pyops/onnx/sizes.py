"""Shapes that vary, as a model computes with them: arrays of objects that hold sizes with formulas
(core/symbolic.py) where operators would have int64.

A few operators compute with formulas; for all others a size is the number that it is, and the
Program is for that number alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.symbolic import SymInt, array_of, formula, symbolic
from ..graph.trace import Traced
from ..ops.result_shapes import broadcast


def as_sizes(values) -> np.ndarray:
    """Numbers as int64, or, where some have formulas, as objects."""
    if not symbolic(values):
        return np.array(values, np.int64)
    return as_objects(values)


def are_sizes(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object and any(
        isinstance(v, SymInt) for v in value.reshape(-1))


def plain(value: np.ndarray) -> np.ndarray:
    """The numbers of the example, for which a Program then is."""
    return np.array([int(v) for v in value.reshape(-1)], np.int64).reshape(value.shape)


def quotient(a: int, b: int) -> int:
    """a / b rounded towards zero, as whole numbers divide in ONNX."""
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def divided(a: Any, b: Any) -> Any:
    return formula(quotient, a, b)


def by_element(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda call: np.frompyfunc(function, 2, 1)(*map(objects, call.inputs))


def objects(value: Any) -> Any:
    return value if value.dtype == object else value.astype(object)


def product(call: Any) -> Any:
    if call.attr("keepdims", 1) and call[0].ndim == 1:
        return as_objects([math.prod(call[0].tolist())])
    return None


def as_objects(values: Sequence[Any]) -> np.ndarray:
    found = np.empty(len(values), object)
    for i, value in enumerate(values):   # at once, NumPy would ask each for its number
        found[i] = value
    return found


def cast(call: Any) -> Any:
    return call[0] if call.attr("to") in (6, 7) else None   # int32, int64


def concatenated(call: Any) -> Any:
    return np.concatenate(list(map(objects, call.inputs)), call.attr("axis", 1))


FORMULAS: dict[str, Callable[..., Any]] = {
    "Add": by_element(lambda a, b: a + b),
    "Sub": by_element(lambda a, b: a - b),
    "Mul": by_element(lambda a, b: a * b),
    "Div": by_element(divided),
    "Cast": cast,
    "Concat": concatenated,
    "ReduceProd": product,
}
def counted(call: Any) -> Any:
    """Range from known numbers by known steps."""
    start, limit, delta = (v.reshape(-1)[0] for v in call.inputs)
    if any(isinstance(v, SymInt) for v in (start, delta)):
        return None
    count = -((int(start) - limit) // int(delta))
    count = count if count >= 0 else 0
    return array_of(lambda n: (int(start) + np.arange(n) * int(delta)).astype(np.int64), (count,), np.int64, count)


def filled(call: Any) -> Any:
    """ConstantOfShape."""
    value = call.attr("value", np.zeros(1, np.float32))
    shape = tuple(call[0])
    return array_of(lambda *sizes: np.full(sizes, value.reshape(-1)[0], value.dtype), shape, value.dtype, *shape)


def cut(call: Any) -> Any:
    """Slice of a constant, forwards by steps of one."""
    x, starts, ends = call[0], call[1], call[2]
    axes = range(len(starts)) if call[3] is None else call[3]
    if x.dtype == object or call[4] is not None and any(int(s) != 1 for s in call[4]) or is_symbolic_list(axes):
        return None
    places, shape, operands = {}, list(x.shape), []
    for axis, start, end in zip(axes, starts, ends):
        axis, size = int(axis) % x.ndim, x.shape[int(axis) % x.ndim]
        first, last = (v + size if v < 0 else v for v in (start, end))
        first, last = (0 if v < 0 else size if v > size else v for v in (first, last))
        last = last if last > first else first
        places[axis], shape[axis] = len(operands), last - first
        operands += [first, last]

    def part(*numbers: int) -> np.ndarray:
        return x[tuple(slice(*numbers[places[a]:places[a] + 2]) if a in places else slice(None)
                       for a in range(x.ndim))]
    return array_of(part, shape, x.dtype, *operands)


def is_symbolic_list(values: Any) -> bool:
    return isinstance(values, np.ndarray) and are_sizes(values)


def repeated(call: Any) -> Any:
    """Expand of a constant."""
    x, to = call[0], tuple(call[1])
    if x.dtype == object:
        return None
    (shape,) = broadcast(x.shape, to)
    return array_of(lambda *sizes: np.ascontiguousarray(np.broadcast_to(x, sizes)), shape, x.dtype, *shape)


FORMULAS |= {"Range": counted, "ConstantOfShape": filled, "Slice": cut, "Expand": repeated}
# Rows that move whatever they are given, and rows whose operands but the first say sizes
MOVES = {"Gather", "Slice", "Squeeze", "Unsqueeze", "Identity", "Split", "Reshape"}
TAKES = {"Reshape", "Expand", "Slice", "Split", "Tile", "Pad", "Resize"}


def with_formulas(call: Any, row: Callable[..., Any]) -> Any:
    """The row's results for operands among which are sizes with formulas; None where these were made
    plain numbers, of which the row is to be called."""
    op, given = call.node.op, call.inputs
    where = [i for i, v in enumerate(given) if are_sizes(v)]
    found = None
    known = all(v is None or isinstance(v, np.ndarray) for v in given)
    if where == [0] and op in MOVES:
        return row(call)
    if known and op in FORMULAS:
        found = FORMULAS[op](call)
    elif 0 not in where and op in TAKES and isinstance(given[0], Traced):
        return row(call)
    if found is not None:
        return found
    for i in where:
        given[i] = plain(given[i])
    return None
