"""Convolutions and linear layers of quantised inputs and weights are computed on bytes.

A layer reads what was made real from bytes, by one scale and zero point, and its weights are whole
numbers of 8 bits times a scale a filter: then its sums are whole, and scales, bias and the
quantisation of its result come after them. Only where the CPU multiplies bytes faster than floats;
the sums are exact, and scales are multiplied in another order than one by one.

What is quantised for a convolution lies as a map of bytes in blocked layout (kernels/quantised/),
which is read by other such layers, sums, and what makes real maps of it.
"""
from __future__ import annotations

import math

import numpy as np

from ... import _C
from ...core.backends import active
from ..activations import activation
from ..ir import Graph, Node, Value
from ..on_bytes import LEAST_BYTE, MOST_PRODUCTS, Layer, Limits, Result, Sum, as_bytes

FLOAT = np.dtype(np.float32)
BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


def run(graph: Graph) -> None:
    if fast() and any(node.op == "dequantise" for node in graph.nodes):
        OnBytes(graph).run()


def fast() -> bool:
    """Whether bytes are multiplied faster than floats."""
    return bool(_C.vnni) and active.get().name == "avx512"


def number(value: object) -> float | None:
    return float(value.reshape(())) if isinstance(value, np.ndarray) and value.size == 1 else None


def is_single(value: object) -> bool:
    return isinstance(value, (np.ndarray, Value)) and math.prod(value.shape) == 1


