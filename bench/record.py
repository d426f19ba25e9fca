"""The calls that a piece of work makes, as a graph, so that a peer can be given the same work.

Calls of pyops.functional are recorded by the names and arguments that torch.nn.functional gives
them, whether they came by a function, an operator or a method; rows (registry.Op) for their
arithmetic and traffic.
"""
from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyops.functional as F
from pyops.core import scope
from pyops.core.backends import get_backend, use_backend
from pyops.core.tensor import Tensor


class Unsupported(Exception):
    """Something has no counterpart at a peer; the message says what."""


@dataclass
class Call:
    name: str       # in pyops.functional
    args: tuple
    kwargs: dict
    result: Any


@dataclass(frozen=True)
class Value:
    """An array of the graph: the input, a constant, or a step's result."""
    name: str
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)


@dataclass
class Step:
    """One call, with Values where it had arrays."""
    name: str
    args: tuple
    kwargs: dict
    result: Value | tuple[Value, ...]

    @property
    def arguments(self) -> dict:
        """By name, defaults included."""
        bound = inspect.signature(getattr(F, self.name)).bind(*self.args, **self.kwargs)
        bound.apply_defaults()
        return bound.arguments

    @property
    def results(self) -> tuple[Value, ...]:
        return self.result if isinstance(self.result, tuple) else (self.result,)


@dataclass
class Graph:
    """Steps from one input to one output. `constants` are arrays that no step made, by
    name: the weights."""
    input: Value
    steps: list[Step]
    constants: dict[str, np.ndarray]
    output: Value

    def folded(self) -> Graph:
        """The same without the steps that do not depend on the input: their results are
        constants."""
        constants, steps = dict(self.constants), []
        for step in self.steps:
            needed = values_of((step.args, step.kwargs))
            if needed and all(v.name in constants for v in needed):
                fixed = convert((step.args, step.kwargs), lambda v, known=constants: known[v.name], Value)
                made = getattr(F, step.name)(*fixed[0], **fixed[1])
                constants |= zip((v.name for v in step.results), made if isinstance(made, tuple) else (made,))
            else:
                steps.append(step)
        used = {v.name for s in steps for v in values_of((s.args, s.kwargs))}
        return Graph(self.input, steps, {k: a for k, a in constants.items() if k in used}, self.output)

    def consumers(self) -> dict[str, int]:
        """How many times each value is read, the graph's output once more."""
        counts: dict[str, int] = {self.output.name: 1}
        for step in self.steps:
            for value in values_of((step.args, step.kwargs)):
                counts[value.name] = counts.get(value.name, 0) + 1
        return counts


def convert(value, change: Callable, kind=np.ndarray):
    """`value` with change(v) for every v of `kind`, through tuples, lists and dicts."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        return {k: convert(v, change, kind) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(convert(v, change, kind) for v in value)
    return value


def values_of(value) -> list[Value]:
    found: list[Value] = []
    convert(value, found.append, Value)
    return found


def plain(value):
    """Tensors as arrays, through tuples, lists and dicts."""
    return convert(value, lambda t: t.data, Tensor)


@contextmanager
def calls() -> Iterator[list[Call]]:
    """The calls of pyops.functional made within the block (not those that one of them
    makes of another)."""
    seen = []

    def watch(function, args, kwargs):
        token = scope.calls.set(None)
        try:
            result = function(*args, **kwargs)
        finally:
            scope.calls.reset(token)
        seen.append(Call(function.__name__, plain(args), plain(kwargs), plain(result)))
        return result
    token = scope.calls.set(watch)
    scope.watchers.append(watch)
    try:
        yield seen
    finally:
        scope.watchers.remove(watch)
        scope.calls.reset(token)


def graph(recorded: list[Call], x: np.ndarray) -> Graph:
    """Recorded calls as a graph. An array is known by its memory and its form: calls that make
    views are recorded like all others."""
    source = Value("x", x.shape)
    values, constants, steps = {place(x): source}, {}, []

    def value(array):
        if place(array) not in values:
            values[place(array)] = Value(f"c{len(constants)}", array.shape)
            constants[values[place(array)].name] = array
        return values[place(array)]

    for call in recorded:
        args, kwargs = convert(call.args, value), convert(call.kwargs, value)
        several = isinstance(call.result, (tuple, list))
        made = []
        for i, array in enumerate(call.result if several else (call.result,)):
            made.append(Value(f"v{len(steps)}" + (f"_{i}" if several else ""), array.shape))
            values[place(array)] = made[-1]
        steps.append(Step(call.name, args, kwargs, tuple(made) if several else made[0]))
    return Graph(source, steps, constants, steps[-1].results[0])


def place(array: np.ndarray) -> tuple:
    return array.__array_interface__["data"][0], array.shape, array.strides


class Counting:
    """The active backend, with the arithmetic and the traffic of every row that runs added up."""

    def __init__(self):
        self.backend = get_backend()
        self.name, self.sets = self.backend.name, self.backend.sets
        self.flops = self.bytes = 0
        self.rows: list[str] = []
        self.unknown: list[str] = []   # rows that do not say what they cost

    def run(self, op, real, inputs, attrs, out=None):
        self.rows.append(op.name)
        if op.flops and op.bytes:
            self.flops += op.flops(*inputs, **attrs)
            self.bytes += op.bytes(*inputs, **attrs)
        elif op.kernels:   # a row without kernels makes a view
            self.unknown.append(op.name)
        return self.backend.run(op, real, inputs, attrs, out)


def count(run) -> Counting:
    counting = Counting()
    with use_backend(counting):
        run()
    return counting
