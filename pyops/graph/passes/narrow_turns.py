"""Between tokens and an image the narrower side of a linear layer is laid out anew: a layer that widens
tokens on their way to an image is a 1x1 convolution of the image that its input makes, and one that
narrows an image's channels as tokens is a 1x1 convolution of that image.

PVT v2 (Wang et al. 2022) and SegFormer (Xie et al. 2021) have a depthwise convolution between two linear
layers so, and moved their widest maps twice a block.
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value
from .channels_first import by_channel, by_rows, closes, opens
from .turn_tokens import TO_FIRST, TO_LAST, made


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += widened(node, graph, consumers) or narrowed(node, graph, consumers) or [node]
    graph.nodes[:] = nodes


def widened(node: Node, graph: Graph, consumers) -> list[Node] | None:
    """What makes the same as `node`, a permutation to channels first, with a linear layer behind it."""
    if not closes(node):
        return None
    found = before(node.inputs[0], graph, consumers, is_layer)
    if found is None:
        return None
    layer, pointwise = found
    out_features, in_features = layer.inputs[1].shape
    if in_features >= out_features:
        return None
    n, h, w, _ = node.inputs[0].shape
    image = made("reshape", layer.inputs[0], {"shape": (n, h, w, in_features)}, (n, h, w, in_features), layer)
    first = made("permute", image.output, {"dims": TO_FIRST}, (n, in_features, h, w), layer)
    conv = convolution(layer, first.output)
    return ending([image, first, conv, *repeated(pointwise, conv.output)], node.output)


def narrowed(node: Node, graph: Graph, consumers) -> list[Node] | None:
    """What makes the same as `node`, a linear layer, in front of a permutation to channels last."""
    if not is_layer(node) or node.output.dtype != np.float32:
        return None
    found = before(node.inputs[0], graph, consumers, opens)
    if found is None:
        return None
    last, pointwise = found
    out_features, in_features = node.inputs[1].shape
    if out_features >= in_features:
        return None
    there = repeated(pointwise, last.inputs[0])
    conv = convolution(node, there[-1].output if there else last.inputs[0])
    n, c, h, w = conv.output.shape
    back = made("permute", conv.output, {"dims": TO_LAST}, (n, h, w, c), node)
    tokens = made("reshape", back.output, {"shape": node.output.shape}, node.output.shape, node)
    return ending([*there, conv, back, tokens], node.output)


def before(value: Value, graph: Graph, consumers, wanted) -> tuple[Node, list[Node]] | None:
    """The node that `wanted` is true of and that `value` comes from, by views between tokens and images and
    by activations and the like, which are returned too; nothing else reads what lies between."""
    pointwise: list[Node] = []
    while (node := value.node) is not None and graph.only_consumer(value, consumers) is not None:
        if wanted(node):
            return node, pointwise[::-1]
        if is_pointwise(node):
            pointwise.append(node)
        elif not is_view(node):
            return None
        value = next(iter(node.values()))
    return None


def is_layer(node: Node) -> bool:
    if node.op != "linear" or node.bodies or node.short is not None:
        return False
    x, weight, bias = node.inputs
    return (isinstance(x, Value) and x.ndim in (3, 4) and isinstance(weight, np.ndarray) and weight.ndim == 2
            and not isinstance(bias, Value))


def is_view(node: Node) -> bool:
    """Of tokens (n, h w, c) as an image (n, h, w, c), or back."""
    if node.op != "reshape" or not isinstance(node.inputs[0], Value):
        return False
    a, b = node.inputs[0].shape, node.output.shape
    return {len(a), len(b)} <= {3, 4} and a[0] == b[0] and a[-1] == b[-1]


def is_pointwise(node: Node) -> bool:
    """Of one value, with numbers of the channels at most."""
    values = list(node.values())
    return (node.short is None and not node.bodies and node.row.pointwise and len(node.outputs) == 1
            and len(values) == 1 and values[0].shape == node.output.shape and node.output.dtype == np.float32
            and all(by_channel(v) for v in node.inputs if isinstance(v, np.ndarray)))


def convolution(layer: Node, x: Value) -> Node:
    """The linear layer for an image with channels first."""
    _, weight, bias = layer.inputs
    n, _, h, w = x.shape
    conv = made("conv", x, {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "size": (h, w)},
                (n, len(weight), h, w), layer)
    conv.inputs = [x, weight[:, :, None, None], bias]
    return conv


def repeated(nodes: list[Node], x: Value) -> list[Node]:
    """The same on an image with channels first."""
    there = []
    for node in nodes:
        new = made(node.op, x, node.attrs, x.shape, node)
        new.inputs = [x if isinstance(v, Value) else by_rows(v) for v in node.inputs]
        there.append(new)
        x = new.output
    return there


def ending(nodes: list[Node], output: Value) -> list[Node]:
    """`nodes`, the last of which makes `output`."""
    nodes[-1].outputs = [output]
    output.node = nodes[-1]
    return nodes