class OnBytes:
    """One run of the pass. maps: the values that lie as maps of bytes; rows: planar ones."""

    def __init__(self, graph: Graph):
        self.graph, self.consumers = graph, graph.consumers()
        self.maps: set[Value] = set()
        self.rows: set[Value] = set()

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if node.op in ("conv", "linear"):
                self.layer(node)
            elif node.op == "add":
                self.sum(node)
        for value in self.maps:
            for reader in self.consumers.get(value, []):
                if reader.op == "dequantise":
                    reader.op, reader.on_bytes = "map_of_bytes", Limits(0, 255)

    # ---- layers

    def layer(self, node: Node) -> None:
        x, weight, bias = node.inputs
        made_real = self.dequantised(x)
        if made_real is None or not takes(node, weight, bias):
            return
        found = as_bytes(weight)
        if found is None or not self.source(made_real.inputs[0], node.op == "conv"):
            return
        whole, scale = found
        q, by, zero = made_real.inputs
        step = number(by)
        start, shift = np.zeros(len(weight), np.int32), None
        if bias is not None and step == 1 and (scale == 1).all() and np.array_equal(bias, np.rint(bias)) and (
                np.abs(bias) < 1 << 24).all():
            start = bias.astype(np.int32)
        elif bias is not None:
            shift = bias.astype(np.float64)
        taps = whole if whole.ndim == 4 else whole.reshape(*whole.shape[:2], 1, -1)
        layer = Layer(taps, start, scale * (1.0 if step is None else step), shift, node.macs)
        self.replace_inputs(node, [q, zero, None if step is not None else by])
        node.op, node.on_bytes = f"bytes_{node.op}", layer
        self.absorb(node, layer)

    def dequantised(self, x: object) -> Node | None:
        """What makes x of bytes, by single numbers."""
        node = x.node if isinstance(x, Value) else None
        return node if node is not None and node.op == "dequantise" and self.plain(node) else None

    def plain(self, node: Node) -> bool:
        q, scale, zero = node.inputs
        z = number(zero)
        return (isinstance(q, Value) and q.dtype in BYTES and is_single(scale) and is_single(zero)
                and q.shape == node.output.shape and node.output.dtype == FLOAT
                and (z is None or z == round(z) and np.iinfo(q.dtype).min <= z <= np.iinfo(q.dtype).max)
                and (number(scale) is None or 0 < number(scale) < math.inf))

    def source(self, q: Value, as_map: bool) -> bool:
        """Whether q lies, or can lie, as a map of bytes, or else as rows of them."""
        if q in self.maps or q in self.rows:
            return (q in self.maps) == as_map
        node = q.node
        if node is None or node.op != "quantise" or not self.readable(q):
            return False
        x, scale, zero = node.inputs
        if (not isinstance(x, Value) or x.dtype != FLOAT or x.shape != q.shape or not is_single(scale)
                or not is_single(zero) or as_map and len(q.shape) not in (3, 4)
                or q.dtype == np.int8 and number(zero) is None):
            return False
        up = self.unsigned(q)
        if up:
            node.inputs[2] = np.asarray(number(zero) + up, FLOAT)
        least, most = node.attrs["least"] + up, node.attrs["most"] + up
        if as_map:
            node.op, node.on_bytes, node.attrs = "bytes_of_map", Limits(least, most), {}
            self.maps.add(q)
        else:
            node.attrs = {"dtype": np.dtype(np.uint8), "least": least, "most": most}
            self.rows.add(q)
        return True

    def readable(self, q: Value) -> bool:
        """Whether all that read q make it real, by single numbers that are known where it is signed."""
        readers = self.consumers.get(q, [])
        return (bool(readers) and q not in self.graph.outputs and q.dtype in BYTES
                and all(r.op == "dequantise" and r.inputs[0] is q and self.plain(r) for r in readers)
                and (q.dtype != np.int8 or all(number(r.inputs[2]) is not None for r in readers)))

    def unsigned(self, q: Value) -> int:
        """Makes the value one of uint8, and returns by how much it is greater then."""
        if q.dtype != np.int8:
            return 0
        q.dtype = np.dtype(np.uint8)
        for reader in self.consumers[q]:
            reader.inputs[2] = np.asarray(number(reader.inputs[2]) + LEAST_BYTE, FLOAT)
        return LEAST_BYTE

    def replace_inputs(self, node: Node, inputs: list) -> None:
        for value in node.values():
            self.consumers[value].remove(node)
        node.inputs = inputs
        for value in node.values():
            self.consumers.setdefault(value, []).append(node)

    # ---- what comes after sums

    def absorb(self, node: Node, layer: Layer) -> None:
        """Takes numbers that the result is multiplied by, and added to it, and how it is quantised."""
        while (reader := self.graph.only_consumer(node.output, self.consumers)) is not None:
            if reader.op in ("add", "mul") and reader.output.dtype == FLOAT and self.takes_numbers(node, layer, reader):
                self.graph.drop(reader, node.output, self.consumers)
                continue
            found = self.quantised(node.output)
            if found is not None and node.inputs[2] is None:
                result, through = found
                node.on_bytes = layer.kept_as(self.keep(node, result, through))
                (self.maps if node.op == "bytes_conv" else self.rows).add(node.output)
            return

    def takes_numbers(self, node: Node, layer: Layer, reader: Node) -> bool:
        other = reader.inputs[1] if reader.inputs[0] is node.output else reader.inputs[0]
        if reader.output.shape != node.output.shape or reader.attrs.get("alpha", 1) != 1:
            return False
        if isinstance(other, Value):
            if (reader.op != "mul" or node.inputs[2] is not None or layer.shift is not None
                    or other is node.output or math.prod(other.shape) != 1 or other.dtype != FLOAT):
                return False
            self.consumers.setdefault(other, []).append(node)
            node.inputs[2] = other
            nodes = self.graph.nodes   # the number may be computed after the layer was: it is now behind that
            nodes.remove(node)
            nodes.insert(nodes.index(reader), node)
            return True
        numbers = by_filter(node, other, len(layer.factor))
        if numbers is None:
            return False
        layer.times(numbers) if reader.op == "mul" else layer.plus(numbers)
        return True

    def quantised(self, value: Value) -> tuple[Result, list[Node]] | None:
        """How the value is kept as bytes, if it is by all that read it; and the nodes that do so."""
        through, low, high = [], -math.inf, math.inf
        reader = self.graph.only_consumer(value, self.consumers)
        act = None if reader is None or reader.op == "quantise" else activation(reader.row, reader.attrs)
        if act is not None and act.name == "clamp" and reader.inputs[0] is value:
            through, low, high = [reader], act.a, act.b
            reader = self.graph.only_consumer(reader.output, self.consumers)
        if reader is None or reader.op != "quantise" or reader.output.shape != value.shape:
            return None
        scale, zero = (number(v) for v in reader.inputs[1:])
        if scale is None or zero is None or not 0 < scale < math.inf or not self.readable(reader.output):
            return None
        least, most = (np.clip(v if math.isinf(v) else np.rint(np.float32(v) / np.float32(scale)) + zero,
                               reader.attrs["least"], reader.attrs["most"]) for v in (low, high))
        return Result(scale, zero, float(least), float(most)), [*through, reader]

    def keep(self, node: Node, result: Result, through: list[Node]) -> Result:
        """Has the node make the bytes that the last of the nodes made."""
        for between in through:
            self.graph.take_over(node, between, self.consumers)
        del node.outputs[:-1]
        up = self.unsigned(node.output)
        return Result(result.scale, result.zero + up, result.least + up, result.most + up)

    def sum(self, node: Node) -> None:
        a, b = (self.dequantised(v) for v in node.inputs)
        if a is None or b is None or node.attrs.get("alpha", 1) != 1 or a.inputs[0].shape != b.inputs[0].shape:
            return
        values = [made.inputs[0] for made in (a, b)]
        numbers = [number(v) for made in (a, b) for v in made.inputs[1:]]
        found = self.quantised(node.output)
        if found is None or None in numbers or not any(v in self.maps for v in values) or not all(
                self.source(v, as_map=True) for v in values):
            return
        numbers = [number(v) for made in (a, b) for v in made.inputs[1:]]   # of bytes that are unsigned now
        self.replace_inputs(node, values)
        result = self.keep(node, *found)
        node.op, node.attrs, node.on_bytes = "bytes_add", {}, Sum(*numbers, result)
        self.maps.add(node.output)


def takes(node: Node, weight: object, bias: object) -> bool:
    """Whether kernels of bytes take the layer."""
    if (not isinstance(weight, np.ndarray) or weight.dtype != FLOAT or isinstance(bias, Value)
            or node.epilogue.activation is not None or node.epilogue.residual is not None
            or node.normalised is not None or node.gate is not None or len(node.outputs) != 1
            or not weight.size or weight[0].size > MOST_PRODUCTS
            or bias is not None and not np.isfinite(bias).all()):
        return False
    if node.op == "linear":
        return weight.ndim == 2 and weight.shape[1] % 4 == 0
    return weight.ndim in (3, 4) and len(node.inputs[0].shape) == weight.ndim and node.attrs["groups"] == 1


def by_filter(node: Node, constant: object, filters: int) -> np.ndarray | None:
    """The constant as a number a filter of the layer's result; None where it is none."""
    if not isinstance(constant, np.ndarray) or not np.isfinite(constant).all():
        return None
    axes = len(node.output.shape)
    axis = 1 if node.op == "bytes_conv" else axes - 1
    shape = (1,) * (axes - constant.ndim) + constant.shape
    if len(shape) != axes or any(n != 1 for a, n in enumerate(shape) if a != axis):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (filters,))
