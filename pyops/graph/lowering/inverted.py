"""Inverted residual blocks: the convolutions around a wide map taken together, so that the map
never exists as a whole."""
from __future__ import annotations

from .. import activations, packing
from ..ir import Node
from ..passes.fuse_inverted import has_a_filter_a_channel
from .context import Lowering, Window


def lower(low: Lowering, last: Node) -> None:
    layers = (*last.before, last)
    depth = next(node for node in layers if has_a_filter_a_channel(node))
    expand, project = layers[0] if layers[0] is not depth else None, last if last is not depth else None
    source = last.inputs[0]
    x, (n, wide) = low.as_map(source), depth.output.shape[:2]
    residual = last.epilogue.residual
    residual = low.as_map(residual).ref if residual is not None else None
    y = low.new_map(last.output)
    mean = low.new_planar(last.outputs[1]).reshaped((n, wide)) if len(last.outputs) > 1 else None
    window = Window(depth.inputs[1].shape[2:],
                    *(depth.attrs[name] for name in ("stride", "padding", "dilation")))
    before = (x.ref, source.shape[1], *pointwise(low, expand))
    depthwise = (packing.depthwise(depth.inputs[1]), packing.bias(depth.inputs[2], wide), window, tail(depth))
    if mean is None:
        call = ("inverted_residual", *before, wide, *depthwise, *last_of(low, project), residual,
                tail(project), y.ref)
    else:
        call = ("expand_depthwise_mean", *before, *depthwise, y.ref, mean)
    low.add(*call, node=last, algorithm="inverted", flops=2 * sum(node.macs for node in layers),
            why=f"rows of the map of {wide} channels go from layer to layer in cache",
            covers=tuple(node.module for node in layers))


def pointwise(low: Lowering, node: Node | None) -> tuple:
    """Weights, bias and activation."""
    if node is None:
        return (None, None, activations.NONE)
    weight = node.inputs[1]
    return (packing.direct(low.kernels, weight), packing.bias(node.inputs[2], len(weight)), tail(node))


def last_of(low: Lowering, node: Node | None) -> tuple:
    """Weights and bias of a last layer, which may leave out half a block of filters."""
    if node is None:
        return None, None
    weight = node.inputs[1]
    return packing.direct(low.kernels, weight), packing.bias_to_half(node.inputs[2], len(weight))


def tail(node: Node | None) -> activations.Act:
    return activations.NONE if node is None else node.epilogue.activation or activations.NONE
