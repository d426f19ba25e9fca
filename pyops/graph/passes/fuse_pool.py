"""Takes a 2x2 maximum of a Winograd convolution's result inside its output transform. Runs once the
algorithms are chosen. With a dilation the places of a tile lie apart, and so do those that are pooled.
"""
from __future__ import annotations

from ..ir import Graph, Node


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        fuse(graph, node, consumers)


def fuse(graph: Graph, node: Node, consumers) -> None:
    if (not node.algorithm.startswith("winograd") or node.epilogue.residual is not None
            or node.attrs["dilation"] != (1, 1)):
        return
    reader = graph.only_consumer(node.output, consumers)
    if reader is None or reader.op != "max_pool":
        return
    w = reader.attrs["window"]
    if ((w.kernel, w.stride, w.padding, w.dilation) == ((1, 2, 2), (1, 2, 2), (0, 0, 0), (1, 1, 1))
            and w.axes == 2 and w.output[1:] == tuple(i // 2 for i in w.input[1:])):
        node.epilogue.pool = True
        node.outputs[0].shape = reader.output.shape
        graph.drop(reader, node.output, consumers)
