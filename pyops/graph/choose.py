"""Which algorithm computes a convolution, and why.
Direct convolution does every multiplication. Winograd's F(m x m, 3x3) does (m + 2)^2 for m^2
outputs instead of 9 m^2, and pays for it with transforms of input and output and with (m + 2)^2 / 9
times the weights, which a layer of few pixels reads from memory once a call.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from . import costs, packing, stride_two
from .ir import Graph, Node, Value
from .shared import once
from .whole import from_whole_numbers, whole_numbers

COPY = 6      # nanoseconds to lay 16 values of a map elsewhere
BALANCED = 1.03   # times the shortest that a layer may take, if it keeps fewer weights
FILTER = 60   # multiply-adds of 16 filters that the transform of 16 of their values takes


def run(graph: Graph, options) -> None:
    total = sum(v.nbytes for node in graph.every() for v in node.inputs if isinstance(v, np.ndarray))
    for part in parts(graph):
        consumers = part.consumers()
        for node in part.nodes:
            if node.op == "conv" and isinstance(node.inputs[1], np.ndarray) and isinstance(node.inputs[0], Value):
                whole = sums_are_whole(node, part, consumers)
                node.algorithm, node.why = choose(node, options, total, whole)
            elif node.op == "conv_transpose" and stride_two.is_stride_two(node):
                node.algorithm, node.why = stride_two.choose(node, options, total,
                                                             forced_algorithm(node, options.force))


def parts(graph: Graph):
    """The graph and the bodies in it."""
    yield graph
    for node in graph.nodes:
        for body in node.bodies:
            yield from parts(body)


def sums_are_whole(node: Node, graph: Graph, consumers) -> bool:
    """Whether image and filter are of whole numbers, and so are the sums to those that read them. Where
    all multiply them by a number of the run, as behind a dynamic scale, they are floats like others.
    """
    readers = consumers.get(node.output, [])
    floats = node.output not in graph.outputs and readers and all(
        r.op == "mul" and all(isinstance(v, Value) for v in r.inputs) for r in readers)
    return not floats and from_whole_numbers(node.inputs[0]) and whole_numbers(node.inputs[1])


def choose(node: Node, options, total_weights: int, whole: bool = False) -> tuple[str, str]:
    """The cheapest algorithm of all candidates that do not decline, or the one that was asked for;
    and why. whole: its sums have to be exact.
    """
    forced = forced_algorithm(node, options.force)
    if forced in (None, *stride_two.NAMES) and not whole and stride_two.is_stride_two(node):
        algorithm, why = stride_two.choose(node, options, total_weights, forced)
        return algorithm or "direct", why
    offers, reasons = {}, []
    for candidate in CANDIDATES:
        if whole and forced is None and candidate is winograd:
            reasons.append("image and filter are of whole numbers, whose sums have to be exact")
            continue
        try:
            offers.update(candidate(node, options, forced))
        except Declined as why:
            reasons.append(str(why))
    if forced in offers:
        return forced, "forced by PYOPS_FORCE_ALGO"
    first = next(iter(offers))
    if forced is not None:
        return first, f"{forced} is forced but impossible here: {reasons[0]}"
    if len(offers) == 1:
        return first, reasons[0]
    known = costs.of(options.isa)
    if options.memory == "lean":
        offers = {name: costed if name == "direct" else partial(with_filters, costed, int(name[-1]))
                  for name, costed in offers.items()}
    estimate = {name: (alone(cost) if options.batch_invariant else cost)(node, known, total_weights)
                for name, cost in offers.items()}
    listed = ", ".join(f"{name} {cost / 1e3:.0f}" for name, cost in estimate.items())
    least = min(estimate.values()) * (BALANCED if options.memory == "balanced" else 1)
    chosen = min((name for name, cost in estimate.items() if cost <= least), key=weights)
    return chosen, f"estimated us: {listed}"


def weights(algorithm: str) -> int:
    """Numbers that the algorithm keeps, for one of a 3x3 filter's channels."""
    return 9 if algorithm == "direct" else 9 + (int(algorithm[-1]) + 2) ** 2   # the plain ones, too


class Declined(Exception):
    """A candidate does not take the layer; the message says why."""


# A candidate offers algorithms: name -> its cost in nanoseconds, a function of the node, the costs
# of work and the bytes of all weights.

def direct(node: Node, options, forced: str | None) -> dict[str, Callable]:
    """Takes every convolution."""
    return {"direct": direct_cost}


def winograd(node: Node, options, forced: str | None) -> dict[str, Callable]:
    if not winograd_can(node):
        raise Declined("not a 3x3 filter with stride 1")
    if forced is None and options.precision == "strict":
        raise Declined('precision="strict"')
    if not packing.even_filters(node.inputs[1]):
        raise Declined("a filter of little more than one tap")
    tiles = costs.TILES[:2] if forced is None and options.precision == "default" else costs.TILES
    return {f"winograd{m}": partial(winograd_cost, m=m) for m in tiles}


