"""What else reads maps of bytes (bytes_products.py): a function of each of their values, as an
activation between two layers is, is a table of 256; what knows no bytes reads real maps. The least
and the greatest value of what is quantised by them come from one step.
"""
from __future__ import annotations

import numpy as np

from ...ops.quantise import DEQUANTISE, QUANTISE
from ..ir import Graph, Node, Value
from ..on_bytes import Layer, Limits, Sum, Table
from .bytes_products import FLOAT, number


def run(graph: Graph) -> None:
    maps = {v for node in graph.nodes if makes_a_map(node) for v in node.outputs}
    if not maps:
        return
    consumers = graph.consumers()
    Tables(graph, maps, consumers).run()
    for value in maps:
        for reader in consumers.get(value, []):
            if reader.op == "dequantise":
                reader.op, reader.on_bytes = "map_of_bytes", Limits(0, 255)
        if value.node.op == "bytes_of_map":
            extremes(graph, value.node.inputs[0], consumers)


def makes_a_map(node: Node) -> bool:
    made = node.on_bytes
    return node.op == "bytes_of_map" or isinstance(made, Sum) or (
        node.op == "bytes_conv" and isinstance(made, Layer) and made.result is not None)


class Tables:
    """Values that are functions of a map's bytes one by one: all their bytes, or the real numbers that
    others read, come from a table. functions: each with its map, and its value for each byte."""

    def __init__(self, graph: Graph, maps: set[Value], consumers: dict[Value, list[Node]]):
        self.graph, self.maps, self.consumers = graph, maps, consumers
        self.functions: dict[Value, tuple[Value, np.ndarray]] = {}

    def run(self) -> None:
        made: list[Node] = []
        for node in self.graph.nodes:
            found = self.function(node)
            if found is not None and node.op == "bytes_of_map":
                self.give_bytes(node, *found)
            elif found is not None:
                self.functions[node.output] = found
                made.append(node)
        for node in reversed(made):
            self.give_numbers(node)

    def give_bytes(self, node: Node, q: Value, numbers: np.ndarray) -> None:
        scale, zero = node.inputs[1:]
        table = QUANTISE(numbers, scale, zero, dtype=np.dtype(np.uint8), least=int(node.on_bytes.least),
                         most=int(node.on_bytes.most))
        self.read(node, q)
        node.op, node.on_bytes = "bytes_table", Table(np.asarray(table))

    def give_numbers(self, node: Node) -> None:
        """Where others than such functions read the value; else it is needed no more."""
        q, numbers = self.functions[node.output]
        others = [r for r in self.consumers.get(node.output, []) if r.output not in self.functions]
        if node.inputs[0] is not q and node.output.dtype == FLOAT and (
                others or node.output in self.graph.outputs):
            self.read(node, q)
            node.op, node.attrs, node.on_bytes = "map_by_table", {}, Table(numbers)

    def read(self, node: Node, q: Value) -> None:
        for value in node.values():
            self.consumers[value].remove(node)
        node.inputs = [q]
        self.consumers.setdefault(q, []).append(node)

    def function(self, node: Node) -> tuple[Value, np.ndarray] | None:
        """The map that the node's result, or what it quantises, is a function of, and the values; None
        where it is none."""
        if node.op == "dequantise" and isinstance(node.inputs[0], Value) and node.inputs[0] in self.maps:
            q, scale, zero = node.inputs
            if number(scale) is None or number(zero) is None:
                return None
            return q, np.asarray(DEQUANTISE(np.arange(256, dtype=np.uint8), scale, zero))
        if node.op == "bytes_of_map":
            constant = all(isinstance(v, np.ndarray) for v in node.inputs[1:])
            return self.functions.get(node.inputs[0]) if constant else None
        values = [v for v in node.inputs if isinstance(v, Value)]
        if not self.is_function(node, values):
            return None
        inputs = [self.functions[v][1] if isinstance(v, Value) else v.reshape(()) for v in node.inputs]
        return self.functions[values[0]][0], np.asarray(node.row(*inputs, **node.attrs))

    def is_function(self, node: Node, values: list[Value]) -> bool:
        """Whether it works value by value on functions of one map and single numbers."""
        return (node.on_bytes is None and node.row.pointwise and len(node.outputs) == 1 and bool(values)
                and node.epilogue.activation is None
                and all(v in self.functions and v.shape == node.output.shape for v in values)
                and len({self.functions[v][0] for v in values}) == 1
                and all(isinstance(v, Value) or isinstance(v, np.ndarray) and v.size == 1 for v in node.inputs))


def extremes(graph: Graph, x: Value, consumers: dict[Value, list[Node]]) -> None:
    """Makes one node of those that find the least and the greatest of all values of x."""
    readers = [r for r in consumers.get(x, []) if r.op in ("amin", "amax")
               and sorted(d % len(x.shape) for d in r.attrs["dims"]) == list(range(len(x.shape)))]
    least, most = (next((r for r in readers if r.op == op), None) for op in ("amin", "amax"))
    if least is None or most is None or not x.size:
        return
    first, second = sorted((least, most), key=graph.nodes.index)
    outputs = [least.output, most.output]
    graph.take_over(first, second, consumers)
    first.op, first.attrs, first.outputs, first.on_bytes = "extremes_of_map", {}, outputs, Limits(0, 255)
