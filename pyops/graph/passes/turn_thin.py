"""Turns convolutions of images one pixel wide: a kernel (k, 1) over (n, channels, h, 1) becomes (1,
k) over (n, channels, 1, h).

Kernels run along rows, and a row of one pixel leaves them nothing to run along: two to three times
slower. The memory is the same, planar and in blocks, so that the reshapes around such a layer cost
nothing (lowering/elementwise.py).
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    turned: dict[Value, Value] = {}   # an image one pixel wide, and the same one pixel high
    nodes: list[Node] = []

    def turn(value: Value | None) -> Value | None:
        """The image on its side, by a node before the one that asks, if there is none yet."""
        if value is None or value in turned:
            return None if value is None else turned[value]
        nodes.append(reshaped(value, on_its_side(value.shape)))
        turned[value] = nodes[-1].output
        return nodes[-1].output

    for node in graph.nodes:
        if not is_thin(node):
            nodes.append(node)
            continue
        x, weight, bias = node.inputs
        node.inputs = [turn(x), np.ascontiguousarray(np.swapaxes(weight, 2, 3)), bias]
        node.epilogue.residual = turn(node.epilogue.residual)
        a = node.attrs
        node.attrs = {**a, "stride": (1, a["stride"][0]), "padding": (0, a["padding"][0]),
                      "dilation": (1, a["dilation"][0]), "size": a["size"][::-1]}
        standing = node.output
        lying = Value(on_its_side(standing.shape), standing.dtype, node, standing.name)
        node.outputs[0] = lying
        back = Node("reshape", [lying], {"shape": standing.shape}, [standing], node.where, node.module)
        standing.node = back
        turned[standing] = lying
        nodes += [node, back]
    needed = {v for node in nodes for v in node.values()} | set(graph.outputs)
    graph.nodes[:] = [n for n in nodes
                      if not (n.op == "reshape" and n.output not in needed and n.output in turned)]


def on_its_side(shape: tuple[int, ...]) -> tuple[int, ...]:
    n, channels, h, w = shape
    return n, channels, w, h


def reshaped(value: Value, shape: tuple[int, ...]) -> Node:
    node = Node("reshape", [value], {"shape": shape}, [], value.node.where if value.node else "",
                value.node.module if value.node else "")
    node.outputs.append(Value(shape, value.dtype, node, value.name))
    return node


def is_thin(node: Node) -> bool:
    """Whether it is a convolution of constant weights, whose image, kernel and result are one pixel
    wide and more than one high."""
    if node.op != "conv" or node.before or len(node.outputs) != 1 or not isinstance(node.inputs[0], Value):
        return False
    x, weight = node.inputs[:2]
    return (isinstance(weight, np.ndarray) and weight.ndim == len(x.shape) == 4
            and weight.shape[3] == 1 and weight.shape[2] > 1
            and x.shape[3] == node.output.shape[3] == 1 and x.shape[2] > 1 and node.attrs["padding"][1] == 0)
