"""Blocks that are put at constant places, in order and side by side, are an assignment to a slice, as
exporters write y[..., 1:, 1:] = values: the values themselves where the slice is all there is, else
they are joined with what lies around them.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    nodes: list[Node] = []
    for node in graph.nodes:
        box = box_of(node)
        if box is not None:
            assign(node, box, nodes.append)
        nodes.append(node)
    graph.nodes[:] = nodes


def box_of(node: Node) -> tuple[tuple[int, int], ...] | None:
    """(first, behind the last) along each axis that is indexed, if the places are such a box in order."""
    if node.op != "put_blocks" or node.attrs.get("reduction") or len(node.outputs) != 1:
        return None
    index, shape = node.inputs[1], node.output.shape
    if not isinstance(index, np.ndarray) or not index.size or not all(type(n) is int for n in shape):
        return None
    depth = index.shape[-1]
    sizes = np.array(shape[:depth])
    places = index.reshape(-1, depth)
    if places.min() < 0:
        if not node.attrs.get("wrap", True):
            return None
        places = np.where(places < 0, places + sizes, places)
    first, behind = places[0], places[-1] + 1
    if (first < 0).any() or (behind > sizes).any() or (behind <= first).any() or math.prod(
            behind - first) != len(places):
        return None
    wanted = np.indices(behind - first).reshape(depth, -1).T + first
    return tuple(zip(first.tolist(), behind.tolist())) if np.array_equal(places, wanted) else None


def assign(node: Node, box: tuple[tuple[int, int], ...], add: Callable[[Node], None]) -> None:
    """The node becomes the last step of the assignment; those before it are added."""
    x, _, values = node.inputs
    shape = node.output.shape
    partial = [a for a, (first, behind) in enumerate(box) if (first, behind) != (0, shape[a])]
    inner = (*(behind - first for first, behind in box), *shape[len(box):])
    if not partial:
        node.op, node.inputs, node.attrs = "reshape", [values], {"shape": shape}
        return
    if isinstance(values, np.ndarray):
        middle = values.reshape(inner)
    else:
        middle = made("reshape", [values], {"shape": inner}, inner, node, add)
    # from the innermost axis out: the part of x that lies within the box along the axes before it
    for axis in partial[::-1]:
        first, behind = box[axis]
        around = [slice(*box[a]) if a < axis else slice(None) for a in range(len(shape))]
        parts = []
        for low, high in ((0, first), (behind, shape[axis])):
            if low < high:
                parts.append(part(x, (*around[:axis], slice(low, high), *around[axis + 1:]), node, add))
        joined = [*parts[:first > 0], middle, *parts[first > 0:]]
        if axis == partial[0]:
            node.op, node.inputs, node.attrs = "cat", joined, {"dim": axis}
        else:
            whole = list(inner)
            whole[axis] = shape[axis]
            for after in partial:
                if after > axis:
                    whole[after] = shape[after]
            middle = made("cat", joined, {"dim": axis}, tuple(whole), node, add)


def part(x, index: tuple[slice, ...], near: Node, add: Callable[[Node], None]):
    if isinstance(x, np.ndarray):
        return np.ascontiguousarray(x[index])
    shape = tuple(len(range(*s.indices(n))) for s, n in zip(index, x.shape))
    return made("getitem", [x], {"index": index}, shape, near, add)


def made(op: str, inputs: list, attrs: dict, shape: tuple, near: Node, add: Callable[[Node], None]) -> Value:
    node = Node(op, inputs, attrs, [], near.where, near.module)
    node.outputs.append(Value(tuple(shape), near.output.dtype, node))
    add(node)
    return node.output
