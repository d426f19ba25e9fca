"""Norms over channels in blocked layout, and the permutations between images whose channels come
first and those whose channels come last: in blocks both are the same memory.
"""
from __future__ import annotations

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from ..passes.turn_tokens import TO_FIRST, TO_LAST
from .context import Declined, Lowering


def permute(low: Lowering, node: Node) -> None:
    """A map with its channels last, or first again."""
    x, dims = node.inputs[0], tuple(d % len(node.output.shape) for d in node.attrs["dims"])
    if dims == TO_LAST and low.is_map(x):
        low.last[node.output] = low.maps[x]
    elif dims == TO_FIRST and isinstance(x, Value) and x in low.last and x not in low.planar:
        low.placement.pop(node.output, None)   # it lies where it is
        low.maps[node.output] = low.last[x]
    else:
        raise Declined("no map whose channels move")


def layer_norm(low: Lowering, node: Node) -> None:
    """Each pixel over its channels, where they come last."""
    x, weight, bias = node.inputs
    if not isinstance(x, Value) or x not in low.last or x in low.planar or node.attrs["ndim"] != 1:
        raise Declined("no pixels in blocked layout")
    weight, bias = constants(low, node, weight, bias)
    n, h, w, c = x.shape
    out = low.free_map(n, c, h, w)
    low.add("layer_norm_blocked", low.last[x].ref, c, weight, bias, float(node.attrs["eps"]),
            node.epilogue.activation or activations.NONE, out.ref, node=node, algorithm="blocked")
    low.last[node.output] = out


def group_norm(low: Lowering, node: Node) -> None:
    x, weight, bias = node.inputs
    if not low.is_map(x) or len(x.shape) != 4 or not x.size:
        raise Declined("no image in blocked layout")
    weight, bias = constants(low, node, weight, bias)
    low.add("group_norm_blocked", low.as_map(x).ref, x.shape[1], node.attrs["groups"], weight, bias,
            float(node.attrs["eps"]), node.epilogue.activation or activations.NONE, low.new_map(node.output).ref,
            node=node, algorithm="blocked")


def constants(low: Lowering, node: Node, *numbers) -> list[np.ndarray | None]:
    """Weight and bias as kernels in blocked layout read them. Declined where they are computed, or
    where something else reads the statistics."""
    if any(isinstance(v, Value) for v in numbers):
        raise Declined("weights that are computed")
    if any(v in low.consumers or v in low.graph.outputs for v in node.outputs[1:]):
        raise Declined("its statistics are read")
    return [None if v is None else packing.bias(v, v.size) for v in numbers]


RULES = {"permute": permute, "layer_norm": layer_norm, "group_norm": group_norm}
