"""Removes nodes whose results nothing needs: the auxiliary heads of a network in
evaluation, for example."""
from __future__ import annotations

from ..ir import Graph


def run(graph: Graph) -> None:
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(node.values())
    graph.nodes[:] = reversed(kept)
