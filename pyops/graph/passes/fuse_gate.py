"""Lets a 1x1 convolution multiply its input with a number a channel while it reads it, as it
follows squeeze-and-excitation.
"""
from __future__ import annotations

from .. import packing
from ..ir import Graph, Node, Value
from .fold_batch_norm import constant


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if node.op != "mul" or node.epilogue.activation is not None:
            continue
        reader = graph.only_consumer(node.output, consumers)
        for image, gate in (node.inputs, node.inputs[::-1]):
            if reader is not None and is_gate(image, gate) and takes(reader, node):
                reader.gate = gate
                graph.drop(node, image, consumers)
                consumers[gate].append(reader)
                break


def is_gate(image, gate) -> bool:
    return (isinstance(image, Value) and isinstance(gate, Value) and len(image.shape) == 4
            and gate.shape == (*image.shape[:2], 1, 1) and image.shape[2:] != (1, 1))


def takes(reader: Node, product: Node) -> bool:
    # beyond, its rule may decline
    return (reader.op == "conv" and constant(reader) and reader.inputs[0] is product.output
            and reader.epilogue.residual is not product.output and reader.normalised is None
            and reader.gate is None and reader.inputs[1].shape[2:] == (1, 1) and reader.attrs["groups"] == 1
            and reader.inputs[1].shape[1] > 4 and max(reader.attrs["stride"] + reader.attrs["padding"]) < 1024
            and packing.finite(reader.inputs[1]))