CANDIDATES = (direct, winograd)   # of equal estimates the first wins
NAMES = ("direct", *(f"winograd{m}" for m in costs.TILES), *stride_two.NAMES)


def forced_algorithm(node: Node, force: str) -> str | None:
    """From "winograd4" or "layer1.0.conv1=direct,..."."""
    return next((algorithm
                 for name, algorithm in entries(force) if name in ("", "*", node.module, node.output.name)),
                None)


@lru_cache
def entries(force: str) -> tuple[tuple[str, str], ...]:
    """(name, algorithm) of each entry. ValueError for what is no list of such."""
    found = []
    for entry in filter(None, force.split(",")):
        name, equals, algorithm = entry.rpartition("=")
        if algorithm not in NAMES or (equals and not name):
            raise ValueError(f"PYOPS_FORCE_ALGO: {entry!r} in {force!r} must be one of {', '.join(NAMES)}, "
                             "alone or after a layer's name and =")
        found.append((name, algorithm))
    return tuple(found)


@once
def winograd_can(node: Node) -> bool:
    weight, attrs = node.inputs[1], node.attrs
    return (weight.shape[2:] == (3, 3) and attrs["groups"] == 1 and attrs["stride"] == (1, 1)
            and weight.shape[1] > 4
            and all(p <= 2 * d and out == size + 2 * p - 2 * d for size, p, d, out in zip(
                node.inputs[0].shape[2:], attrs["padding"], attrs["dilation"],
                attrs["size"])))   # no more zeros behind than in front


def sizes(node: Node):
    K, C = node.inputs[1].shape[:2]
    n, _, h, w = node.output.shape
    return K, C, n, h, w


def with_filters(estimate: Callable, m: int, node: Node, known: costs.Costs, total_weights: float) -> float:
    """The estimate of a layer whose filters are transformed in every run."""
    K, C = node.inputs[1].shape[:2]
    filters = FILTER * known.winograd * (m + 2) ** 2 * C * -(-K // 16) / known.threads
    return estimate(node, known, total_weights) + filters


def alone(estimate: Callable) -> Callable:
    """The estimate for one sample of the node's batch."""
    def of(node: Node, *args, **more):
        one = replace(node, outputs=[replace(node.output, shape=(1, *node.output.shape[1:]))])
        return estimate(one, *args, **more)
    return of


# Nanoseconds. The team is the one that the costs were measured with, not the program's: results may
# not depend on the number of threads.


def streaming(nbytes: float, known: costs.Costs, total_weights: float) -> float:
    """To bring weights in once, from where they are between two runs of a program with so many
    bytes of them.
    """
    return nbytes * (known.memory if total_weights > known.kept else known.cache)


def direct_cost(node: Node, known: costs.Costs, total_weights: float) -> float:
    """Only taps that lie within the image are multiplied where many do not."""
    K, C, n, h, w = sizes(node)
    multiply = known.direct * n * h * w * 9 * C * -(-K // 16) / known.threads
    if node.attrs["dilation"] != (1, 1):
        multiply *= inside(node)
    return max(multiply, streaming(4 * 9 * C * K, known, total_weights))


def inside(node: Node) -> float:
    """The share of a 3x3 layer's taps that lie within the image."""
    share = 1.0
    for size, out, padding, dilation in zip(node.inputs[0].shape[2:], node.output.shape[2:],
                                            node.attrs["padding"], node.attrs["dilation"]):
        seen = sum(max(0, min(out, size + padding - tap * dilation) - max(0, padding - tap * dilation))
                   for tap in range(3))
        share *= seen / max(1, 3 * out)
    return share


def winograd_cost(node: Node, known: costs.Costs, total_weights: float, m: int) -> float:
    """With dilation it is as many layers as that has phases, which are copied into place and back."""
    K, C, n, h, w = sizes(node)
    down, across = node.attrs["dilation"]
    phases = down * across
    rows, columns = -(-h // down), -(-w // across)
    tiles = n * phases * -(-rows // m) * -(-columns // m)
    points = (m + 2) ** 2
    multiply = known.winograd * tiles * points * C * -(-K // 16) / known.threads
    transform = known.transform[costs.TILES.index(m)] * tiles * (C + K) / 32 / known.threads
    copies = 0 if phases == 1 else COPY * n * phases * (
        (rows + 2) * (columns + 2) * -(-C // 16) + 2 * rows * columns * -(-K // 16)) / known.threads
    return max(multiply, streaming(4 * points * C * K, known, total_weights * points / 9)) + transform + copies
