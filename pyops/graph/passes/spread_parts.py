"""A 1x1 convolution of parts put together along their channels, one of which is the same at all pixels,
computes that part at one pixel: conv(cat(x, spread(g)), w) = conv(x, w of x) + conv(g, w of g).

Networks that tell each pixel or point about the whole have such parts (PointNet, arXiv 1612.00593; the
pooled branch of DeepLab, arXiv 1706.05587).
"""
from __future__ import annotations

import numpy as np

from ...ops.interpolate import tables
from ..ir import Graph, Node, Value

FEWEST = 32   # channels of such a part: the sum passes over the whole result


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    nodes: list[Node] = []
    for node in graph.nodes:
        cat = joined(graph, node, consumers)
        found = None if cat is None else next(((i, source_of(v)) for i, v in enumerate(cat.inputs)
                                               if source_of(v) is not None), None)
        if cat is None or found is None or len(cat.inputs) == 1:
            nodes.append(node)
        else:
            nodes += apart(node, cat, *found)
    if len(nodes) > len(graph.nodes):
        graph.nodes[:] = nodes


def joined(graph: Graph, conv: Node, consumers) -> Node | None:
    """What puts together the image that a 1x1 convolution of constant weights, and nobody else, reads."""
    if conv.op != "conv" or not isinstance(conv.inputs[0], Value) or not isinstance(conv.inputs[1], np.ndarray):
        return None
    x, weight, _ = conv.inputs
    cat, axes = x.node, x.ndim
    if (cat is None or cat.op != "cat" or cat.attrs["dim"] not in (1, 1 - axes) or weight.ndim != axes
            or weight[0, 0].size != 1 or any(conv.attrs["padding"]) or conv.attrs["groups"] != 1
            or graph.only_consumer(x, consumers) is not conv):
        return None
    known = all(isinstance(v, Value) and type(v.shape[1]) is int and v.dtype == weight.dtype for v in cat.inputs)
    return cat if known else None


def source_of(value: Value) -> Value | None:
    """The image of one pixel that is spread over this one; None if it is no such image."""
    node = value.node
    if node is None or node.op not in ("broadcast_to", "resample") or not isinstance(node.inputs[0], Value):
        return None
    source = node.inputs[0]
    if (source.ndim != value.ndim or source.shape[:2] != value.shape[:2] or value.shape[1] < FEWEST
            or any(type(n) is not int or n != 1 for n in source.shape[2:]) or value.shape[2:] == source.shape[2:]):
        return None
    return source if node.op == "broadcast_to" or is_spreading(node) else None


def is_spreading(resample: Node) -> bool:
    """Whether each output is the one pixel, times weights whose sum is 1."""
    if resample.attrs["transpose"] or not all(type(n) is int for n in resample.output.shape):
        return False
    weights = [tables(spec, False, np.dtype(np.float64))[1] for spec in resample.attrs["specs"] if spec is not None]
    return all(bool((np.abs(each.sum(0) - 1) < 1e-9).all()) for each in weights)


def apart(conv: Node, cat: Node, index: int, source: Value) -> list[Node]:
    """The nodes in the convolution's place."""
    x, weight, bias = conv.inputs
    first = sum(v.shape[1] for v in cat.inputs[:index])
    behind = first + source.shape[1]
    axes = x.ndim - 2
    whole = conv.output

    def made(op: str, inputs: list, attrs: dict, shape: tuple) -> Node:
        node = Node(op, inputs, attrs, [], conv.where, conv.module)
        node.outputs.append(Value(shape, whole.dtype, node, whole.name))
        return node
    others = [v for i, v in enumerate(cat.inputs) if i != index]
    before = []
    rest = others[0]
    if len(others) > 1:
        before.append(made("cat", others, cat.attrs, (x.shape[0], x.shape[1] - source.shape[1], *x.shape[2:])))
        rest = before[0].output
    one = made("conv", [source, np.ascontiguousarray(weight[:, first:behind]), None],
               {**conv.attrs, "stride": (1,) * axes, "size": (1,) * axes}, (*whole.shape[:2], *(1,) * axes))
    rest_of_weight = np.ascontiguousarray(np.concatenate([weight[:, :first], weight[:, behind:]], 1))
    all_pixels = made("conv", [rest, rest_of_weight, bias], conv.attrs, whole.shape)
    add = Node("add", [all_pixels.output, one.output], {"alpha": 1.0}, [whole], conv.where, conv.module)
    whole.node = add
    return [*before, one, all_pixels, add]
