"""Inverted residual blocks: the convolutions around a wide map taken together, so that the map never exists as a whole."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from . import pooling
from .context import Lowering

# Bytes of a wide map from which it is worth it: it no longer fits into the second-level caches. Measured on the mobile networks.
LEAST_BYTES = 3 << 19


@dataclass(slots=True)
class Block:
    """The layers that are there: a depthwise convolution and at least one of its neighbours."""
    expand: Node | None
    depth: Node
    project: Node | None

    @property
    def nodes(self) -> list[Node]:
        return [node for node in (self.expand, self.depth, self.project) if node is not None]


def starting_with(low: Lowering, node: Node) -> Block | None:
    """The block whose first layer this is, if there is one and it is worth it."""
    expand = node if is_pointwise(node) and node.epilogue.residual is None and node.gate is None else None
    depth = only_reader(low, node) if expand else node
    if depth is None or not is_depthwise(depth) or depth in low.done:
        return None
    wide = depth.inputs[0]
    if expand is not None and (wide is not node.output or wide in low.placement):
        return None
    project = only_reader(low, depth)
    if project is not None and not (is_pointwise(project) and project.inputs[0] is depth.output and project.gate is None and is_ready(low, project)):
        project = None
    if not (expand or project) or 4 * wide.size < LEAST_BYTES:
        return None
    return Block(expand, depth, project)


def only_reader(low: Lowering, node: Node) -> Node | None:
    return low.graph.only_consumer(node.output, low.consumers)


def is_pointwise(node: Node) -> bool:
    """1x1, stride 1, one group, and an image of more than one pixel."""
    attrs = node.attrs
    return (is_plain(node) and node.inputs[1].shape[2:] == (1, 1) and attrs["groups"] == 1 and attrs["stride"] == (1, 1)
            and attrs["padding"] == (0, 0) and node.inputs[1].shape[1] > 4 and node.normalised is None and node.output.shape[2:] != (1, 1))


def is_depthwise(node: Node) -> bool:
    return (is_plain(node) and node.attrs["groups"] == len(node.inputs[1]) == node.inputs[0].shape[1] > 1 and node.epilogue.residual is None
            and node.inputs[1].shape[1] == 1)


def is_plain(node: Node) -> bool:
    return (node.op == "conv" and isinstance(node.inputs[0], Value) and len(node.inputs[0].shape) == 4 and isinstance(node.inputs[1], np.ndarray)
            and (node.inputs[2] is None or isinstance(node.inputs[2], np.ndarray)) and not node.epilogue.pool)


def is_ready(low: Lowering, node: Node) -> bool:
    """Whether what it adds is there by now."""
    other = node.epilogue.residual
    return other is None or other in low.maps or other in low.planar


def lower(low: Lowering, block: Block) -> None:
    expand, depth, project = block.expand, block.depth, block.project
    source, last = block.nodes[0].inputs[0], block.nodes[-1]
    x, (n, wide) = low.as_map(source), depth.output.shape[:2]
    residual = last.epilogue.residual
    residual = low.as_map(residual).ref if residual is not None else None
    means = [c for c in low.consumers.get(depth.output, ()) if pooling.is_global_mean(c)] if project is None else []
    y = low.new_map(last.output)
    mean = low.new_planar(means[0].output).reshaped((n, wide)) if means else None
    attrs = depth.attrs
    low.done.update(block.nodes, means[:1])
    before = (x.ref, source.shape[1], *pointwise(low, expand))
    depthwise = (packing.depthwise(depth.inputs[1]), packing.bias(depth.inputs[2], wide), attrs["stride"], attrs["padding"], attrs["dilation"], *tail(depth))
    if mean is None:
        call = ("inverted_residual", *before, wide, *depthwise, *pointwise(low, project)[:2], residual, *tail(project), y.ref)
    else:
        call = ("expand_depthwise_mean", *before, *depthwise, y.ref, mean)
    low.add(*call, node=last, algorithm="inverted", flops=2 * sum(node.macs for node in block.nodes),
            why=f"rows of the map of {wide} channels go from layer to layer in cache", covers=tuple(node.module for node in block.nodes))


def pointwise(low: Lowering, node: Node | None) -> tuple:
    """Weights, bias and activation."""
    if node is None:
        return (None, None, *activations.NONE)
    weight = node.inputs[1]
    return (packing.direct(low.kernels, weight), packing.bias(node.inputs[2], len(weight)), *tail(node))


def tail(node: Node | None) -> tuple:
    return activations.NONE if node is None else node.epilogue.activation or activations.NONE
