"""Convolutions and linear layers of quantised inputs and weights are computed on bytes.

A layer reads what was made real from bytes, by one scale and zero point, and its weights are whole
numbers of 8 bits times a scale a filter: then its sums are whole, and scales, bias and the
quantisation of its result come after them. Only where the CPU multiplies bytes faster than floats;
the sums are exact, and scales are multiplied in another order than one by one.

What is quantised for a convolution lies as a map of bytes in blocked layout (kernels/quantised/),
which is read by other such layers and sums; bytes_maps.py has what else reads it.
"""
from __future__ import annotations

import math

import numpy as np

from ... import _C
from ...core.backends import active
from ..activations import activation
from ..ir import Graph, Node, Value
from ..on_bytes import (
    LEAST_BYTE,
    MOST_OF_OFFSET,
    MOST_PRODUCTS,
    Layer,
    Limits,
    Result,
    Sum,
    Weights,
    as_bytes,
)

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
        self.packed: dict[Value, Value] = {}   # planar bytes, and the maps that they are copied to

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if node.op in ("conv", "linear"):
                self.layer(node)
            elif node.op == "add":
                self.sum(node)
            elif node.op == "cast":
                self.joined(node)

    # ---- layers

    def layer(self, node: Node) -> None:
        found = self.offer(node, *node.inputs)
        if found is not None:
            self.compute(node, found)

    def offer(self, node: Node, x: object, weight: object, bias: object) -> Weights | None:
        """What the weights are made of, if kernels take the layer with these inputs."""
        made_real = self.dequantised(x)
        if made_real is None or not takes(node, x, weight, bias):
            return None
        found = as_bytes(weight)
        if found is None or found.offset is not None and weight[0].size > MOST_OF_OFFSET:
            return None
        q, as_map = made_real.inputs[0], node.op == "conv"
        return found if self.can_lie(q, as_map) or as_map and self.can_be_packed(made_real) else None

    def compute(self, node: Node, found: Weights) -> None:
        """Makes the layer one on bytes."""
        x, weight, bias = node.inputs
        made_real = x.node
        q, by, zero = made_real.inputs
        if self.can_lie(q, node.op == "conv"):
            self.lay(q, node.op == "conv")
            q, by, zero = made_real.inputs   # of bytes that are unsigned now
        else:
            q, zero = self.pack(node, q, zero)
        step = number(by)
        start, shift = np.zeros(len(weight), np.int32), None
        if bias is not None and step == 1 and (found.scale == 1).all() and is_whole(bias):
            start = bias.astype(np.int32)
        elif bias is not None:
            shift = bias.astype(np.float64)
        taps = found.whole if weight.ndim == 4 else found.whole.reshape(*weight.shape[:2], 1, -1)
        layer = Layer(taps, found.offset, start, found.scale * (1.0 if step is None else step), shift, node.macs)
        self.replace_inputs(node, [q, zero, None if step is not None else by])
        node.op, node.on_bytes = f"bytes_{node.op}", layer
        self.absorb(node, layer)

    def joined(self, node: Node) -> None:
        """Parts of a sum, each exact in float32, and joined as int32, are one layer on bytes: node makes
        floats of parts(x[:, :k], w[:, :k]) + parts(x[:, k:], w[:, k:]) and a constant."""
        total = node.inputs[0]
        if not isinstance(total, Value) or total.dtype != np.int32 or node.output.dtype != FLOAT:
            return
        parts, constant = summands(total)
        if len(parts) < 2 or any(layer.inputs[2] is not None or not isinstance(layer.inputs[1], np.ndarray)
                                 for layer in parts):
            return
        first, axis = parts[0], 1 if parts[0].op == "conv" else -1
        whole = one_after_the_other([layer.inputs[0] for layer in parts], axis)
        if whole is None or any((layer.op, layer.attrs) != (first.op, first.attrs) for layer in parts):
            return
        bias = constant if constant is None else per_filter(first, constant, len(first.inputs[1]))
        if constant is not None and (bias is None or not is_whole(bias)):
            return
        inputs = [whole, np.concatenate([layer.inputs[1] for layer in parts], 1),
                  None if bias is None else bias.astype(np.float32)]
        found = self.offer(first, *inputs)
        if found is None:   # else the sums in float32 would not be exact
            return
        self.replace_inputs(first, inputs)
        self.consumers.pop(first.output)
        self.graph.drop(node, first.output, self.consumers)
        self.compute(first, found)

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

    def can_lie(self, q: Value, as_map: bool) -> bool:
        """Whether q lies, or can lie, as a map of bytes, or else as rows of them."""
        if q in self.maps or q in self.rows:
            return (q in self.maps) == as_map
        node = q.node
        if node is None or node.op != "quantise" or not self.readable(q):
            return False
        x, scale, zero = node.inputs
        return (isinstance(x, Value) and x.dtype == FLOAT and x.shape == q.shape and is_single(scale)
                and is_single(zero) and not (as_map and len(q.shape) not in (3, 4))
                and not (q.dtype == np.int8 and number(zero) is None))

    def lay(self, q: Value, as_map: bool) -> None:
        """Has q, which can, lie so."""
        if q in self.maps or q in self.rows:
            return
        node = q.node
        up = self.unsigned(q)
        if up:
            node.inputs[2] = np.asarray(number(node.inputs[2]) + up, FLOAT)
        least, most = node.attrs["least"] + up, node.attrs["most"] + up
        if as_map:
            node.op, node.on_bytes, node.attrs = "bytes_of_map", Limits(least, most), {}
            self.maps.add(q)
        else:
            node.attrs = {"dtype": np.dtype(np.uint8), "least": least, "most": most}
            self.rows.add(q)

    def can_be_packed(self, made_real: Node) -> bool:
        """Whether its bytes, whoever makes them and reads them, can be copied to a map."""
        q, _, zero = made_real.inputs
        return (q not in self.maps and len(q.shape) in (3, 4) and bool(q.size)
                and (q.dtype != np.int8 or number(zero) is not None))

    def pack(self, layer: Node, q: Value, zero) -> tuple[Value, object]:
        """A map of planar bytes, made before the layer that asks first, and its zero point."""
        if q not in self.packed:
            node = Node("bytes_blocked", [q], {}, [], layer.where, layer.module, on_bytes=Limits(0, 255))
            node.outputs.append(Value(q.shape, np.dtype(np.uint8), node, q.name))
            self.graph.nodes.insert(self.graph.nodes.index(layer), node)
            self.consumers.setdefault(q, []).append(node)
            self.packed[q] = node.output
            self.maps.add(node.output)
        up = LEAST_BYTE if q.dtype == np.int8 else 0
        return self.packed[q], np.asarray(number(zero) + up, FLOAT) if up else zero

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
            if reader.op == "cast" and self.takes_whole_numbers(node, layer, reader):
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
        numbers = per_filter(node, other, len(layer.factor))
        if numbers is None:
            return False
        layer.times(numbers) if reader.op == "mul" else layer.plus(numbers)
        return True

    def takes_whole_numbers(self, node: Node, layer: Layer, cast: Node) -> bool:
        """Sums made int32, added to a constant, and made floats again."""
        add = self.graph.only_consumer(cast.output, self.consumers)
        back = None if add is None else self.graph.only_consumer(add.output, self.consumers)
        if (add is None or back is None or cast.output.dtype != np.int32 or add.op != "whole_add"
                or add.attrs.get("alpha", 1) != 1 or back.op != "cast" or back.output.dtype != FLOAT
                or layer.shift is not None or node.inputs[2] is not None or not (layer.factor == 1).all()):
            return False
        constant = next((v for v in add.inputs if isinstance(v, np.ndarray)), None)
        numbers = None if constant is None else per_filter(node, constant, len(layer.factor))
        if numbers is None or not is_whole(numbers):
            return False
        layer.start = layer.start + numbers.astype(np.int32)
        for each in (cast, add, back):
            self.graph.drop(each, node.output, self.consumers)
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
                self.can_lie(v, as_map=True) for v in values):
            return
        for v in values:
            self.lay(v, as_map=True)
        numbers = [number(v) for made in (a, b) for v in made.inputs[1:]]   # of bytes that are unsigned now
        self.replace_inputs(node, values)
        result = self.keep(node, *found)
        node.op, node.attrs, node.on_bytes = "bytes_add", {}, Sum(*numbers, result)
        self.maps.add(node.output)


