"""Lets a depthwise convolution make the mean of each channel of its result, too, as
squeeze-and-excitation needs it.
"""
from __future__ import annotations

from ..ir import Graph, Node
from .fuse_inverted import has_a_filter_a_channel


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if not has_a_filter_a_channel(node):   # of a block: its last layer
            continue
        mean = next((reader for reader in consumers.get(node.output, ()) if is_global_mean(reader)), None)
        if mean is not None:
            graph.take_over(node, mean, consumers)


def is_global_mean(node: Node) -> bool:
    """A pooling, over two axes, of whole images."""
    if node.op != "avg_pool" or node.attrs["window"].axes != 2 or len(node.inputs[0].shape) != 4:
        return False
    w = node.attrs["window"]
    return (w.output == (1, 1, 1) and w.padding == (0, 0, 0) and w.kernel in ((0, 0, 0), w.input)
            and not node.attrs["divisor"])
