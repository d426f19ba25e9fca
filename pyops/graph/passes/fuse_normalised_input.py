"""Lets a direct convolution apply the batch norm and relu before it while it reads its input, as
dense blocks have them.
"""
from __future__ import annotations

from .. import packing
from ..activations import RELU
from ..ir import Graph, Node
from .fold_batch_norm import constant, scale_and_shift


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if node.op != "batch_norm" or node.epilogue.activation != RELU or not constant(node) or len(
                node.output.shape) != 4:
            continue
        reader = graph.only_consumer(node.output, consumers)
        if reader is not None and takes(reader, node):
            reader.normalised = scale_and_shift(node)
            graph.drop(node, node.inputs[0], consumers)


def takes(reader: Node, norm: Node) -> bool:
    """A 1x1 convolution: a larger filter is better off with Winograd, which does not."""
    # beyond strides and paddings of 1024 its rule may decline
    return (reader.op == "conv" and constant(reader) and reader.inputs[0] is norm.output
            and reader.inputs[1].shape[2:] == (1, 1) and reader.attrs["groups"] == 1
            and reader.inputs[1].shape[1] > 4 and max(reader.attrs["stride"] + reader.attrs["padding"]) < 1024
            and packing.finite(reader.inputs[1]))
