"""Lengths that depend on data: a value with room for the most entries that there may be along one axis,
and a number of the run that says how many there are.

Every kernel computes on the whole room, so a plan's places and sizes are fixed and checked as all others
are; entries behind the count are numbers without meaning, which no entry before it may depend on. What a
program returns is cut there. Which operators keep the entries of an axis apart, and what the others need
to know, stands with them (onnx/ops/counted.py).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from . import trace
from .ir import Node, Value
from .trace import Traced, TraceError, caller


class Counted:
    """values: a traced value; its first `count`, a traced int64 without axes, entries along `axis` are
    there in a run."""

    __slots__ = ("values", "axis", "count")
    __pyops_priority__ = 2   # over a Traced

    def __init__(self, values: Traced, axis: int, count: Traced) -> None:
        self.values, self.axis, self.count = values, axis, count
        tracer = trace._tracer.get()
        if tracer is not None and isinstance(count, Traced):
            tracer.lengths[count.value] = min(self.bound, tracer.lengths.get(count.value, self.bound))

    @property
    def bound(self) -> int:
        return int(self.values.shape[self.axis])

    @property
    def dtype(self) -> np.dtype[Any]:
        found: np.dtype[Any] = self.values.dtype
        return found

    @property
    def size(self) -> int:
        return math.prod(self.values.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """The most that it may be."""
        return tuple(self.values.shape)

    @property
    def ndim(self) -> int:
        return len(self.values.shape)

    def __repr__(self) -> str:
        return f"Counted({self.values!r}, axis {self.axis})"

    @staticmethod
    def __pyops_call__(op: Any, inputs: Any, attrs: Any) -> Any:
        (first, *_) = [v for v in inputs if isinstance(v, Counted)]
        raise TraceError(f"{op.name}: takes no value whose length depends on data, {first!r} at {caller()}")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TraceError(f"compile: {self!r} is turned into an array at {caller()}")


# Rows, beside those that work value by value, that keep the entries of the first axis apart: of samples,
# of regions.
APART = {"cast", "cat", "getitem", "permute", "reshape", "take", "take_blocks", "softmax", "log_softmax",
         "layer_norm", "rms_norm", "group_norm", "batch_norm", "linear", "conv", "conv_transpose", "max_pool",
         "avg_pool", "resample", "pad", "pixel_shuffle", "roi_align",
         "roi_pool", "ps_roi_align", "ps_roi_pool", "pyramid_roi_align"}


def begin() -> int:
    """For mark: how many calls there are."""
    tracer = trace._tracer.get()
    return 0 if tracer is None else len(tracer.nodes)


def mark(value: Counted, since: int, axes: range = range(0), of: Collection[Value] | None = None) -> None:
    """Has what was recorded since then computed for the entries alone that are there: the value itself, and
    all that has as many entries and a number of axes among `axes`. of: the entries that it is made of, whose
    axis is the first; what is computed from others, or behind another first axis, may have as many by chance."""
    tracer = trace._tracer.get()
    if tracer is None or value.axis or value.bound < 2 or not isinstance(value.count, Traced):
        return
    count = tracer.own(value.count.value)
    nodes = tracer.nodes[since:]
    known = nodes.index(count.node) + 1 if count.node in nodes else 0   # from there on
    counted = set(of or ())
    for node in nodes[known:]:
        if of is not None:
            if not counts(node, counted):
                continue
            counted.update(node.outputs)
        made = node.outputs[0]
        if (made is value.values.value or len(made.shape) in axes) and made.shape[:1] == (value.bound,) and (
                node.op in APART or node.row.pointwise):
            node.short = count


def counts(node: Node, counted: set[Value]) -> bool:
    """Whether entries of the node's first axis are those of one among `counted` that it reads."""
    moved = node.op == "permute" and node.attrs["dims"][0] != 0
    return not moved and any(isinstance(v, Value) and v in counted for v in node.inputs)


def most_of(value: Value) -> int | None:
    """The most that a number of the run can be, where it is the count of some value; None otherwise."""
    tracer = trace._tracer.get()
    return None if tracer is None else tracer.most(value)


def shared(key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What make() gives, once for each key and body: counts that are computed in one way from one value are
    one value, and so lengths that are known to be the same."""
    tracer = trace._tracer.get()
    if tracer is None:
        return make()
    key = tuple(tracer.own(part.value) if isinstance(part, Traced)
                else part.item() if isinstance(part, np.ndarray) else part for part in key)
    if key not in tracer.shared:
        tracer.shared[key] = make()
    return tracer.shared[key]


def same_number(a: Traced, b: Traced) -> bool:
    """Whether two numbers of the run are one, within a body as well."""
    tracer = trace._tracer.get()
    return a.value is b.value or tracer is not None and tracer.own(a.value) is tracer.own(b.value)
