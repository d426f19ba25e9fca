"""The likeliest class of each pixel: argmax over the channels of a map, in the epilogue of the
convolution or the resizing that makes it.

Where nothing else reads the scores, they are made a few rows at a time and never stored; labels are
written as the type that a cast behind the argmax asks for.
"""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Node, Value
from .context import Declined, Lowering, Step, four

TYPES = (np.dtype(np.uint8), np.dtype(np.int64))
# a kernel that makes scores -> the one that makes labels, and which of its arguments that takes
INTO_LABELS = {"direct_conv": ("direct_conv_labels", (0, 1, 5, 6, 8, 10)),
               "resample_blocked": ("resample_labels", (0, 1, 2, 3, 4))}


def arg_max(low: Lowering, node: Node) -> None:
    x, (largest, places) = node.inputs[0], node.outputs
    n, c, h, w = over_channels(low, node)
    if largest in low.consumers or largest in low.graph.outputs:
        raise Declined("the largest scores are wanted, too")
    if not low.is_map(x):
        raise Declined("scores are no map")
    value = narrowed(low, places)
    if value.dtype == np.uint8 and c > 256:
        raise Declined("more classes than uint8 has numbers")
    place = low.new_planar(value).reshaped((n, h, w))
    step = maker(low, x)
    if step is None:
        low.add("map_labels", low.maps[x].ref, c, place, node=node, algorithm="labels")
        return
    kernel, kept = INTO_LABELS[low.steps[step].kernel]
    made = low.steps[step]
    low.steps[step] = replace(made, kernel=kernel, args=(*(made.args[i] for i in kept), c, place),
                              algorithm=f"{made.algorithm}, labels")


def over_channels(low: Lowering, node: Node) -> tuple[int, int, int, int]:
    """The sizes of an image whose channels are compared."""
    x = node.inputs[0]
    if not isinstance(x, Value) or x.dtype != np.float32 or not x.size:
        raise Declined("no image of float32")
    n, c, h, w = four(x.shape)
    if (node.attrs["outer"], node.attrs["n"], node.attrs["inner"]) != (n, c, h * w):
        raise Declined("another axis than that of channels")
    if node.short is not None:
        raise Declined("a part of the result is wanted")
    return n, c, h, w


def narrowed(low: Lowering, places: Value) -> Value:
    """What labels are cast to and nobody wants before, or else the places themselves."""
    readers = low.consumers.get(places, [])
    if (places not in low.graph.outputs and len(readers) == 1 and readers[0].op == "cast"
            and readers[0].output.dtype in TYPES and readers[0].short is None):
        return readers[0].output
    return places


def maker(low: Lowering, x: Value) -> int | None:
    """The step that makes x, where it can make its labels instead."""
    node = x.node
    if (node is None or x in low.graph.outputs or len(low.consumers[x]) != 1 or x in low.placement or x in low.given
            or x in low.planar or len(node.outputs) != 1 or node.short is not None):
        return None
    for i in range(len(low.steps) - 1, -1, -1):
        if any(low.maps[x].ref is a for a in low.steps[i].args):
            return i if makes_labels(low.steps[i]) else None
    return None


def makes_labels(step: Step) -> bool:
    """Whether the step has nothing that its form for labels does not know."""
    if step.kernel == "direct_conv":
        _, _, scale, _, gate, _, _, residual, _, groups, *_ = step.args
        return scale is None and gate is None and residual is None and groups == 1
    return step.kernel in INTO_LABELS


def cast(low: Lowering, node: Node) -> None:
    """Nothing, where the argmax in front did it."""
    if node.output not in low.planar:
        raise Declined("not of labels")


RULES = {"arg_max": arg_max, "cast": cast}