def summands(total: Value) -> tuple[list[Node], np.ndarray | None]:
    """The layers whose results, made int32, are summed, and the constant that is added; no layers where
    it is another sum."""
    node, constant = total.node, None
    if node is not None and node.op == "whole_add" and node.attrs.get("alpha", 1) == 1:
        constants = [v for v in node.inputs if isinstance(v, np.ndarray)]
        if constants:
            constant, node = constants[0], next(v for v in node.inputs if isinstance(v, Value)).node
    found: list[Node] = []
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node is not None and node.op == "whole_add" and node.attrs.get("alpha", 1) == 1:
            waiting += [v.node if isinstance(v, Value) else None for v in reversed(node.inputs)]
        elif node is not None and node.op == "cast" and node.output.dtype == np.int32 and isinstance(
                node.inputs[0], Value) and node.inputs[0].node is not None and node.inputs[0].node.op in (
                "conv", "linear"):
            found.append(node.inputs[0].node)
        else:
            return [], None
    return found, constant


def one_after_the_other(parts: list, axis: int) -> Value | None:
    """The value that slices along an axis, in order, make up."""
    whole, place = None, 0
    for part in parts:
        node = part.node if isinstance(part, Value) else None
        if node is None or node.op != "getitem" or whole not in (None, node.inputs[0]):
            return None
        whole = node.inputs[0]
        index = node.attrs["index"]
        if not isinstance(index, tuple) or len(index) != len(whole.shape):
            return None
        own = index[axis]
        if any(part != slice(None) for at, part in enumerate(index) if at != axis % len(index)) or not (
                isinstance(own, slice) and own.step in (None, 1) and own.start == place):
            return None
        place = own.stop
    return whole if whole is not None and place == whole.shape[axis] else None


