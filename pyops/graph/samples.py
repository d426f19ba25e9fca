"""Batches taken a sample at a time.

Where a single sample's intermediate results outgrow the last-level cache, a batch gains nothing from going through the layers together, and
takes its number of samples times the memory. If every node treats samples apart, the program is planned for one and run once for each.
"""
from __future__ import annotations

import numpy as np

from .ir import Graph, Value

CACHE = 32 << 20      # bytes of intermediate results beyond which a sample leaves nothing in cache for the next layer
# Rows whose results for a sample come from that sample alone, given that the first axis is the batch in all they read and make.
APART = {"conv", "conv_transpose", "max_pool", "avg_pool", "batch_norm", "relu", "hardtanh", "leaky_relu", "sigmoid", "tanh", "silu", "hardsigmoid",
         "hardswish", "gelu", "gelu_tanh", "elu", "resample"}


def apart(graph: Graph) -> bool:
    """Whether each sample of the batch goes through the graph on its own."""
    batches = {v.shape[0] if v.shape else 0 for v in (*graph.inputs, *graph.outputs)}
    if len(batches) != 1:
        return False
    (batch,) = batches
    return batch > 1 and all(treats_samples_apart(node, batch) for node in graph.nodes)


def treats_samples_apart(node, batch: int) -> bool:
    values = [*node.values(), *node.outputs]
    if any(len(v.shape) != 4 or v.shape[0] != batch for v in values):
        return False
    if any(isinstance(v, np.ndarray) and v.ndim == 4 and v.shape[0] == batch for v in node.inputs) and not node.op.startswith("conv"):
        return False   # a constant with numbers for each sample
    if node.op == "cat":
        return node.attrs["dim"] in (1, -3)
    if node.op in ("add", "mul"):
        return all(isinstance(v, Value) for v in node.inputs) and len({v.shape for v in values}) == 1
    return node.op in APART
