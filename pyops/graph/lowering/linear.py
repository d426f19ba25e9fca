"""Linear layers with weights packed, streamed once; and views, which cost nothing where they
can."""
from __future__ import annotations

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from .context import Declined, Lowering

# Weights that no cache holds are read in place by few rows: reading takes longer than multiplying,
# and a packed copy would double them.
FEW_ROWS, LARGE = 16, 16 << 20


def linear(low: Lowering, node: Node) -> None:
    x, weight, bias = node.inputs
    if not isinstance(x, Value) or not isinstance(weight, np.ndarray) or weight.ndim != 2 or isinstance(
            bias, Value) or not x.size:
        raise Declined("weights that are computed")
    filters, features = weight.shape
    rows = x.size // features
    matrix_product(low, node, low.as_planar(x).reshaped((rows, features)), weight, bias,
                   low.new_planar(node.output).reshaped((rows, filters)))


def matrix_product(low: Lowering, node: Node, x, weight: np.ndarray, bias, y) -> None:
    """y = act(x weight' + bias) for planar x (rows, features)."""
    tail = node.epilogue.activation or activations.NONE
    rows, flops = x.shape[0], 2 * node.macs
    # the two add in other orders
    in_place = 4 * weight.size > LARGE or low.options.memory == "lean"
    if rows <= FEW_ROWS and in_place and not low.options.batch_invariant:
        low.add("linear_rows", x, packing.contiguous(weight), bias, tail, y, node=node,
                algorithm="rows", flops=flops)
    else:
        low.add("linear_packed", x, packing.linear(low.kernels, weight), packing.bias(bias, weight.shape[0]),
                tail, y, node=node, algorithm="packed", flops=flops)


def reshape(low: Lowering, node: Node) -> None:
    """Another shape of the same memory."""
    x = node.inputs[0]
    if not isinstance(x, Value):
        raise Declined("of a constant")
    if low.is_view(x):
        raise Declined("of a view")
    source = low.as_planar(x)
    low.planar[node.output] = source.reshaped(node.output.shape)


RULES = {"linear": linear, "reshape": reshape}
