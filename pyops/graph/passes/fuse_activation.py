"""Lets a producer apply the activation that follows it before it stores its result."""
from __future__ import annotations

from ..activations import activation
from ..ir import Graph, Value

PRODUCERS = ("conv", "conv_transpose", "linear", "batch_norm", "add")


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        kind = activation(node.op, node.attrs)
        if kind is None or not isinstance(node.inputs[0], Value):
            continue
        producer = node.inputs[0].node
        if (producer is not None and producer.op in PRODUCERS and producer.epilogue.activation is None
                and graph.only_consumer(node.inputs[0], consumers) is node):
            producer.epilogue.activation = kind
            graph.drop(node, producer.output, consumers)
