"""The graph: a plain list of nodes over registry rows, in an order in which they can run.

A Value is what a node makes; constants are NumPy arrays among a node's inputs. Passes
rewrite the list in place.
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..core.registry import OPS, Op
from ..core.symbolic import SymInt
from .activations import Act

# The row of nodes that have bodies: it has no traits.
CONTROL: Any = SimpleNamespace(
    pointwise=False, activation=False, epilogue=None, applies=frozenset(), per_sample=False, filter_axis=None,
    macs=None, kernels=(), random=False)


# The row of layers on bytes (passes/bytes_products.py), which apply an activation to real results.
ON_BYTES: Any = SimpleNamespace(**{**vars(CONTROL), "applies": frozenset({"activation"})})


@dataclass(eq=False, slots=True)
class Value:
    """One array of the graph. `name` is for people."""
    shape: tuple[int, ...]
    dtype: np.dtype
    node: Node | None = None      # what makes it; None for an input of the graph
    name: str = ""
    constant: SymInt | None = None   # of a graph for several sizes: the formula of an array

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __repr__(self):
        return f"{self.name or 'value'}{list(self.shape)}"


@dataclass(eq=False, slots=True)
class Epilogue:
    """What a node does to its result before storing it: add `residual`, apply `activation`, then
    take the maximum of 2x2 squares."""
    activation: Act | None = None
    residual: Value | None = None
    pool: bool = False


@dataclass(eq=False, slots=True)
class Node:
    """A call of a row. `where` is the line of the caller's code that made it.

    A convolution of one filter a channel that has two outputs also makes the mean of each
    channel, (n, channels, 1, 1).

    A node that chooses between graphs or repeats one (control.py) has them as `bodies`; they read
    what is among its inputs and nothing else from outside.
    """
    op: str
    inputs: list            # of Value, np.ndarray or None
    attrs: dict
    outputs: list[Value] = field(default_factory=list)
    where: str = ""
    module: str = ""        # dotted name of the module it was called in
    epilogue: Epilogue = field(default_factory=Epilogue)
    normalised: tuple | None = None   # (scale, shift): a convolution reads max(x scale + shift, 0), numbers a channel
    gate: Value | None = None         # a convolution reads x gate, (n, channels, 1, 1)
    # layers that are computed with this one, in order; the first reads what this one is given
    before: tuple["Node", ...] = ()
    algorithm: str = ""     # of a convolution, with `why` it was chosen
    why: str = ""
    bodies: tuple[Graph, ...] = ()
    # a number of the run: so many entries of the result's first axis are wanted (counted.py)
    short: Value | None = None
    # of a node on bytes: what it computes with, and what it makes of its result (on_bytes.py)
    on_bytes: Any = None
    filters_in_run: bool = False      # Winograd's are transformed in each run, and not kept

    @property
    def row(self) -> Op:
        if self.on_bytes is not None:
            return ON_BYTES if self.op in ("bytes_conv", "bytes_linear") else CONTROL
        return CONTROL if self.bodies else OPS[self.op]

    @property
    def macs(self) -> int:
        """Multiply-adds, those with padding counted; 0 for rows that count none."""
        return self.row.macs(*self.inputs, **self.attrs) if self.row.macs else 0

    @property
    def output(self) -> Value:
        return self.outputs[0]

    def values(self) -> list[Value]:
        """The values it reads."""
        found = [v for v in self.inputs if v.__class__ is Value]
        if self.epilogue.residual is not None:
            found.append(self.epilogue.residual)
        if self.gate is not None:
            found.append(self.gate)
        if self.short is not None:
            found.append(self.short)
        return found

    def replace_input(self, old: Value, new: Value) -> None:
        self.inputs = [new if v is old else v for v in self.inputs]
        if self.epilogue.residual is old:
            self.epilogue.residual = new
        if self.gate is old:
            self.gate = new
        if self.short is old:
            self.short = new


class Graph:
    """Inputs, nodes and outputs. What is dropped leaves `nodes` when they are next looked at, so
    that a pass which drops many of n nodes takes n steps and not n^2.

    cuts: (output, axis, output that says how many entries are there) of outputs whose lengths
    depend on data (counted.py).
    """

    __slots__ = ("inputs", "outputs", "cuts", "_dropped", "_nodes")

    def __init__(self, inputs: list[Value], nodes: list[Node], outputs: list[Value]):
        self.inputs, self.outputs, self._nodes = inputs, outputs, nodes
        self.cuts: list[tuple[int, int, int]] = []
        self._dropped: set[Node] = set()

    @property
    def nodes(self) -> list[Node]:
        if self._dropped:
            self._nodes[:] = [n for n in self._nodes if n not in self._dropped]
            self._dropped.clear()
        return self._nodes

    def every(self) -> Iterator[Node]:
        """Its nodes, and those of their bodies."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.every()

    def consumers(self) -> dict[Value, list[Node]]:
        """The nodes that read each value, in order; one that reads a value twice is there twice."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:   # every pass asks: this is node.values(), in place
            for value in (*node.inputs, node.epilogue.residual, node.gate, node.short):
                if value.__class__ is Value:
                    if value in found:
                        found[value].append(node)
                    else:
                        found[value] = [node]
        return found

    def only_consumer(self, value: Value, consumers: dict[Value, list[Node]]) -> Node | None:
        """The one node that needs `value`, if there is no other and it is no output of the
        graph."""
        readers = consumers.get(value, [])
        return readers[0] if len(readers) == 1 and value not in self.outputs else None

    def drop(self, node: Node, instead: Value, consumers: dict[Value, list[Node]]) -> None:
        """Removes a node of one output; readers take `instead`. Keeps `consumers` as it should
        be."""
        self._dropped.add(node)
        for value in node.values():
            consumers[value].remove(node)
        old = node.output
        readers = consumers.pop(old, [])
        for reader in readers:
            reader.replace_input(old, instead)
        consumers.setdefault(instead, []).extend(readers)
        if old in self.outputs:
            self.outputs = [instead if v is old else v for v in self.outputs]

    def take_over(self, node: Node, other: Node, consumers: dict[Value, list[Node]]) -> None:
        """Removes a reader of the node's result; the node makes its one output, too."""
        self._dropped.add(other)
        for value in other.values():
            consumers[value].remove(other)
        node.outputs.append(other.output)
        other.output.node = node
