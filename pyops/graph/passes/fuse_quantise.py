"""Floats that are quantised and at once made floats again take one step, in whatever layout they
lie.

x -> (limited(round(x / scale) + zero point) - zero point) scale, by one scale and zero point. Where
they are made floats by several scales, the whole numbers are made once, and multiplied.
"""
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..activations import activation
from ..ir import Graph, Node, Value


class Rounding(NamedTuple):
    """A scale, and the limits of the whole numbers less the zero point."""
    scale: float
    least: float
    most: float


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        kind = rounding(node)
        readers = consumers.get(node.output, []) if kind is not None else []
        if kind is None or not readers or node.output in graph.outputs:
            continue
        if all(undoes(reader, node) for reader in readers):
            without_clamp(graph, node, kind, consumers)
            take(graph, node, kind, list(readers), consumers)


def number(value: object) -> float | None:
    return float(value.reshape(())) if isinstance(value, np.ndarray) and value.size == 1 else None


def rounding(node: Node) -> Rounding | None:
    """What quantising by one scale and zero point, and back, does; None for other nodes."""
    if node.op != "quantise" or not isinstance(node.inputs[0], Value):
        return None
    scale, zero = (number(v) for v in node.inputs[1:])
    if (scale is None or not 0 < scale < math.inf or zero is None or zero != round(zero) or abs(zero) > 1 << 16
            or node.inputs[0].shape != node.output.shape):
        return None
    return Rounding(scale, node.attrs["least"] - zero, node.attrs["most"] - zero)


def undoes(reader: Node, node: Node) -> bool:
    """Whether the reader is the dequantising of what the node quantised."""
    if reader.op != "dequantise" or reader.inputs[0] is not node.output or reader.output.shape != node.output.shape:
        return False
    scale, zero = (number(v) for v in reader.inputs[1:])
    return zero == number(node.inputs[2]) and scale is not None


def without_clamp(graph: Graph, node: Node, kind: Rounding, consumers) -> None:
    """Drops a clamp in front whose bounds the whole numbers have anyway: relu, where 0 is the least."""
    before = node.inputs[0].node
    act = activation(before.row, before.attrs) if before is not None else None
    if act is None or act.name != "clamp" or not isinstance(before.inputs[0], Value):
        return
    low, high = (v if math.isinf(v) else np.rint(np.float32(v) / np.float32(kind.scale)) for v in (act.a, act.b))
    if low <= kind.least and high >= kind.most and graph.only_consumer(before.output, consumers) is node:
        graph.drop(before, before.inputs[0], consumers)


def take(graph: Graph, node: Node, kind: Rounding, readers: list[Node], consumers) -> None:
    made = Value(node.output.shape, node.inputs[0].dtype, node, node.output.name)
    scales = {number(reader.inputs[1]) for reader in readers}
    by = scales.pop() if len(scales) == 1 else 1.0
    for reader in readers:
        if number(reader.inputs[1]) == by:
            graph.drop(reader, made, consumers)
        else:
            consumers.setdefault(made, []).append(reader)
            reader.op, reader.inputs, reader.attrs = "mul", [made, reader.inputs[1]], {}
    node.op, node.attrs = "fake_quantise", {**kind._asdict(), "by": by}
    node.inputs, node.outputs = node.inputs[:1], [made]
