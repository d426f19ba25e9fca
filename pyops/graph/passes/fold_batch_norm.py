"""Folds a batch norm in evaluation into the convolution or linear layer before it.
y = (conv(x, w) + b - mean) s + shift with s = weight / sqrt(var + eps), so w' = w s and b' = (b -
mean) s + shift, computed in float64.
"""
from __future__ import annotations

import math

import numpy as np

from ...core import memory
from ...core.backends import active
from ...files.pieces import fetch
from ..ir import Graph, Node, Value
from ..packing import as_bytes, turned
from ..shared import once

ROWS = 1 << 16   # weights that are scaled at a time


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if node.op != "batch_norm" or not isinstance(node.inputs[0], Value):
            continue
        producer = node.inputs[0].node
        layer = layer_of_rows(graph, node, consumers)
        if layer is not None and constant(node):
            fold(layer, *scale_and_shift(node))
            graph.drop(node, node.inputs[0], consumers)
        elif producer is not None and foldable(producer) and graph.only_consumer(
                node.inputs[0], consumers) is node and constant(node):
            fold(producer, *scale_and_shift(node))
            graph.drop(node, producer.output, consumers)


def constant(node: Node) -> bool:
    return all(v is None or isinstance(v, np.ndarray) for v in node.inputs[1:])


def foldable(node: Node) -> bool:
    return (node.row.filter_axis is not None and constant(node) and len(node.inputs) == 3
            and not (node.op == "conv_transpose" and node.attrs["groups"] > 1)
            and not (node.op == "linear" and len(node.output.shape) != 2))


def layer_of_rows(graph: Graph, node: Node, consumers) -> Node | None:
    """The linear layer of more axes whose rows, put into a matrix, are normalised."""
    rows = node.inputs[0]
    view = rows.node
    if (view is None or view.op != "reshape" or len(rows.shape) != 2 or not isinstance(view.inputs[0], Value)
            or graph.only_consumer(rows, consumers) is not node
            or graph.only_consumer(view.inputs[0], consumers) is not view):
        return None
    layer = view.inputs[0].node
    if layer is None or layer.op != "linear" or not constant(layer) or layer.output.shape[-1] != rows.shape[1]:
        return None
    return layer if layer.inputs[1].ndim == 2 and layer.inputs[1].shape[0] == rows.shape[1] else None


def scale_and_shift(node: Node) -> tuple[np.ndarray, np.ndarray]:
    """A batch norm in evaluation is y = x scale + shift per channel; both in float64."""
    _, mean, var, weight, bias = (None if v is None else v.astype(np.float64) if isinstance(v, np.ndarray)
                                  else v for v in node.inputs)
    scale = 1 / np.sqrt(var + node.attrs["eps"]) * (1 if weight is None else weight)
    return scale, (0 if bias is None else bias) - mean * scale


def fold(producer: Node, scale: np.ndarray, shift: np.ndarray) -> None:
    x, weight, bias = producer.inputs
    shape = [1] * weight.ndim
    axis = producer.row.filter_axis
    shape[axis] = -1
    if weight.shape[axis] != scale.size:   # a linear layer's batch norm over another axis
        return
    offset = shift if bias is None else bias * scale + shift
    producer.inputs = [x, scaled(weight, tuple(shape), scale.tobytes()), offset.astype(weight.dtype)]


@once
def scaled(weight: np.ndarray, shape: tuple[int, ...], scale: bytes) -> np.ndarray:
    """The weights times float64 numbers of a shape that broadcasts; they lie as the weights do."""
    numbers = np.frombuffer(scale).reshape(shape)
    if turned(weight):
        weight, numbers = weight.T, numbers.T
        return multiplied(weight, numbers, memory.at_hand(weight.shape, weight.dtype)).T
    return multiplied(weight, numbers, memory.at_hand(weight.shape, weight.dtype))


def multiplied(weight: np.ndarray, numbers: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The product, in `made`, some rows at a time: no float64 copy of all is made."""
    axis = int(np.argmax(numbers.shape))
    if (weight.dtype == made.dtype == np.float32 and weight.flags.c_contiguous and made.flags.c_contiguous
            and weight.size and numbers.size == weight.shape[axis]):
        fetch(weight)
        active.get().f32.scale_weights(as_bytes(weight), np.ascontiguousarray(numbers, np.float64).reshape(-1),
                                       math.prod(weight.shape[axis + 1:]), as_bytes(made))
        return made
    factors = np.broadcast_to(numbers, weight.shape)
    step = max(1, ROWS // max(1, weight[:1].size))
    for first in range(0, len(weight), step):
        rows = slice(first, first + step)
        np.multiply(weight[rows], factors[rows], out=made[rows], casting="same_kind", dtype=np.float64)
    return made
