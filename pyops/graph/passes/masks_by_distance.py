"""A constant mask of attention whose numbers depend on the distance of key and query alone becomes a number
for each distance: L + S - 1 of them for L x S, a head. Such are T5's and ALiBi's biases in files of other
people's networks, with what hides later keys or keys beyond a band added to them."""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node
from ..shared import once

LEAST = 1 << 10   # numbers a head from which it pays


def run(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op == "attention" and node.output.dtype == np.float32 and not node.attrs["causal"]:
            taken(node)


def taken(node: Node) -> None:
    q, k, _, mask = node.inputs
    if not isinstance(mask, np.ndarray) or mask.ndim < 2 or mask.shape[-2:] != (q.shape[-2], k.shape[-2]):
        return
    queries, keys = mask.shape[-2:]
    if min(queries, keys) < 2 or queries * keys < LEAST or not by_distance(mask):
        return
    node.op, node.inputs = "attention_within", [*node.inputs[:3], None, None, distances(mask)]


def by_distance(mask: np.ndarray) -> bool:
    """Whether every diagonal holds one number; a row at a time, so that no comparison is as large."""
    return all(np.array_equal(mask[..., i, 1:], mask[..., i - 1, :-1]) for i in range(1, mask.shape[-2]))


@once
def distances(mask: np.ndarray) -> np.ndarray:
    """(..., L + S - 1): that of key - query at key - query + L - 1."""
    return np.concatenate([mask[..., :0:-1, 0], mask[..., 0, :]], -1)
