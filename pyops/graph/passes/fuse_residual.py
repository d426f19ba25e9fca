"""Lets a convolution add the other branch of a residual block while it still holds its result: y =
conv(x) + other.
"""
from __future__ import annotations

from ..ir import Graph, Node, Value


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    position = {node: i for i, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if node.op != "add" or node.attrs.get("alpha",
                                              1) != 1 or not all(isinstance(v, Value) for v in node.inputs):
            continue
        a, b = node.inputs
        if a is b or a.shape != b.shape:
            continue
        # The later of two convolutions takes the sum: the other's result is there by then.
        for mine, other in sorted(((a, b), (b, a)), key=lambda pair: -position.get(pair[0].node, -1)):
            if can_take(mine, node, graph, consumers):
                take(graph, mine.node, node, other, consumers)
                position[mine.node] = position[node]
                break
    graph.nodes.sort(key=position.__getitem__)


def can_take(value: Value, add: Node, graph: Graph, consumers) -> bool:
    producer = value.node
    return (producer is not None and "residual" in producer.row.applies and len(value.shape) == 4
            and producer.epilogue.residual is None
            and producer.epilogue.activation is None and graph.only_consumer(value, consumers) is add)


def take(graph: Graph, producer: Node, add: Node, other: Value, consumers) -> None:
    """The producer computes the sum, whose place it is to have."""
    producer.epilogue.residual = other
    producer.inputs = list(producer.inputs)
    graph.drop(add, producer.output, consumers)
    consumers[other].append(producer)
