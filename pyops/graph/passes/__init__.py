"""Rewrites of the graph, each its own file, in the order they run. A pass takes the graph and changes it."""
from . import (
    drop_dead,
    fold_batch_norm,
    fuse_activation,
    fuse_gate,
    fuse_normalised_input,
    fuse_residual,
    simplify,
)

ORDER = (simplify.run, drop_dead.run, fold_batch_norm.run, fuse_residual.run, fuse_activation.run,
         fuse_normalised_input.run, fuse_gate.run, drop_dead.run)


def run_all(graph) -> None:
    for each in ORDER:
        each(graph)
