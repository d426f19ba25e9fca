"""Zeros around an image go into the padding of the convolution that reads it.

What lies behind the image are zeros as far as windows reach, so a padding need not be the same on
both sides: the number in front and the size of the result say all.
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for pad in list(graph.nodes):
        if not is_border_of_zeros(pad):
            continue
        for node in list(consumers.get(pad.output, [])):
            if takes(node, pad):
                node.inputs = [pad.inputs[0], *node.inputs[1:]]
                consumers[pad.output].remove(node)
                consumers.setdefault(pad.inputs[0], []).append(node)
                axes = len(node.attrs["padding"])
                node.attrs = {**node.attrs, "padding": tuple(
                    p + b for p, b in zip(node.attrs["padding"], pad.attrs["before"][-axes:]))}
        if not consumers.get(pad.output) and pad.output not in graph.outputs:
            graph.drop(pad, pad.inputs[0], consumers)


def is_border_of_zeros(node: Node) -> bool:
    if node.op != "pad" or not isinstance(node.inputs[0], Value) or node.output.dtype != np.float32:
        return False
    before, after = node.attrs["before"], node.attrs["after"]
    return (node.attrs["mode"] == "constant" and node.attrs.get("value", 0.0) == 0
            and all(type(v) is int and v >= 0 for v in (*before, *after))
            and not any((*before[:2], *after[:2])))


def takes(node: Node, pad: Node) -> bool:
    """Whether the node is a convolution of constant weights whose windows all begin within the zeros
    in front, the image, or as many zeros behind it as are in front."""
    if (node.op != "conv" or node.inputs[0] is not pad.output or not isinstance(node.inputs[1], np.ndarray)
            or len(pad.output.shape) != node.inputs[1].ndim or isinstance(node.inputs[2], Value)):
        return False
    kernel, dilation = node.inputs[1].shape[2:], node.attrs["dilation"]
    before, after = (pad.attrs[name][2:] for name in ("before", "after"))
    return all(behind - front <= (size - 1) * apart
               for front, behind, size, apart in zip(before, after, kernel, dilation))
