"""Layers between a permutation that puts an image's channels last and the one that puts them first
again are computed with channels first: a linear layer becomes a 1x1 convolution, and what works value
by value stays what it is. A norm over the channels keeps its permutations, which cost nothing in
blocked layout (lowering/norms.py).

Only what lies wholly between such permutations is turned: everything that reads a value in there is
in there, too, or is the permutation back, or the mean over the image.
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value
from .turn_tokens import TO_FIRST, TO_LAST, made


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    inside = between(graph, consumers)
    if not inside:
        return
    first: dict[Value, Value] = {}   # an image whose channels come last, and the same with channels first
    nodes: list[Node] = []
    for node in graph.nodes:
        if opens(node):
            first[node.output] = node.inputs[0]
            nodes.append(node)
        elif node in inside:
            nodes += turned(node, first)
        elif closes(node) and node.inputs[0].node in inside:
            again = first[node.inputs[0]]
            for reader in consumers.get(node.output, ()):
                reader.replace_input(node.output, again)
            graph.outputs = [again if v is node.output else v for v in graph.outputs]
        elif is_mean(node) and node.inputs[0].node in inside:
            node.inputs, node.attrs = [first[node.inputs[0]]], {**node.attrs, "dims": (2, 3)}
            nodes.append(node)
        else:
            nodes.append(node)
    graph.nodes[:] = nodes


def between(graph: Graph, consumers) -> set[Node]:
    """The nodes to turn."""
    last = {node.output for node in graph.nodes if opens(node)}
    found: list[Node] = []
    for node in graph.nodes:
        if turnable(node, last):
            found.append(node)
            last.add(node.output)
    inside = set(found)
    changed = bool(inside)
    while changed:
        changed = False
        for node in found:
            if node in inside and not (stays(node, inside) and leaves(graph, node, inside, consumers)):
                inside.discard(node)
                changed = True
    return inside


def stays(node: Node, inside: set[Node]) -> bool:
    """Whether all that it reads is turned."""
    return all(v.node is not None and (v.node in inside or opens(v.node)) for v in node.values())


def leaves(graph: Graph, node: Node, inside: set[Node], consumers) -> bool:
    """Whether all that reads it takes it turned."""
    readers = consumers.get(node.output, ())
    return (bool(readers) and not any(v in graph.outputs for v in node.outputs)
            and not any(v in consumers for v in node.outputs[1:])
            and all(reader in inside or closes(reader) or is_mean(reader) for reader in readers))


def opens(node: Node) -> bool:
    return node.op == "permute" and dims_of(node) == TO_LAST and of_floats(node)


def closes(node: Node) -> bool:
    return node.op == "permute" and dims_of(node) == TO_FIRST and of_floats(node)


def of_floats(node: Node) -> bool:
    return isinstance(node.inputs[0], Value) and node.output.dtype == np.float32


def dims_of(node: Node) -> tuple[int, ...]:
    return tuple(d % len(node.output.shape) for d in node.attrs["dims"])


def is_mean(node: Node) -> bool:
    """The mean or sum over the image's axes, without them."""
    return (node.op == "sum" and isinstance(node.inputs[0], Value) and len(node.inputs[0].shape) == 4
            and sorted(d % 4 for d in node.attrs["dims"]) == [1, 2] and len(node.output.shape) == 2)


def turnable(node: Node, last: set[Value]) -> bool:
    """Whether the node can be computed with channels first, if the values in `last` are."""
    if (not node.outputs or len(node.output.shape) != 4 or node.output.dtype != np.float32 or node.bodies
            or node.short is not None):
        return False
    values = list(node.values())
    if not values or any(v not in last for v in values):
        return False
    if node.op == "linear":
        _, weight, bias = node.inputs
        return isinstance(weight, np.ndarray) and weight.ndim == 2 and not isinstance(bias, Value)
    if node.op == "layer_norm":
        return node.attrs["ndim"] == 1
    return (node.row.pointwise and len(node.outputs) == 1 and all(v.shape == node.output.shape for v in values)
            and all(by_channel(v) for v in node.inputs if isinstance(v, np.ndarray)))


def by_channel(constant: np.ndarray) -> bool:
    """Whether it varies along the last axis at most."""
    return constant.ndim <= 4 and all(n == 1 for n in constant.shape[:-1])


def turned(node: Node, first: dict[Value, Value]) -> list[Node]:
    """Nodes that compute the same with channels first; `first` learns what they make."""
    old = node.output
    n, h, w, c = old.shape
    x = next(iter(node.values()))
    if node.op == "layer_norm":
        there = made("permute", first[x], {"dims": TO_LAST}, x.shape, node)
        node.inputs[0] = there.output
        back = made("permute", old, {"dims": TO_FIRST}, (n, c, h, w), node)
        first[old] = back.output
        return [there, node, back]
    if node.op == "linear":
        _, weight, bias = node.inputs
        node.op, node.inputs = "conv", [first[x], weight[:, :, None, None], bias]
        node.attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "size": (h, w)}
    else:
        node.inputs = [first[v] if isinstance(v, Value) else by_rows(v) for v in node.inputs]
    node.outputs = [Value((n, c, h, w), old.dtype, node, old.name)]
    first[old] = node.output
    return [node]


def by_rows(constant):
    """Numbers of the last of four axes as those of the second."""
    if not isinstance(constant, np.ndarray) or constant.size == 1:
        return constant
    return constant.reshape(-1, 1, 1)
