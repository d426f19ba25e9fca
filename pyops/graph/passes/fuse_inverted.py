"""Takes the layers around a wide map together, as inverted residual blocks have them: one kernel
computes them and never holds that map whole.
"""
from __future__ import annotations

import numpy as np

from .. import packing
from ..ir import Graph, Node, Value

# Bytes of a wide map from which it is worth it: it no longer fits into the second-level caches.
# Measured on the mobile networks.
LEAST_BYTES = 3 << 19
# Filters of a projection without an expansion, whose layers for themselves multiply faster, by what grows with
# the filters, and move the wide map, which does not.
MOST_FILTERS = 512


def run(graph: Graph) -> None:
    """The last layer of a block, the projection or the depthwise convolution, keeps the others in
    `before`.
    """
    consumers = graph.consumers()
    for depth in list(graph.nodes):
        if not is_depthwise(depth) or 4 * depth.inputs[0].size < LEAST_BYTES:
            continue
        expand, project = depth.inputs[0].node, graph.only_consumer(depth.output, consumers)
        if not (is_expansion(expand) and graph.only_consumer(expand.output, consumers) is depth):
            expand = None
        if not is_projection(project, depth):
            project = None
        if expand is project is None or expand is None and len(project.inputs[1]) > MOST_FILTERS:
            continue
        layers = [node for node in (expand, depth, project) if node is not None]
        for node in layers[:-1]:
            graph.drop(node, node.inputs[0], consumers)
        layers[-1].before = tuple(layers[:-1])


def is_expansion(node: Node | None) -> bool:
    return is_pointwise(node) and node.epilogue.residual is None


def is_projection(node: Node | None, depth: Node) -> bool:
    return is_pointwise(node) and node.inputs[0] is depth.output


def is_pointwise(node: Node | None) -> bool:
    """1x1, stride 1, one group, an image of more than one pixel; read as it is."""
    if not is_constant(node) or node.before or node.normalised is not None or node.gate is not None:
        return False
    weight, attrs = node.inputs[1], node.attrs
    return (weight.shape[2:] == (1, 1) and weight.shape[1] > 4 and node.output.shape[2:] != (1, 1)
            and attrs["groups"] == 1 and attrs["stride"] == (1, 1) and attrs["padding"] == (0, 0)
            and packing.finite(weight))


def is_depthwise(node: Node | None) -> bool:
    return has_a_filter_a_channel(node) and node.epilogue.residual is None and not node.before


def has_a_filter_a_channel(node: Node | None) -> bool:
    return (is_constant(node) and node.attrs["groups"] == len(node.inputs[1]) > 1 and node.inputs[1].shape[1] == 1
            and packing.finite(node.inputs[1]))


def is_constant(node: Node | None) -> bool:
    """A convolution of images with constant weights; of those that are not finite no kernel is one over
    maps."""
    if node is None or node.op != "conv":
        return False
    x, weight, bias = node.inputs
    return (isinstance(x, Value) and len(x.shape) == 4 and isinstance(weight, np.ndarray)
            and not isinstance(bias, Value))
