"""Which algorithm computes a convolution, and why.
Direct convolution does every multiplication. Winograd's F(m x m, 3x3) does (m + 2)^2 for m^2
outputs instead of 9 m^2, and pays for it with transforms of input and output and with (m + 2)^2 / 9
times the weights, which a layer of few pixels reads from memory once a call. Filters along one axis have
their own (line.py).
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np

from . import costs, estimates, filters_kept, line, packing, strassen, stride_two
from .estimates import IN_RUN
from .ir import Graph, Node, Value
from .shared import once
from .whole import from_whole_numbers, whole_numbers

COPY = 6      # nanoseconds to lay 16 values of a map elsewhere
# Bytes of a block of 16 filters, beyond which they are not fetched while others are multiplied, and of
# transformed tiles, beyond which filters made in the run are not in cache any more, or made again
FETCHED, TILES_CACHED = 1 << 20, 6 << 20
MOST_GROUPS, GROUP = 8, 4000   # of Winograd's algorithm; nanoseconds that each takes besides its sums
GROUPED = 0.78      # what direct convolutions of groups that fill no blocks reach of others' speed
ONE_VECTOR = 0.85   # and what multiplying by a single vector of filters at a time does
GROUP_TILE = 60     # nanoseconds that a tile of a narrow group takes besides products and transforms
NARROW, WIDE = 8, 64   # channels and filters of groups: multiples of the former; at least the latter


def run(graph: Graph, options) -> None:
    weights = [(node, sum(v.nbytes for v in node.inputs if isinstance(v, np.ndarray))) for node in graph.every()]
    total = sum(nbytes for _, nbytes in weights)
    known, rest = replace(costs.of(options.isa), threads=1), 0.0   # nanoseconds of what there is no choice for
    layers: list[filters_kept.Layer] = []
    for part in parts(graph):
        consumers = part.consumers()
        for node in part.nodes:
            if node.op == "conv" and isinstance(node.inputs[1], np.ndarray) and isinstance(node.inputs[0], Value):
                whole = sums_are_whole(node, part, consumers)
                node.algorithm, node.why, estimate = choose(node, options, total, whole)
            elif node.op == "conv_transpose" and stride_two.is_stride_two(node):
                node.algorithm, node.why, estimate = stride_two.choose(node, options, total,
                                                                       forced_algorithm(node, options.force))
            else:
                estimate = {}
            if estimate:
                kept = stride_two.kept_bytes if stride_two.is_stride_two(node) else kept_bytes
                layers.append(filters_kept.Layer(node, {way: (cost.alone, kept(node, way))
                                                        for way, cost in estimate.items()}, node.algorithm))
                continue
            nbytes = sum(v.nbytes for v in node.inputs if isinstance(v, np.ndarray)) if node.macs else 0
            rest += max(node.macs * known.direct / 16, streaming(nbytes, known, total))
    # a sample's algorithms may not depend on what the batch adds to the rest
    if options.memory == "balanced":
        chosen = {id(layer.node) for layer in layers}
        others = sum(nbytes for node, nbytes in weights if id(node) not in chosen)
        filters_kept.bound(layers, 0 if options.batch_invariant else rest, filters_kept.room(total) - others)
    for layer in layers:
        settle(layer.node, layer.way)


def settle(node: Node, way: str) -> None:
    """Gives the node the algorithm of a way that `choose` offers."""
    node.algorithm, in_run = way.removesuffix(IN_RUN), way.endswith(IN_RUN)
    node.filters_in_run = node.filters_in_run or in_run


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


def choose(node: Node, options, total_weights: int, whole: bool = False) -> tuple[str, str, dict[str, estimates.Time]]:
    """The cheapest algorithm of all candidates that do not decline, or the one that was asked for; why;
    and the nanoseconds of those that there are, where there is a choice. whole: its sums have to be
    exact.
    """
    forced = forced_algorithm(node, options.force)
    if forced in (None, *stride_two.NAMES) and not whole and stride_two.is_stride_two(node):
        algorithm, why, estimate = stride_two.choose(node, options, total_weights, forced)
        return algorithm or "direct", why, {way or "direct": time for way, time in estimate.items()}
    offers, reasons = {}, []
    for candidate in CANDIDATES:
        if whole and forced is None and candidate is not direct:
            reasons.append("image and filter are of whole numbers, whose sums have to be exact")
            continue
        try:
            offers.update(candidate(node, options, forced))
        except Declined as why:
            reasons.append(str(why))
    lean = options.memory == "lean"
    if forced in offers:
        node.filters_in_run = lean
        return forced, "forced by PYOPS_FORCE_ALGO", {}
    offers = {name: cost for name, cost in offers.items() if not lean or name in ("direct", strassen.NAME)
              or name.endswith(IN_RUN)}
    first = next(iter(offers))
    if forced is not None:
        return first, f"{forced} is forced but impossible here: {reasons[0]}", {}
    if len(offers) == 1:
        return first, reasons[0], {}
    if options.batch_invariant:
        offers = {name: alone(cost) for name, cost in offers.items()}
    estimate = {name: estimates.time(partial(of_costs, cost, node, total_weights), options.isa)
                for name, cost in offers.items()}
    return (estimates.fewest if lean else estimates.quickest)(estimate), estimates.listed(estimate), estimate


def of_costs(cost: Callable, node: Node, total_weights: int, known: costs.Costs) -> float:
    return cost(node, known, total_weights)


def kept_bytes(node: Node, way: str) -> int:
    """Bytes of weights that a layer keeps: Winograd's algorithm has the plain ones beside its own."""
    K, C, side = node.inputs[1].shape[:3]
    taps = math.prod(node.inputs[1].shape[2:])
    if way in line.NAMES:
        return line.kept_bytes(node, int(way[-1]))
    if way.startswith("line"):
        return 4 * taps * C * K
    if not way.startswith("winograd"):
        return 4 * taps * packing.rounded(C) * packing.rounded(K)
    if way.endswith(IN_RUN):
        return 4 * taps * C * packing.rounded(K)
    return 4 * taps * C * K + 4 * (int(way[-1]) + side - 1) ** 2 * C * packing.rounded(K)


