"""Linear layers with weights packed, streamed once; and views, which cost nothing where they can."""
from __future__ import annotations

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from .context import BLOCK, Declined, Lowering


def linear(low: Lowering, node: Node) -> None:
    x, weight, bias = node.inputs
    if not isinstance(x, Value) or not isinstance(weight, np.ndarray) or weight.ndim != 2 or isinstance(bias, Value) or not x.size:
        raise Declined("weights that are computed")
    filters, features = weight.shape
    rows = x.size // features
    image = flattened_image(low, x)
    if image is None:
        source = low.as_planar(x).reshaped((rows, features))
    else:   # read the map as it lies; the rows of the packed weights follow its order
        source = low.maps[image].ref.reshaped((rows, features))
    low.add("linear_packed", source, packing.linear(low.kernels, weight, image and image.shape[1:]), packing.bias(bias, filters),
            *(node.epilogue.activation or activations.NONE), low.new_planar(node.output).reshaped((rows, filters)),
            node=node, algorithm="linear", flops=2.0 * rows * weight.size)


def flattened_image(low: Lowering, x: Value) -> Value | None:
    """The map that x is a flattened view of, if no one has x planar."""
    return low.flattened.get(x) if x not in low.planar else None


def reshape(low: Lowering, node: Node) -> None:
    """Another shape of the same memory. A map flattened for linear layers stays a map until something else wants it."""
    x = node.inputs[0]
    if not isinstance(x, Value):
        raise Declined("of a constant")
    if (low.is_map(x) and x not in low.planar and len(x.shape) == 4 and node.output.shape == (x.shape[0], x.size // max(1, x.shape[0]))
            and node.output not in low.graph.outputs and all(c.op == "linear" for c in low.consumers.get(node.output, ()))):
        if x.shape[1] % BLOCK == 0 and low.maps[x].contiguous:
            low.flattened[node.output] = x
            return
    source = low.as_planar(x)
    low.planar[node.output] = source.reshaped(node.output.shape)


RULES = {"linear": linear, "reshape": reshape}
