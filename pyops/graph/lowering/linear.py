"""Linear layers with weights packed, streamed once; and views, which cost nothing where they
can."""
from __future__ import annotations

from functools import partial

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from .context import Declined, Lowering, Ref

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
    found = stored(low.options.weights, weight)
    product = matrix_product if found is None else partial(stored_product, form=low.options.weights, stored=found)
    product(low, node, low.as_planar(x).reshaped((rows, features)), weight, bias,
            low.new_planar(node.output).reshaped((rows, filters)))


def linear_int8(low: Lowering, node: Node) -> None:
    """The row whose weights are whole numbers; what linear becomes where compile's `weights` is "int8"."""
    x, weight, scale, bias = node.inputs
    if (not isinstance(x, Value) or not isinstance(weight, np.ndarray) or not isinstance(scale, np.ndarray)
            or isinstance(bias, Value) or not x.size or node.output.dtype != np.float32):
        raise Declined("weights that are computed")
    filters, features = weight.shape
    rows = x.size // features
    stored_product(low, node, low.as_planar(x).reshaped((rows, features)), weight, bias,
                   low.new_planar(node.output).reshaped((rows, filters)), form="int8",
                   stored=(packing.given_int8(weight), packing.bias(scale, filters)))


def stored(form: str, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray | None] | None:
    """The weights in fewer bits and their scales, as compile's `weights` has it; None as floats."""
    if form == "float32" or not packing.finite(weight):
        return None
    return ((packing.int8_linear(weight), packing.int8_scale(weight)) if form == "int8"
            else (packing.bf16_linear(weight), None))


def stored_product(low: Lowering, node: Node, x, weight: np.ndarray, bias, y, *, form: str,
                   stored: tuple[np.ndarray, np.ndarray | None]) -> None:
    """The same as matrix_product by weights in fewer bits."""
    tail, (packed, scale), flops = node.epilogue.activation or activations.NONE, stored, 2 * node.macs
    bias = packing.bias(bias, weight.shape[0])
    if x.shape[0] <= FEW_ROWS or low.options.batch_invariant:   # widened weights round otherwise
        low.add("linear_stored", x, packed, scale, bias, tail, y, node=node, algorithm=form, flops=flops)
        return
    wide = Ref(low.buffer(packed.size), 0, packed.shape)
    low.add("widen_packed", packed, scale, wide, node=node, algorithm=form)
    low.add("linear_packed", x, wide, bias, tail, y, node=node, algorithm="packed", flops=flops)


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


MIXED = {"linear_int8"}   # its weights are whole numbers
RULES = {"linear": linear, "linear_int8": linear_int8}
