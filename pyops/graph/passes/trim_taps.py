"""Takes from the filters of convolutions the outer taps that no output sees within the image: of a 3x3
filter of dilation 36 on 28x28 pixels the one in the middle is left.

Only of filters that are finite: zeros of the padding make NaN of others.
"""
from __future__ import annotations

import numpy as np

from .. import packing
from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op == "conv" and not node.before and isinstance(node.inputs[0], Value) and isinstance(
                node.inputs[1], np.ndarray) and node.inputs[0].ndim == node.inputs[1].ndim:
            trim(node)


def trim(node: Node) -> None:
    x, weight = node.inputs[:2]
    attrs = node.attrs
    axes = [kept(*axis) for axis in zip(x.shape[2:], weight.shape[2:], attrs["stride"], attrs["padding"],
                                        attrs["dilation"], attrs["size"])]
    if all(last - first == taps for (first, last), taps in zip(axes, weight.shape[2:])) or not packing.finite(weight):
        return
    node.inputs[1] = np.ascontiguousarray(weight[(..., *(slice(*axis) for axis in axes))])
    node.attrs = {**attrs, "padding": tuple(p - first * d for p, (first, _), d in zip(
        attrs["padding"], axes, attrs["dilation"]))}


def kept(size: int, taps: int, stride: int, padding: int, dilation: int, out: int) -> tuple[int, int]:
    """The taps of an axis, from the first that is kept to behind the last."""
    def seen(tap: int) -> bool:
        """Whether the first output that is not in front of the image for it is still within."""
        at = tap * dilation - padding
        first = max(0, -(at // stride))
        return first < out and first * stride + at < size
    first, last = 0, taps
    # kernels of single taps take the image's pixels as one row: theirs are its outputs
    least = 1 if out == size or stride > 1 else 2
    while last - first > least and not seen(last - 1):
        last -= 1
    # padding stays one, and wide enough that every window begins within the padded image
    while (last - first > least and not seen(first) and padding >= (first + 1) * dilation
           and (out - 1) * stride + 1 <= size + 2 * (padding - (first + 1) * dilation)):
        first += 1
    return first, last
