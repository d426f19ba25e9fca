"""Sums and products with constants for each channel, behind a convolution or linear layer of
constant weights, go into its bias and weights."""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value
from ..whole import from_whole_numbers, whole_numbers
from .fold_batch_norm import scaled


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if node.op not in ("add", "mul") or node.output.dtype != np.float32:
            continue
        at = next((i for i, v in enumerate(node.inputs) if isinstance(v, Value)), None)
        constant = node.inputs[1 - at] if at is not None else None
        layer = node.inputs[at].node if at is not None else None
        if layer is None or not isinstance(constant, np.ndarray) or graph.only_consumer(
                node.inputs[at], consumers) is not node:
            continue
        numbers = by_channel(layer, node, constant)
        if numbers is None or (node.op == "add" and node.attrs.get("alpha", 1) != 1):
            continue
        x, weight, bias = layer.inputs
        bias = 0.0 if bias is None else bias.astype(np.float64)
        if node.op == "add":
            layer.inputs[2] = (bias + numbers).astype(np.float32)
        else:   # in float64, as batch norms are folded
            shape = tuple(-1 if axis == layer.row.filter_axis else 1 for axis in range(weight.ndim))
            layer.inputs[1] = scaled(weight, numbers.reshape(shape).shape, np.ascontiguousarray(numbers).tobytes())
            layer.inputs[2] = None if layer.inputs[2] is None else (bias * numbers).astype(np.float32)
        graph.drop(node, layer.output, consumers)


def by_channel(layer: Node, node: Node, constant: np.ndarray) -> np.ndarray | None:
    """The constant as a number for each filter of the layer, in float64; None where it is none, or
    the layer does not take it."""
    fused = layer.epilogue.activation is not None or layer.epilogue.residual is not None
    if (layer.op not in ("conv", "conv_transpose", "linear") or fused or len(layer.outputs) != 1
            or node.output.shape != layer.output.shape):
        return None
    _, weight, bias = layer.inputs
    if not isinstance(weight, np.ndarray) or isinstance(bias, Value) or weight.dtype != np.float32:
        return None
    if layer.op == "conv_transpose" and layer.attrs["groups"] != 1:
        return None
    if node.op == "mul" and from_whole_numbers(layer.inputs[0]) and whole_numbers(weight):
        return None   # sums of whole numbers, which a scale would make sums of others
    axes = len(layer.output.shape)
    axis = axes - 1 if layer.op == "linear" else axes - (weight.ndim - 2) - 1
    shape = (1,) * (axes - constant.ndim) + constant.shape
    if any(n != 1 for a, n in enumerate(shape) if a != axis) or not np.all(np.isfinite(constant)):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), (weight.shape[layer.row.filter_axis],))
