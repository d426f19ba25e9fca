"""Branches and loops: the calls of their bodies between the others, and a call in front that says which of
them run. csrc/program.cpp follows them.

What a body reads from outside lies planar before it begins; what it makes is its own, and its results
are copied to places that were taken outside.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir import Graph, Node
from .context import Buffer, Lowering, Ref, Step


def branch(low: Lowering, node: Node, lower: Callable) -> None:
    condition = low.as_planar(node.inputs[0])
    places = [low.as_planar(v) for v in node.inputs[1:]]
    results = [low.new_planar(v) for v in node.outputs]
    at = len(low.steps)
    low.add("branch", node=node, algorithm="branch")
    lengths, first = [], 0
    for body in node.bodies:
        inside = within(low, body, places[first:first + len(body.inputs)], lower)
        first += len(body.inputs)
        for value, place in zip(body.outputs, results):
            moved(low, inside.as_planar(value), place, node)
        lengths.append(len(low.steps) - at - 1 - sum(lengths))
    low.steps[at].args = (flat(condition, ()), *lengths)


def loop(low: Lowering, node: Node, lower: Callable) -> None:
    (body,), states = node.bodies, node.attrs["states"]
    limit, go = (low.as_planar(v) for v in node.inputs[:2])
    outside = [low.as_planar(v) for v in node.inputs[2:]]
    round, *results = (low.new_planar(v) for v in node.outputs)
    kept, collected = results[:states], results[states:]
    if go is not None and node.attrs["goes"]:   # the body writes it
        go, first = Ref(low.buffer(1, np.bool_), 0, (), np.dtype(np.bool_)), go
        moved(low, first, go, node)
    for place, start in zip(kept, outside):
        moved(low, start, place, node)
    for place in collected:
        moved(low, np.zeros(1, place.dtype), place, node, strides=(0,))
    at = len(low.steps)
    low.add("loop", node=node, algorithm="loop")
    inside = within(low, body, [round, *kept, *outside[states:]], lower)
    found = [inside.as_planar(v) for v in body.outputs]
    more, found = found[:node.attrs["goes"]], found[node.attrs["goes"]:]
    for value, place in zip(found[states:], collected):
        size = int(np.prod(value.shape))
        if size:
            low.add("put_blocks", flat(value, (size,)), flat(round, (1, 1)), place.shape[:1], 1, size, False,
                    flat(place, (place.shape[0] * size,)), node=node, algorithm="collect")
    for value in more:
        moved(low, value, go, node)
    # a state that is another one's old value is moved out of its way first
    buffers = {place.buffer for place in kept}
    after = []
    for value, place in zip(found, kept):
        if isinstance(value, Ref) and value.buffer in buffers and value != place:
            value, aside = Ref(low.buffer(place_size(value), value.dtype), 0, value.shape, value.dtype), value
            moved(low, aside, value, node)
        after.append(value)
    for value, place in zip(after, kept):
        if value != place:
            moved(low, value, place, node)
    low.steps[at].args = (flat(round, ()), None if limit is None else flat(limit, ()),
                          None if go is None else flat(go, ()), node.attrs["most"], len(low.steps) - at - 1)


RULES = {"branch": branch, "loop": loop}


def within(low: Lowering, body: Graph, places: Sequence, lower: Callable) -> Lowering:
    """The body's calls, behind those made so far; its inputs lie at these places."""
    inside = Lowering(body, low.options, low.steps)
    inside.planar.update(zip(body.inputs, places))
    lower(inside)
    return inside


def moved(low: Lowering, value, place: Ref, node: Node, strides: tuple[int, ...] = (1,)) -> None:
    """Copies a value, a place or a constant, of the same size."""
    size = place_size(place)
    if size:
        source = value.reshape(-1) if isinstance(value, np.ndarray) else flat(value, (1,))
        low.copy(source, strides, flat(place, (size,)), node)


def flat(value, shape: tuple[int, ...]):
    return value.reshape(shape) if isinstance(value, np.ndarray) else value.reshaped(shape)


def place_size(ref: Ref) -> int:
    return int(np.prod(ref.shape))


def spans(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """The first and the last step of each loop, its own call among them."""
    return [(i, i + step.args[-1]) for i, step in enumerate(steps) if step.kernel == "loop"]


def through(lives: dict[Buffer, list[int]], steps: Sequence[Step]) -> None:
    """What a loop's body touches and something outside as well lives as long as the loop does: the next
    round finds it again."""
    for first, last in spans(steps):
        for life in lives.values():
            if life[0] <= last and life[1] >= first and not first < life[0] <= life[1] <= last:
                life[:] = min(life[0], first), max(life[1], last)
