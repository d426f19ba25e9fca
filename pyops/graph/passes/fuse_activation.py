"""Lets a producer apply the activation that follows it, or a view of its result, before it stores that."""
from __future__ import annotations

from ..activations import activation
from ..ir import Graph, Value

VIEWS = ("reshape", "permute")


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        kind = activation(node.row, node.attrs)
        if kind is None or not isinstance(node.inputs[0], Value):
            continue
        producer = node.inputs[0].node
        reader, alone = node, graph.only_consumer(node.inputs[0], consumers) is node
        while alone and producer is not None and producer.op in VIEWS and isinstance(producer.inputs[0], Value):
            reader, producer = producer, producer.inputs[0].node
            alone = graph.only_consumer(reader.inputs[0], consumers) is reader
        if alone and producer is not None and "activation" in producer.row.applies and not producer.epilogue.activation:
            producer.epilogue.activation = kind
            graph.drop(node, node.inputs[0], consumers)
