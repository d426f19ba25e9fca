"""Which algorithm computes a convolution, and why.

Direct convolution does every multiplication. Winograd's F(m x m, 3x3) does (m + 2)^2 for m^2 outputs instead of 9 m^2, and pays for it with
transforms of input and output and with (m + 2)^2 / 9 times the weights, which a layer of few pixels reads from memory once a call.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from . import costs, packing
from .ir import Graph, Node, Value


def run(graph: Graph, options) -> None:
    consumers = graph.consumers()
    total = sum(v.nbytes for node in graph.nodes for v in node.inputs if isinstance(v, np.ndarray))
    for node in graph.nodes:
        if node.op == "conv" and isinstance(node.inputs[1], np.ndarray) and isinstance(node.inputs[0], Value):
            node.algorithm, node.why = choose(node, options, total)
    for node in list(graph.nodes):
        fuse_pool(graph, node, consumers)


def choose(node: Node, options, total_weights: int) -> tuple[str, str]:
    forced = forced_algorithm(node, options.force)
    if not winograd_can(node):
        return "direct", "not a 3x3 filter with stride 1" if forced is None else f"{forced} is forced but impossible here"
    if forced is None and options.precision == "strict":
        return "direct", 'precision="strict"'
    if not packing.even_filters(node.inputs[1]):
        return "direct", "a filter of little more than one tap"
    if forced is not None:
        return forced, "forced by PYOPS_FORCE_ALGO"
    tiles = (2, 4) if options.precision == "default" else (2, 4, 6)
    known = costs.of(options.isa)
    estimate = {"direct": direct_cost(node, known, total_weights), **{f"winograd{m}": winograd_cost(node, m, known, total_weights) for m in tiles}}
    best = min(estimate, key=estimate.get)
    return best, "estimated us: " + ", ".join(f"{name} {cost / 1e3:.0f}" for name, cost in estimate.items())


def forced_algorithm(node: Node, force: str) -> str | None:
    """From "winograd4" or "layer1.0.conv1=direct,..."."""
    return next((algorithm for name, algorithm in entries(force) if name in ("", "*", node.module, node.output.name)), None)


ALGORITHMS = ("direct", "winograd2", "winograd4", "winograd6")


@lru_cache
def entries(force: str) -> tuple[tuple[str, str], ...]:
    """(name, algorithm) of each entry. ValueError for what is no list of such."""
    found = []
    for entry in filter(None, force.split(",")):
        name, equals, algorithm = entry.rpartition("=")
        if algorithm not in ALGORITHMS or (equals and not name):
            raise ValueError(f"PYOPS_FORCE_ALGO: {entry!r} in {force!r} must be one of {', '.join(ALGORITHMS)}, alone or after a layer's name and =")
        found.append((name, algorithm))
    return tuple(found)


def winograd_can(node: Node) -> bool:
    weight, attrs = node.inputs[1], node.attrs
    return (weight.shape[2:] == (3, 3) and attrs["groups"] == 1 and attrs["stride"] == (1, 1) and attrs["dilation"] == (1, 1)
            and weight.shape[1] > 4 and max(attrs["padding"]) <= 2)


def sizes(node: Node):
    K, C = node.inputs[1].shape[:2]
    n, _, h, w = node.output.shape
    return K, C, n, h, w


# Nanoseconds. The team is the one that the costs were measured with, not the program's: results may not depend on the number of threads.


def streaming(nbytes: float, known: costs.Costs, total_weights: float) -> float:
    """To bring weights in once, from where they are between two runs of a program with so many bytes of them."""
    return nbytes * (known.memory if total_weights > known.kept else known.cache)


def direct_cost(node: Node, known: costs.Costs, total_weights: float) -> float:
    K, C, n, h, w = sizes(node)
    multiply = known.direct * n * h * w * 9 * C * -(-K // 16) / known.threads
    return max(multiply, streaming(4 * 9 * C * K, known, total_weights))


def winograd_cost(node: Node, m: int, known: costs.Costs, total_weights: float) -> float:
    K, C, n, h, w = sizes(node)
    tiles = n * -(-h // m) * -(-w // m)
    points = (m + 2) ** 2
    multiply = known.winograd * tiles * points * C * -(-K // 16) / known.threads
    transform = known.transform[costs.TILES.index(m)] * tiles * (C + K) / 32 / known.threads
    return max(multiply, streaming(4 * points * C * K, known, total_weights * points / 9)) + transform


def fuse_pool(graph: Graph, node: Node, consumers) -> None:
    """A 2x2 maximum of a Winograd convolution's result is taken inside its output transform."""
    if not node.algorithm.startswith("winograd") or node.epilogue.residual is not None:
        return
    reader = graph.only_consumer(node.output, consumers)
    if reader is None or reader.op != "max_pool":
        return
    w = reader.attrs["window"]
    if (w.kernel, w.stride, w.padding, w.dilation) == ((1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 1, 1)) and w.axes == 2 \
            and w.output[1:] == tuple(i // 2 for i in w.input[1:]):
        node.epilogue.pool = True
        node.outputs[0].shape = reader.output.shape
        graph.drop(reader, node.output, consumers)
