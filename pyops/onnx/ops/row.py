"""The table of operators, and what a row sees of a node."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph.trace import Traced

OPS: dict[str, Callable] = {}


class Unsupported(TypeError):
    """An operator with arguments for which there is no counterpart here."""


@dataclass
class Call:
    """A node with its inputs, None where one is left out. evaluate(graph, inputs) runs a subgraph with the values around it."""
    node: Any
    inputs: list
    evaluate: Callable

    def __getitem__(self, i):
        return self.inputs[i] if i < len(self.inputs) else None

    def attr(self, name, default=None):
        return self.node.attrs.get(name, default)

    @property
    def version(self) -> int:
        return self.node.version

    def wants(self, i) -> bool:
        """Whether somebody names output i."""
        return len(self.node.outputs) > i and bool(self.node.outputs[i])

    def numbers(self, i, name=None, default=None):
        """An argument that must be known while compiling, as a list: input i, or the attribute of older operator sets."""
        if self[i] is not None:
            return [v.item() for v in np.ravel(known(self[i], name or f"input {i}"))]
        value = self.attr(name, default)
        return list(value) if isinstance(value, (list, tuple)) else value


def op(*names):
    def enter(function):
        for name in names:
            assert name not in OPS, name
            OPS[name] = function
        return function
    return enter


def known(value, what):
    if isinstance(value, Traced):
        raise Unsupported(f"{what} depends on the model's input; shapes and indices must be known when a Program is made")
    return np.asarray(value)


def traced(*values) -> bool:
    return any(isinstance(v, Traced) for v in values)


def real(*values) -> bool:
    """Whether our kernels take them: traced, or float32 or float64 of one type."""
    types = {np.dtype(v.dtype) for v in values if v is not None}
    return traced(*values) or len(types) == 1 and types <= {np.dtype(np.float32), np.dtype(np.float64)}


def rank(x) -> int:
    return len(x.shape)
