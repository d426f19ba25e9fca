"""Pixels as a list of tokens, and back, become a permutation of the image's axes behind or in front of
a reshape: (n, c, h, w) -> (n, c, h w) -> (n, h w, c) is (n, h, w, c), flattened.

The values move in the same way, but images whose channels come last are what blocked layout makes
for nothing (lowering/norms.py), and what layers may be turned about in (channels_first.py).
"""
from __future__ import annotations

from ..ir import Graph, Node, Value

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def run(graph: Graph) -> None:
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += turned(node) or [node]
    graph.nodes[:] = nodes


def turned(node: Node) -> list[Node] | None:
    """The two nodes that make what `node` makes, a permutation of a reshape or a reshape of a
    permutation; None for others."""
    source = node.inputs[0] if node.inputs else None
    before = source.node if isinstance(source, Value) else None
    if before is None or not isinstance(before.inputs[0], Value) or {node.op, before.op} != {"permute", "reshape"}:
        return None
    x, out = before.inputs[0], node.output
    swap, image = (node, x) if node.op == "permute" else (before, out)
    if len(source.shape) != 3 or len(image.shape) != 4 or [d % 3 for d in swap.attrs["dims"]] != [0, 2, 1]:
        return None
    n, c, h, w = image.shape
    if node.op == "permute":
        if source.shape != (n, c, h * w):
            return None
        first = made("permute", x, {"dims": TO_LAST}, (n, h, w, c), node)
        node.op, node.attrs = "reshape", {"shape": (n, h * w, c)}
    else:
        if source.shape != (n, c, h * w):
            return None
        first = made("reshape", x, {"shape": (n, h, w, c)}, (n, h, w, c), node)
        node.op, node.attrs = "permute", {"dims": TO_FIRST}
    node.inputs = [first.output]
    return [first, node]


def made(op: str, x: Value, attrs: dict, shape, near: Node) -> Node:
    node = Node(op, [x], attrs, [], near.where, near.module)
    node.outputs.append(Value(tuple(shape), x.dtype, node, x.name))
    return node