class Declined(Exception):
    """A candidate does not take the layer; the message says why."""


# A candidate offers algorithms: name -> its cost in nanoseconds, a function of the node, the costs
# of work and the bytes of all weights.

def direct(node: Node, options, forced: str | None) -> dict[str, Callable]:
    """Takes every convolution."""
    return {"direct": direct_cost}


def winograd(node: Node, options, forced: str | None) -> dict[str, Callable]:
    if not winograd_can(node):
        raise Declined("not a 3x3 or 5x5 filter with stride 1")
    if forced is None and options.precision == "strict":
        raise Declined('precision="strict"')
    if not packing.even_filters(node.inputs[1]):
        raise Declined("a filter of little more than one tap")
    tiles = costs.TILES[:2] if forced is None and options.precision == "default" else costs.TILES
    if node.inputs[1].shape[2] == 5:
        tiles = costs.TILES[:1]
        if forced in NAMES[2:4]:
            raise Declined("5x5 filters have tiles of 2")
    ways = ("",) if narrow_groups(node) else ("", IN_RUN)
    return {f"winograd{m}{way}": partial(winograd_cost, m=m, kept=not way, whole_vectors=options.isa == "avx512")
            for m in tiles for way in ways}


def along_a_line(node: Node, options, forced: str | None) -> dict[str, Callable]:
    if why := line.can(node):
        raise Declined(why)
    if forced is None and options.precision == "strict":
        raise Declined('precision="strict"')
    if not packing.even_filters(node.inputs[1]):
        raise Declined("a filter of little more than one tap")
    ways = ("",) if node.inputs[1].ndim == 5 else ("", IN_RUN)
    return {f"line{m}{way}": partial(line.cost, tile=m, kept=not way)
            for m in line.TILES[line.taps_of(node)] for way in ways}


def by_halves(node: Node, options, forced: str | None) -> dict[str, Callable]:
    if why := strassen.can(node):
        raise Declined(why)
    if forced is None and options.precision == "strict":
        raise Declined('precision="strict"')
    return {strassen.NAME: lambda node, known, total: (
        strassen.cost(node, known) + streaming(4 * node.inputs[1].size, known, total))}


CANDIDATES = (direct, winograd, along_a_line, by_halves)   # of equal estimates the first wins
NAMES = ("direct", *(f"winograd{m}" for m in costs.TILES), *line.NAMES, *stride_two.NAMES, strassen.NAME)


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
    plain = weight.shape[2:] == (3, 3) or weight.shape[2:] == (5, 5) and attrs["dilation"] == (1, 1)
    reach = weight.shape[2] - 1
    return (plain and (attrs["groups"] == 1 or wide_groups(node) or narrow_groups(node)) and attrs["stride"] == (1, 1)
            and weight.shape[1] > 4
            and all(p <= reach * d and out == size + 2 * p - reach * d for size, p, d, out in zip(
                node.inputs[0].shape[2:], attrs["padding"], attrs["dilation"],
                attrs["size"])))   # no more zeros behind than in front


