"""Lets a producer apply the activation that follows it before it stores its result."""
from __future__ import annotations

from ..activations import activation
from ..ir import Graph, Value


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        kind = activation(node.row, node.attrs)
        if kind is None or not isinstance(node.inputs[0], Value):
            continue
        producer = node.inputs[0].node
        if (producer is not None and "activation" in producer.row.applies and producer.epilogue.activation
                is None and graph.only_consumer(node.inputs[0], consumers) is node):
            producer.epilogue.activation = kind
            graph.drop(node, producer.output, consumers)
