"""Removes calls that change nothing: a reshape to the same shape, a pooling of single pixels, an
addition of zero, a product with one. Of two reshapes in a row the first is none.
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value

MAY_CHANGE_NOTHING = {"reshape", "broadcast_to", "cast", "permute", "getitem", "avg_pool", "max_pool", "add", "mul"}


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        inner = node.inputs[0].node if node.op == "reshape" and isinstance(node.inputs[0], Value) else None
        if inner is not None and inner.op == "reshape" and isinstance(inner.inputs[0], Value):
            consumers[inner.output].remove(node)
            node.inputs = [inner.inputs[0]]
            consumers[inner.inputs[0]].append(node)
        source = same_as(node)
        if source is not None and not (node.output in graph.outputs and source in graph.inputs):
            graph.drop(node, source, consumers)


def same_as(node: Node) -> Value | None:
    """The input that the node's only output equals, if there is one."""
    if len(node.outputs) != 1 or node.op not in MAY_CHANGE_NOTHING:
        return None
    out, values = node.output, list(node.values())
    if not values or values[0].shape != out.shape:
        return None
    if node.op in ("reshape", "broadcast_to") or node.op == "cast" and values[0].dtype == out.dtype:
        return values[0]
    if (node.op == "cast" and values[0].node is not None and values[0].node.op == "cast"
            and values[0].node.attrs.get("implied")):
        source = values[0].node.inputs[0]   # rounded by the way, and widened again
        if isinstance(source, Value) and source.dtype == out.dtype:
            return source
    if node.op == "permute" and list(node.attrs["dims"]) == sorted(node.attrs["dims"]):
        return values[0]
    if node.op == "getitem" and takes_all(node.attrs["index"]):
        return values[0]
    if node.op in ("avg_pool", "max_pool") and window_is_one(node.attrs["window"]):
        return values[0]
    if node.op in ("add", "mul") and len(values) == 1 and neutral(node):
        return values[0]
    return None


def takes_all(index) -> bool:
    """Whether an index that gives the shape of its input takes it as it is."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is Ellipsis or isinstance(part, slice) and part.step in (None, 1) for part in parts)


def window_is_one(window) -> bool:
    return window.kernel == (1, 1, 1) and window.stride == (1, 1, 1) and window.padding == (0, 0, 0)


def neutral(node: Node) -> bool:
    """Adding zeros or multiplying with ones, as a constant."""
    constants = [v for v in node.inputs if isinstance(v, np.ndarray)]
    if len(constants) != 1 or constants[0].size > 1 << 16:
        return False
    if node.inputs[0] is constants[0] and node.attrs.get("alpha", 1) != 1:   # 0 + alpha x, as in 0 - x
        return False
    return bool(np.all(constants[0] == (0 if node.op == "add" else 1)))
