"""A graph that is traced and rewritten once, for sizes as they come.

The sizes of its values and the attributes that follow from them are formulas (core/symbolic.py);
what passes decide by them is a guard. A graph of plain numbers for other sizes is a copy with the
numbers filled in: no call of the model, no pass, and the weights are the same arrays.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..core.symbolic import Evaluated, Formulas, at, symbolic
from .ir import Epilogue, Graph, Node, Value
from .trace import trace

Axes = set[tuple[int, int]]   # (input, axis) that vary


class Sized:
    """A graph for all sizes by which its guards come out the same."""

    def __init__(self, graph: Graph, structure: Any, evaluated: Evaluated, axes: Axes) -> None:
        self.graph, self.structure, self.evaluated = graph, structure, evaluated
        self.axes = sorted(axes)
        self.varying = {id(node) for node in every(graph.nodes) if symbolic(node.attrs)}

    @classmethod
    def of(cls, model: Callable[..., Any], inputs: Sequence[np.ndarray], axes: Axes,
           passes: Callable[[Graph], None]) -> Sized:
        """Traced on arrays of these shapes; what trace raises, for a model that cannot be."""
        formulas = Formulas()
        graph, structure = trace(model, tuple(inputs), vary=(formulas, axes))
        passes(graph)
        if any(v.constant is not None for v in graph.outputs):
            raise ValueError("a result depends on the sizes of the inputs alone")
        return cls(graph, structure, formulas.closed(), axes)

    def filled(self, shapes: Sequence[tuple[int, ...]]) -> tuple[Graph, Any] | None:
        """The graph for inputs of these shapes and the structure of results; None if it is for others."""
        for i, value in enumerate(self.graph.inputs):
            if len(value.shape) != len(shapes[i]) or any(
                    (i, axis) not in self.axes and value.shape[axis] != n for axis, n in enumerate(shapes[i])):
                return None
        numbers = self.evaluated.at([shapes[i][axis] for i, axis in self.axes])
        return None if numbers is None else (Copy(self.graph, numbers, self.varying).graph, at(self.structure, numbers))


def every(nodes: Iterable[Node]) -> Iterator[Node]:
    """The nodes, those that they do the work of, and those of their bodies."""
    for node in nodes:
        yield from every(node.before)
        yield node
        for body in node.bodies:
            yield from every(body.nodes)


class Copy:
    """A graph with numbers for its formulas, which the attributes of nodes in `varying` have."""

    def __init__(self, graph: Graph, numbers: list[Any], varying: set[int]) -> None:
        self.numbers, self.varying = numbers, varying
        self.values: dict[Value, Any] = {}
        inputs = [self.value(v, None) for v in graph.inputs]
        nodes = [made for n in graph.nodes if (made := self.node(n)) is not None]
        self.graph = Graph(inputs, nodes, [self.values[v] for v in graph.outputs])
        self.graph.cuts = graph.cuts

    def value(self, value: Value, node: Node | None) -> Value:
        shape = tuple([n if type(n) is int else at(n, self.numbers) for n in value.shape])
        made = Value(shape, value.dtype, node, value.name)
        self.values[value] = made
        return made

    def node(self, node: Node) -> Node | None:
        """None for one that only computes constants, which is done here."""
        before = tuple(map(self.node, node.before))
        attrs = at(node.attrs, self.numbers) if id(node) in self.varying else node.attrs
        made = Node(node.op, [self.read(v) for v in node.inputs], attrs, [], node.where, node.module,
                    Epilogue(node.epilogue.activation, self.read(node.epilogue.residual), node.epilogue.pool),
                    node.normalised, self.read(node.gate), before, node.algorithm, node.why,
                    tuple(Copy(body, self.numbers, self.varying).graph for body in node.bodies),
                    self.read(node.short), node.on_bytes)
        if not node.bodies and not any(isinstance(v, Value) for v in made.inputs) and any(
                isinstance(v, Value) for v in node.inputs):
            self.known(node, made)
            return None
        made.outputs = [self.value(v, made) for v in node.outputs]
        return made

    def known(self, node: Node, made: Node) -> None:
        results = made.row(*made.inputs, **made.attrs)
        for value, result in zip(node.outputs, results if isinstance(results, tuple) else (results,)):
            self.values[value] = result

    def read(self, value: Any) -> Any:
        if not isinstance(value, Value):
            return value
        if value.constant is not None and value not in self.values:
            self.values[value] = at(value.constant, self.numbers)
        return self.values[value]
