"""What a model consists of, read from its trace: for each layer its result's shape, its parameters
and its multiply-adds."""
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from .ir import Graph
from .trace import trace


@dataclass(frozen=True)
class Layer:
    """A module that has no modules below it. shape: of its result, at the last time that it ran."""
    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """str() is the table. macs and parameters are those of the whole model, ops outside of
    its layers included."""
    title: str
    layers: tuple[Layer, ...]
    parameters: int
    macs: int

    def __str__(self):
        rows = [("layer", "kind", "output", "parameters", "MACs")]
        rows += [(a.name, a.kind, " x ".join(map(str, a.shape)), f"{a.parameters:,}", f"{a.macs:,}")
                 for a in self.layers]
        rows.append((self.title, "", "", f"{self.parameters:,}", f"{self.macs:,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = ["  ".join(cell.rjust(w) if i > 2 else cell.ljust(w)
                           for i, (cell, w) in enumerate(zip(row, widths))).rstrip()
                 for row in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


@contextmanager
def evaluating(model):
    """Every module in evaluation mode while the block runs."""
    before = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def graph_of(model, shape: tuple[int, ...] | None) -> Graph:
    """The trace for one input of `shape` without its batch axis; None: the published size
    (`model.image`), of type `model.takes`, float32 where it says nothing. ValueError where there is
    none."""
    shape = shape or getattr(model, "image", None)
    if shape is None or any(not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"{type(model).__name__}: needs the shape of an input without its batch axis, such "
                         f"as (3, 224, 224), got {shape!r}")
    with evaluating(model):
        return trace(model, (np.zeros((1, *shape), getattr(model, "takes", np.float32)),))[0]


def summary(model, shape: tuple[int, ...] | None = None) -> Summary:
    """The layers in the order in which they run. shape: of one input, (channels, height, width);
    None: the published size."""
    graph = graph_of(model, shape)
    modules, ran = dict(model.named_modules()), {}
    for node in graph.nodes:
        ran.setdefault(node.module, []).append(node)
    layers = [Layer(name, type(modules[name]).__name__, nodes[-1].outputs[0].shape,
                    sum(p.size for p in modules[name].parameters()), sum(node.macs for node in nodes))
              for name, nodes in ran.items() if name in modules and not any(modules[name].children())]
    return Summary(type(model).__name__, tuple(layers), sum(p.size for p in model.parameters()),
                   sum(node.macs for node in graph.nodes))
