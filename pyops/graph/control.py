"""Branches and loops of a traced model: nodes with graphs of their own, which a run chooses between or
repeats.

A function traced as a body may use traced values of the graph around it: they become its inputs. What
it returns are traced values or arrays; it has as many results of the same types and shapes every time.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.registry import OPS
from ..ops.shape import cat, reshape
from . import trace
from .counted import Counted
from .ir import Graph, Node, Value
from .trace import Traced, TraceError, Tracer, caller

ROUNDS = 1 << 20   # of a loop that says of no number when it ends: what takes more is a ValueError


class Body(NamedTuple):
    """A graph, with what its last inputs are outside: values of the outer graph, and constants."""
    graph: Graph
    captured: list[Any]


def body_of(function: Callable[..., Sequence[Any]], own: Sequence[tuple[tuple[int, ...], Any]] = ()) -> Body:
    """The graph of function(*values), whose first inputs are of these shapes and types."""
    outer = tracer_of()
    inner = Tracer(outer)
    outer.bodies += 1
    inner.prefix = f"{outer.prefix}body{outer.bodies}_"
    inputs = [Value(tuple(shape), np.dtype(dtype), None, f"{inner.prefix}input{i}")
              for i, (shape, dtype) in enumerate(own)]
    inner.owned.update(inputs)
    token = trace._tracer.set(inner)
    try:
        results = function(*map(Traced, inputs))
        constants: list[np.ndarray] = []
        given: list[Value] = []
        outputs = []
        for result in results:
            if isinstance(result, Traced):
                outputs.append(inner.own(result.value))
                continue
            if isinstance(result, Counted):
                raise TraceError(f"compile: a branch or loop at {caller()} gives a value whose length depends "
                                 "on data")
            array = np.ascontiguousarray(result).reshape(np.shape(result))
            given.append(Value(array.shape, array.dtype, None, f"{inner.prefix}constant{len(given)}"))
            constants.append(array)
            outputs.append(given[-1])
    finally:
        trace._tracer.reset(token)
    graph = Graph([*inputs, *inner.captured.values(), *given], inner.nodes, outputs)
    return Body(graph, [*inner.captured, *constants])


def tracer_of() -> Tracer:
    tracer = trace._tracer.get()
    if tracer is None:
        raise TraceError(f"compile: a branch or loop is traced outside of compile, at {caller()}")
    return tracer


def record(op: str, inputs: list[Any], attrs: dict[str, Any], bodies: tuple[Graph, ...],
           results: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> list[Traced]:
    tracer = tracer_of()
    node = Node(op, [tracer.own(v) for v in inputs], attrs, where=caller(),
                module=tracer.modules[-1] if tracer.modules else "", bodies=bodies)
    name = f"{tracer.prefix}{op}{len(tracer.nodes)}"
    node.outputs = [Value(shape, dtype, node, name if i == 0 else f"{name}_{i}")
                    for i, (shape, dtype) in enumerate(results)]
    tracer.add(node)
    return [Traced(v) for v in node.outputs]


def scalar(value: Any, dtype: Any, what: str) -> Any:
    """One number of a type and without axes, traced or an array."""
    size = math.prod(value.shape if isinstance(value, Traced) else np.shape(value))
    if size != 1:
        raise ValueError(f"{what} must be one value, got shape {tuple(value.shape)}")
    if not isinstance(value, Traced):
        return np.asarray(value, dtype).reshape(())
    value = value if value.dtype == dtype else OPS["cast"](value, dtype=np.dtype(dtype))
    return reshape(value, ()) if value.shape else value


def branch(condition: Traced, yes: Callable[[], Sequence[Any]],
           no: Callable[[], Sequence[Any]]) -> list[Any]:
    """yes() where the condition, one truth value of a run, is true, else no(): as many results of the
    same types and shapes.

    Where a result's length differs along one axis, or depends on data there, it becomes a Counted.
    TraceError where they differ in more.
    """
    condition = scalar(condition, np.bool_, "a condition")
    kinds: list[list[tuple[Any, ...]]] = []

    def plain(function: Callable[[], Sequence[Any]]) -> Callable[[], Sequence[Any]]:
        def of() -> list[Any]:
            found = list(function())
            kinds.append([kind_of(v) for v in found])
            return [v.values if isinstance(v, Counted) else v for v in found]
        return of
    bodies = [body_of(plain(yes)), body_of(plain(no))]
    if len(kinds[0]) != len(kinds[1]):
        raise TraceError(f"compile: the branches at {caller()} have {len(kinds[0])} and {len(kinds[1])} results")
    rooms = [room_of(a, b) for a, b in zip(*kinds)]
    if any(room is not None for room in rooms):   # once more, with as much room in both
        def padded(function: Callable[[], Sequence[Any]]) -> Callable[[], Sequence[Any]]:
            return lambda: [part for v, room in zip(function(), rooms)
                            for part in ((v,) if room is None else with_room(v, *room))]
        bodies = [body_of(padded(yes)), body_of(padded(no))]
    shapes = [[(v.shape, v.dtype) for v in body.graph.outputs] for body in bodies]
    assert shapes[0] == shapes[1], shapes
    results = iter(record("branch", [condition.value, *bodies[0].captured, *bodies[1].captured], {},
                          tuple(body.graph for body in bodies), shapes[0]))
    return [next(results) if room is None else Counted(next(results), room[0], next(results)) for room in rooms]


def kind_of(value: Any) -> tuple[Any, ...]:
    """(shape, type, axis whose length depends on data or None)"""
    value = value if isinstance(value, (Traced, Counted)) else np.asarray(value)
    return tuple(value.shape), np.dtype(value.dtype), value.axis if isinstance(value, Counted) else None


def room_of(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[int, int] | None:
    """(axis, greatest length) where two results differ along one axis; None where they are alike."""
    if a == b and a[2] is None:
        return None
    axes = {x[2] for x in (a, b) if x[2] is not None}
    if len(a[0]) == len(b[0]):
        axes |= {i for i, (n, m) in enumerate(zip(a[0], b[0])) if n != m}
    if a[1] != b[1] or len(a[0]) != len(b[0]) or len(axes) != 1:
        raise TraceError(f"compile: the branches at {caller()} have results of other types or shapes: "
                         f"{a[1]}{list(a[0])}, and {b[1]}{list(b[0])}")
    (axis,) = axes
    return axis, max(a[0][axis], b[0][axis])


def with_room(value: Any, axis: int, room: int) -> tuple[Any, Any]:
    """(the value, with 0 behind it up to that length; how long it is)"""
    values = value.values if isinstance(value, Counted) else value
    n = values.shape[axis]
    count = value.count if isinstance(value, Counted) else np.asarray(n, np.int64)
    if n < room:
        zeros = np.zeros((*values.shape[:axis], room - n, *values.shape[axis + 1:]), values.dtype)
        values = cat([values, zeros], axis) if n else zeros
    return values, count


class Looped(NamedTuple):
    """What a loop gives: how often it ran, its states at the end, and what its rounds collected, each
    along a new first axis of `most` entries, of which the first `count` were written (the others are
    0). exact: all of them are, in every run. ends: a condition may end it."""
    count: Traced
    states: list[Traced]
    collected: list[Traced]
    exact: bool
    ends: bool


def loop(body: Callable[..., tuple[Any, Sequence[Any], Sequence[Any]]], states: Sequence[Any], *,
         limit: Any = None, go: Any = None, most: int | None = None) -> Looped:
    """Rounds of body(i, *states) -> (go, states, what is collected), while go, a truth value or None for
    always, and at most `limit` times.

    limit: a number of a run (traced), or known. most: the most rounds that there can be, where limit
    does not say; without it nothing can be collected, and more than 2^20 rounds are a ValueError of the
    run. States keep their type and shape: TraceError.
    """
    if limit is not None:
        limit = scalar(limit, np.int64, "a number of rounds")
        if not isinstance(limit, Traced):
            most = max(0, int(limit) if most is None else min(most, int(limit)))
    states = [s if isinstance(s, Traced) else np.asarray(s) for s in states]
    kinds = [(tuple(s.shape), np.dtype(s.dtype)) for s in states]
    goes = []

    def flat(i: Traced, *values: Traced) -> list[Any]:
        more, after, collected = body(i, *values)
        more = None if more is None else scalar(more, np.bool_, "a condition")
        if more is not None and not isinstance(more, Traced) and bool(more):
            more = None
        goes.append(more is not None)
        return [*([] if more is None else [more]), *after, *collected]

    made = body_of(flat, [((), np.int64), *kinds])
    outputs = made.graph.outputs[goes[0]:]
    found = [(v.shape, v.dtype) for v in outputs[:len(kinds)]]
    for k, (before, after) in enumerate(zip(kinds, found)):
        if before != after:
            raise TraceError(f"compile: state {k} of the loop at {caller()} is {before[1]}{list(before[0])} "
                             f"before a round and {after[1]}{list(after[0])} behind it")
    if outputs[len(kinds):] and most is None:
        raise TraceError(f"compile: nobody knows how many rounds the loop at {caller()} makes at most, so "
                         "that there is no room for what they collect")
    if go is not None or goes[0]:
        go = scalar(True if go is None else go, np.bool_, "a condition")
    collected = [((most or 0, *v.shape), v.dtype) for v in outputs[len(kinds):]]
    attrs = {"states": len(kinds), "most": ROUNDS if most is None else most, "goes": goes[0],
             "collected": len(collected)}
    inputs = [v.value if isinstance(v, Traced) else v for v in (limit, go, *states)]
    count, *results = record("loop", [*inputs, *made.captured], attrs, (made.graph,),
                             [((), np.dtype(np.int64)), *kinds, *collected])
    exact = not isinstance(limit, Traced) and limit is not None and most == limit and go is None
    return Looped(count, results[:len(kinds)], results[len(kinds):], exact, go is not None)
