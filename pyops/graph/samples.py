"""Batches taken a sample at a time.
Where a single sample's intermediate results outgrow the last-level cache, a batch gains nothing
from going through the layers together, and takes its number of samples times the memory. If every
node treats samples apart, the program is planned for one and run once for each.
"""
from __future__ import annotations

import numpy as np

from .ir import Graph, Node

# bytes of intermediate results beyond which a sample leaves nothing in cache for the next layer
CACHE = 32 << 20


def apart(graph: Graph) -> bool:
    """Whether each sample of the batch goes through the graph on its own."""
    batches = {v.shape[0] if v.shape else 0 for v in (*graph.inputs, *graph.outputs)}
    if len(batches) != 1:
        return False
    (batch,) = batches
    return batch > 1 and all(treats_samples_apart(node, batch) for node in graph.nodes)


def treats_samples_apart(node: Node, batch: int) -> bool:
    """Whether the first axis is the batch in all that the node reads and makes, and what it makes
    for a sample comes from that alone.
    """
    if any(len(v.shape) != 4 or v.shape[0] != batch for v in (*node.values(), *node.outputs)):
        return False
    row, first = node.row, node.inputs[0]
    if row.filter_axis is None and any(isinstance(v, np.ndarray) and v.ndim == 4 and v.shape[0] == batch
                                       for v in node.inputs):
        return False   # a constant with numbers for each sample
    return row.per_sample(first.shape, **node.attrs) if callable(row.per_sample) else row.per_sample
