"""Layers, sums and maps of bytes (graph/on_bytes.py) as kernel calls."""
from __future__ import annotations

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from ..on_bytes import Layer
from .context import BLOCK, Lowering, Map, Ref, Window, blocks, four


def new_bytes(low: Lowering, value: Value) -> Ref:
    """A place for a map of bytes."""
    n, c, h, w = four(value.shape)
    image = blocks(c) * h * w * BLOCK
    ref = Ref(low.buffer(n * image, np.uint8), 0, (n, blocks(c), h, w, BLOCK), np.dtype(np.uint8), image)
    low.maps[value] = Map(ref, c)
    return ref


def single(low: Lowering, value) -> Ref | np.ndarray:
    """One number, as an array of one."""
    if isinstance(value, Value):
        return low.as_planar(value).reshaped((1,))
    return np.asarray(value, np.float32).reshape(1)


def prepared(layer: Layer, low: Lowering, node: Node) -> tuple:
    """Weights, start, sums, offset, zero point, factor."""
    filters = len(layer.weight)
    sums = layer.weight.reshape(filters, -1).sum(1, dtype=np.int32)
    whole = packing.rounded(filters)
    return (packing.bytes_filters(layer.weight), packing.padded(layer.start, 0, whole),
            packing.padded(sums, 0, whole),
            np.zeros(0, np.int32) if layer.offset is None else packing.padded(layer.offset, 0, whole),
            single(low, node.inputs[1]),
            packing.bias(layer.factor.astype(np.float32), filters))


def shift_of(layer: Layer) -> np.ndarray | None:
    return None if layer.shift is None else packing.bias(layer.shift.astype(np.float32), len(layer.weight))


def scale_of(low: Lowering, node: Node):
    return None if node.inputs[2] is None else single(low, node.inputs[2])


def conv(low: Lowering, node: Node) -> None:
    layer: Layer = node.on_bytes
    x, attrs = low.maps[node.inputs[0]], node.attrs
    missing = 2 - len(attrs["stride"])
    window = Window(layer.weight.shape[2:], (1,) * missing + tuple(attrs["stride"]),
                    (0,) * missing + tuple(attrs["padding"]), (1,) * missing + tuple(attrs["dilation"]))
    before = (x.ref, x.channels, *prepared(layer, low, node))
    how = {"node": node, "algorithm": "bytes", "flops": 2 * layer.macs}
    if layer.result is not None:
        to = layer.result
        low.add("bytes_conv", *before, shift_of(layer), window, to.zero, to.least, to.most,
                new_bytes(low, node.output), **how)
    else:
        low.add("bytes_conv_real", *before, scale_of(low, node), shift_of(layer), window,
                node.epilogue.activation or activations.NONE, low.new_map(node.output).ref, **how)


def linear(low: Lowering, node: Node) -> None:
    layer: Layer = node.on_bytes
    filters, features = layer.weight.shape[:2]
    x = low.as_planar(node.inputs[0])
    rows = node.inputs[0].size // features
    before = (x.reshaped((rows, features)), *prepared(layer, low, node))
    y = low.new_planar(node.output).reshaped((rows, filters))
    how = {"node": node, "algorithm": "bytes", "flops": 2 * layer.macs}
    if layer.result is not None:
        to = layer.result
        low.add("bytes_linear", *before, shift_of(layer), to.zero, to.least, to.most, y, **how)
    else:
        low.add("bytes_linear_real", *before, scale_of(low, node), shift_of(layer),
                node.epilogue.activation or activations.NONE, y, **how)


def bytes_of_map(low: Lowering, node: Node) -> None:
    x, scale, zero = node.inputs
    low.add("bytes_of_map", low.as_map(x).ref, single(low, scale), single(low, zero), *map(float, node.on_bytes),
            new_bytes(low, node.output), node=node, algorithm="bytes")


def bytes_blocked(low: Lowering, node: Node) -> None:
    x = node.inputs[0]
    low.add("bytes_blocked", low.as_planar(x).reshaped(four(x.shape)), new_bytes(low, node.output), node=node,
            algorithm="layout")


def map_of_bytes(low: Lowering, node: Node) -> None:
    q, scale, zero = node.inputs
    low.add("map_of_bytes", low.maps[q].ref, single(low, scale), single(low, zero),
            low.new_map(node.output).ref, node=node, algorithm="bytes")


def extremes_of_map(low: Lowering, node: Node) -> None:
    x = low.as_map(node.inputs[0])
    least, most = (low.new_planar(v).reshaped((1,)) for v in node.outputs)
    low.add("extremes_of_map", x.ref, x.channels, least, most, node=node, algorithm="bytes")


def bytes_table(low: Lowering, node: Node) -> None:
    low.add("bytes_table", low.maps[node.inputs[0]].ref, node.on_bytes.of, new_bytes(low, node.output), node=node,
            algorithm="bytes")


def map_by_table(low: Lowering, node: Node) -> None:
    low.add("map_by_table", low.maps[node.inputs[0]].ref, node.on_bytes.of, low.new_map(node.output).ref, node=node,
            algorithm="bytes")


def add(low: Lowering, node: Node) -> None:
    a, b = (low.maps[v].ref for v in node.inputs)
    of = node.on_bytes
    low.add("bytes_add", a, of.scale_a, of.zero_a, b, of.scale_b, of.zero_b, *of.result,
            new_bytes(low, node.output), node=node, algorithm="bytes")


RULES = {"bytes_conv": conv, "bytes_linear": linear, "bytes_add": add, "bytes_table": bytes_table,
         "bytes_of_map": bytes_of_map, "bytes_blocked": bytes_blocked, "map_of_bytes": map_of_bytes,
         "map_by_table": map_by_table, "extremes_of_map": extremes_of_map}