def is_whole(numbers: np.ndarray) -> bool:
    """Whether they are whole numbers that float32 holds."""
    return bool(np.array_equal(numbers, np.rint(numbers)) and (np.abs(numbers) < 1 << 24).all())


def takes(node: Node, x: Value, weight: object, bias: object) -> bool:
    """Whether kernels of bytes take the layer."""
    if (not isinstance(weight, np.ndarray) or weight.dtype != FLOAT or isinstance(bias, Value)
            or node.epilogue.activation is not None or node.epilogue.residual is not None
            or node.normalised is not None or node.gate is not None or len(node.outputs) != 1
            or not weight.size or weight[0].size > MOST_PRODUCTS
            or bias is not None and not np.isfinite(bias).all()):
        return False
    if node.op == "linear":
        return weight.ndim == 2 and weight.shape[1] % 4 == 0
    return weight.ndim in (3, 4) and len(x.shape) == weight.ndim and node.attrs["groups"] == 1


def per_filter(node: Node, constant: object, filters: int) -> np.ndarray | None:
    """The constant as a number a filter of the layer's result; None where it is none."""
    if not isinstance(constant, np.ndarray) or not np.isfinite(constant).all():
        return None
    axes = len(node.output.shape)
    axis = 1 if node.op.endswith("conv") else axes - 1
    shape = (1,) * (axes - constant.ndim) + constant.shape
    if len(shape) != axes or any(n != 1 for a, n in enumerate(shape) if a != axis):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (filters,))