def wide_groups(node: Node) -> bool:
    """Whether its groups are whole blocks of channels and filters, few and wide: each is a call of its own."""
    weight, groups = node.inputs[1], node.attrs["groups"]
    return (groups <= MOST_GROUPS and weight.shape[1] % packing.BLOCK == 0 == len(weight) // groups % packing.BLOCK
            and min(weight.shape[1], len(weight) // groups) >= WIDE and node.attrs["dilation"] == (1, 1))


def narrow_groups(node: Node) -> bool:
    """Whether its groups are others, of some channels and filters each: they share transforms of the maps."""
    weight, groups = node.inputs[1], node.attrs["groups"]
    return (groups > 1 and not wide_groups(node) and weight.shape[2] == 3 and node.attrs["dilation"] == (1, 1)
            and weight.shape[1] % NARROW == 0 == len(weight) // groups % NARROW)


def sizes(node: Node):
    K, C = node.inputs[1].shape[:2]
    n, _, h, w = node.output.shape
    return K, C, n, h, w


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
    multiply = known.direct * direct_macs(node) / known.threads
    if node.attrs["groups"] > 1 and node.inputs[1].shape[1] % packing.BLOCK:
        multiply /= GROUPED
    if set(node.attrs["dilation"]) != {1}:
        multiply *= inside(node)
    return max(multiply, streaming(4 * node.inputs[1].size, known, total_weights))


def direct_macs(node: Node) -> int:
    """Multiply-adds of 16 filters."""
    K, C, *sides = node.inputs[1].shape
    return math.prod((node.output.shape[0], *node.output.shape[2:], *sides)) * C * -(-K // 16)


def narrow_cost(node: Node, known: costs.Costs, tiles: int, m: int, whole_vectors: bool) -> float:
    """Of narrow groups by Winograd's algorithm."""
    K, C = node.inputs[1].shape[:2]
    groups = node.attrs["groups"]
    seen = sum(last - first for first, last in packing.seen_channels(C, K // groups, groups))
    # few tiles, each a chain of sums, do not keep a core busy where they meet a single vector of filters
    together = 1 if whole_vectors and K // groups % 32 else 2
    busy = min(1.0, together * tiles / -(-tiles // 14) / 8) if tiles else 1.0
    multiply = known.winograd * tiles * (m + 2) ** 2 * seen / (ONE_VECTOR * busy)
    transform = known.transform[costs.TILES.index(m)] * tiles * (C * groups + K) / 32
    return (multiply + transform + GROUP_TILE * tiles * groups) / known.threads


def inside(node: Node) -> float:
    """The share of a layer's taps that lie within the image."""
    share = 1.0
    for size, out, taps, padding, dilation in zip(node.inputs[0].shape[2:], node.output.shape[2:],
                                                  node.inputs[1].shape[2:], node.attrs["padding"],
                                                  node.attrs["dilation"]):
        seen = sum(max(0, min(out, size + padding - tap * dilation) - max(0, padding - tap * dilation))
                   for tap in range(taps))
        share *= seen / max(1, taps * out)
    return share


def winograd_cost(node: Node, known: costs.Costs, total_weights: float, m: int, kept: bool = True,
                  whole_vectors: bool = True) -> float:
    """With dilation it is as many layers as that has phases, which are copied into place and back. kept:
    filters are transformed beforehand. whole_vectors: of 16 numbers."""
    K, C, n, h, w = sizes(node)
    down, across = node.attrs["dilation"]
    phases = down * across
    rows, columns = -(-h // down), -(-w // across)
    tiles = n * phases * -(-rows // m) * -(-columns // m)
    side = node.inputs[1].shape[2]
    taps, points = side * side, (m + side - 1) ** 2
    groups = node.attrs["groups"]
    if groups > 1 and narrow_groups(node):
        return narrow_cost(node, known, tiles, m, whole_vectors)
    multiply = known.winograd * tiles * points * C * -(-K // 16) / known.threads
    transform = (known.transform[costs.TILES.index(m + side - 3)] * tiles * (C * groups + K) / 32 / known.threads
                 + (groups > 1) * groups * GROUP)
    copies = 0 if phases == 1 else COPY * n * phases * (
        (rows + 2) * (columns + 2) * -(-C // 16) + 2 * rows * columns * -(-K // 16)) / known.threads
    if kept:
        fetch = streaming(4 * points * C * K, known, total_weights * points / taps)
        waits = min(multiply, fetch) / 2 if 4 * points * C * 16 > FETCHED else 0
        return max(multiply, fetch) + waits + transform + copies
    filters = known.filter * points / 36 * C * -(-K // 16) / known.threads
    filters *= max(1.0, 4 * points * C * tiles / TILES_CACHED)
    return max(multiply + filters, streaming(4 * taps * C * K, known, total_weights)) + transform + copies
