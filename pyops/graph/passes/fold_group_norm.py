"""A group norm that is spelled out, as exporters without the operator do it, becomes the row.

Groups as the channels of a reshaped image, each normalised alone, and the image's shape again, is a
norm of the image's groups; products and sums with numbers a channel behind it are its weight and bias.
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if node.op != "group_norm" or node.output.dtype != np.float32 or not constant(graph, node, consumers):
            continue
        unfold(graph, node, consumers)
        while (after := graph.only_consumer(node.output, consumers)) is not None and takes(node, after):
            graph.drop(after, node.output, consumers)


def constant(graph: Graph, node: Node, consumers) -> bool:
    """Whether its weights are, and nothing reads its statistics."""
    return (isinstance(node.inputs[0], Value) and not any(isinstance(v, Value) for v in node.inputs[1:])
            and not any(v in consumers or v in graph.outputs for v in node.outputs[1:]))


def unfold(graph: Graph, node: Node, consumers) -> None:
    """The reshapes in front of the norm and behind it go, where its channels are groups of an image's."""
    folded = node.inputs[0]
    before, after = folded.node, graph.only_consumer(node.output, consumers)
    if (before is None or before.op != "reshape" or not isinstance(before.inputs[0], Value) or after is None
            or after.op != "reshape"):
        return
    x, groups = before.inputs[0], folded.shape[1]
    if (len(x.shape) < 3 or after.output.shape != x.shape or folded.shape[0] != x.shape[0]
            or groups != node.attrs["groups"] or x.shape[1] % groups):
        return
    each = x.shape[1] // groups
    consumers[folded].remove(node)
    consumers[x].append(node)
    weight, bias = (None if v is None else np.repeat(v, each) for v in node.inputs[1:])
    node.inputs = [x, weight, bias]
    old = node.outputs[0]
    node.outputs[0] = Value(x.shape, old.dtype, node, old.name)
    consumers[node.output] = consumers.pop(old)
    after.inputs = [node.output]
    graph.drop(after, node.output, consumers)


def takes(norm: Node, after: Node) -> bool:
    """Whether the norm does what the node after it does: then it has the numbers already."""
    if after.op not in ("mul", "add") or after.attrs.get("alpha", 1) != 1 or after.output.shape != norm.output.shape:
        return False
    numbers = next((v for v in after.inputs if isinstance(v, np.ndarray)), None)
    axes, channels = len(norm.output.shape), norm.output.shape[1]
    if numbers is None or numbers.ndim > axes or numbers.dtype != np.float32:
        return False
    shape = (1,) * (axes - numbers.ndim) + numbers.shape
    if any(n != 1 for axis, n in enumerate(shape) if axis != 1):
        return False
    numbers = np.broadcast_to(numbers.reshape(-1).astype(np.float64), (channels,))
    x, weight, bias = norm.inputs
    if after.op == "mul":
        weight = numbers if weight is None else weight * numbers
        bias = None if bias is None else bias * numbers
    else:
        bias = numbers if bias is None else bias + numbers
    norm.inputs = [x, *(None if v is None else v.astype(np.float32) for v in (weight, bias))]
    return True
