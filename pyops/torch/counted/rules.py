"""What the rules of ATen calls on values of a length that a run decides are made of, and where they are.

A call without a rule of its own takes such values if every row that it calls works value by value.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch.utils import _pytree as pytree

from ... import functional as F
from ...graph import trace
from ...graph.counted import Counted, begin, mark, same_number, shared
from ...graph.trace import Traced
from ...ops.gather import TAKE
from ...ops.places import NONZERO
from ..aten import TABLE
from .lengths import Compared, Length

RULES: dict[str, Callable] = {}


def takes(*overloads: str):
    """Enters a function as the rule of these calls."""
    def enter(function):
        RULES.update(dict.fromkeys(overloads, function))
        return function

    return enter


class Refused(NotImplementedError):
    """A length that a run decides, where there is no rule for it."""


def of_the_run(*values) -> bool:
    """Whether a run decides a length, or a number, among these."""
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
    first, most = same_length(given), max(len(v.shape) for v in given)
    axis = most - first.ndim + first.axis
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
    return pytree.tree_map_only(Traced, lambda v: Counted(v, axis - most + len(v.shape), first.count), result)


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
    """The greatest value of a type, or with sign -1 the least."""
    if dtype.kind == "f":
        return sign * math.inf
    return sign > 0 if dtype.kind == "b" else np.iinfo(dtype).max if sign > 0 else np.iinfo(dtype).min


def rank(x) -> int:
    return len(x.shape)


def taken(x, indices, axis: int):
    """Entries of an axis. Indices are counted from its front; a kernel refuses those beyond its end."""
    if not x.shape[axis]:
        raise Refused("entries of an empty axis")
    return TAKE(x, indices, dim=axis, wrap=False)


def found(mask):
    """(places, count) of what is not 0."""
    if isinstance(mask, Counted):
        return shared(("nonzero", mask.values, mask.count), lambda: NONZERO(filled(mask, 0)))
    return shared(("nonzero", mask), lambda: NONZERO(mask)) if isinstance(mask, Traced) else NONZERO(mask)
