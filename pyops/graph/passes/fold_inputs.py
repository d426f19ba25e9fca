"""Scales and shifts of a convolution's or linear layer's input, numbers or one a channel, go into
its weights.

conv(x s + t, w) = conv(x, w s) + sum of w t, where no window meets padding: zeros there are no
x s + t. With padding a shift stays in front, as that of x s + t = (x + t / s) s. Computed in float64.
"""
from __future__ import annotations

import numpy as np

from .. import packing
from ..ir import Graph, Node, Value
from ..whole import from_whole_numbers


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for layer in list(graph.nodes):
        if not is_layer(layer):
            continue
        while (found := before(graph, layer, consumers)) is not None and packing.finite(layer.inputs[1]):
            node, x, numbers = found
            if node.op == "mul":
                scale(layer, numbers)
            elif padded(layer):
                shift_unscaled(graph, layer, node, consumers)
                break
            else:
                shift(layer, numbers)
            graph.drop(node, x, consumers)


def is_layer(node: Node) -> bool:
    if node.op not in ("conv", "linear") or not isinstance(node.inputs[0], Value):
        return False
    x, weight, bias = node.inputs
    return (isinstance(weight, np.ndarray) and weight.dtype == np.float32 and not isinstance(bias, Value)
            and weight.ndim == (2 if node.op == "linear" else len(x.shape)) and node.normalised is None)


def before(graph: Graph, layer: Node, consumers) -> tuple[Node, Value, np.ndarray] | None:
    """The sum or product with constants that only this layer reads, what it is of, and its numbers, one
    for each of the layer's channels; None where there is none."""
    node = layer.inputs[0].node
    if (node is None or node.op not in ("add", "mul") or graph.only_consumer(layer.inputs[0], consumers) is not layer
            or node.attrs.get("alpha", 1) != 1):
        return None
    values = [v for v in node.inputs if isinstance(v, Value)]
    if len(values) != 1 or values[0].shape != node.output.shape or from_whole_numbers(values[0]):
        return None
    constant = node.inputs[1 if node.inputs[0] is values[0] else 0]
    axes = len(node.output.shape)
    axis = axes - 1 if layer.op == "linear" else 1
    shape = (1,) * (axes - constant.ndim) + constant.shape
    if any(n != 1 for a, n in enumerate(shape) if a != axis) or not np.isfinite(constant).all():
        return None
    channels = layer.inputs[1].shape[1] * layer.attrs.get("groups", 1)
    return node, values[0], np.broadcast_to(constant.reshape(-1).astype(np.float64), (channels,))


def by_filter(layer: Node, numbers: np.ndarray) -> np.ndarray:
    """Numbers of channels so that they broadcast to the weights, whose groups see their own."""
    weight = layer.inputs[1]
    groups = layer.attrs.get("groups", 1)
    each = numbers.reshape(groups, weight.shape[1]).repeat(weight.shape[0] // groups, 0)
    return each.reshape(*each.shape, *[1] * (weight.ndim - 2))


def scale(layer: Node, numbers: np.ndarray) -> None:
    x, weight, bias = layer.inputs
    layer.inputs = [x, (weight * by_filter(layer, numbers)).astype(weight.dtype), bias]


def shift(layer: Node, numbers: np.ndarray) -> None:
    x, weight, bias = layer.inputs
    added = (weight * by_filter(layer, numbers)).sum(tuple(range(1, weight.ndim)))
    layer.inputs = [x, weight, (added if bias is None else bias + added).astype(weight.dtype)]


def padded(layer: Node) -> bool:
    """Whether windows reach beyond the image."""
    if layer.op == "linear":
        return False
    a, kernel = layer.attrs, layer.inputs[1].shape[2:]
    return any(a["padding"]) or any(
        (out - 1) * s + d * (k - 1) + 1 > n for out, s, d, k, n in zip(
            a["size"], a["stride"], a["dilation"], kernel, layer.inputs[0].shape[2:]))


def shift_unscaled(graph: Graph, layer: Node, add: Node, consumers) -> None:
    """x s + t in front of the layer becomes x + t / s, and s the weights'."""
    inner = next(v for v in add.inputs if isinstance(v, Value)).node
    if inner is None or inner.op != "mul" or graph.only_consumer(inner.output, consumers) is not add:
        return
    values = [v for v in inner.inputs if isinstance(v, Value)]
    factor = next((v for v in inner.inputs if isinstance(v, np.ndarray)), None)
    if len(values) != 1 or factor is None or factor.size != 1 or values[0].shape != inner.output.shape:
        return
    s = float(factor.reshape(()))
    t = next(v for v in add.inputs if isinstance(v, np.ndarray))
    apart = np.asarray(t.astype(np.float64) / s) if s and np.isfinite(s) else None
    if apart is None or np.abs(apart).max(initial=0) > 1e3:   # digits of x would be lost
        return
    add.inputs = [inner.output, apart.astype(np.float32)]
    graph.drop(inner, values[0], consumers)
    channels = layer.inputs[1].shape[1] * layer.attrs["groups"]
    scale(layer, np.full(channels, s))
