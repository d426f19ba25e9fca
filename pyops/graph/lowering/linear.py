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
    source = x
    permuted = flattened_map(low, x)
    if permuted is not None:   # read the map as it lies; the weights' columns follow its order
        source_ref, order = permuted
        weight = weight[:, order]
    else:
        source_ref = low.as_planar(source).reshaped((x.size // features, features))
    rows = x.size // features
    out = low.new_planar(node.output)
    low.add("linear_packed", source_ref, packing.linear(weight), packing.bias(bias, filters), *(node.epilogue.activation or activations.NONE),
            out.reshaped((rows, filters)), node=node, algorithm="linear", flops=2.0 * rows * weight.size)


def flattened_map(low: Lowering, x: Value):
    """If x is a map flattened to (N, C H W) that no one has planar yet: the map's memory and the column of each of its values."""
    node = x.node
    if x in low.planar or node is None or node.op != "reshape" or x not in low.flattened:
        return None
    image = low.flattened[x]
    m = low.maps[image]
    n, c, h, w = image.shape
    if c % BLOCK or not m.contiguous:
        return None
    order = np.arange(c * h * w).reshape(c // BLOCK, BLOCK, h, w).transpose(0, 2, 3, 1).reshape(-1)
    return m.ref.reshaped((n, c * h * w)), order


def reshape(low: Lowering, node: Node) -> None:
    """Another shape of the same memory. A map flattened for linear layers stays a map until something else wants it."""
    x = node.inputs[0]
    if not isinstance(x, Value):
        raise Declined("of a constant")
    if (low.is_map(x) and x not in low.planar and len(x.shape) == 4 and node.output.shape == (x.shape[0], x.size // max(1, x.shape[0]))
            and node.output not in low.graph.outputs and all(c.op == "linear" for c in low.consumers.get(node.output, ()))):
        low.flattened[node.output] = x
        if x.shape[1] % BLOCK == 0 and low.maps[x].contiguous:
            return
        del low.flattened[node.output]
    source = low.as_planar(x)
    low.planar[node.output] = source.reshaped(node.output.shape)


RULES = {"linear": linear, "reshape": reshape}
