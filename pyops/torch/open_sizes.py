"""A graph of dynamo whose sizes are symbols: exported once, for whatever sizes come.

torch.export takes seconds for a detector, and what is done here with what it makes of the graph a tenth
of one. So sizes stay symbols in it and are numbers again when a Program is made for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils import _pytree as pytree

from .exported import as_function, recorded, taken_apart
from .layouts import Layout
from .sizes import Limits

Place = tuple[int, int]  # an argument of the graph, and an axis of it


@contextmanager
def without_thresholds() -> Iterator[None]:
    """torch takes no convolution of oneDNN's, which it chooses by the number of elements."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


class OpenSizes:
    """numbers: places of the arguments that are sizes, each with the symbol it is; axes: of tensors,
    those whose size is a symbol.
    """

    def __init__(self, numbers: dict[int, object], axes: dict[Place, object]) -> None:
        self.numbers, self.axes = numbers, axes
        self.program: torch.export.ExportedProgram | None = None
        self.limits: Limits | None = None
        self.refused = False

    @classmethod
    def of(cls, gm: torch.fx.GraphModule, varying: Sequence[int]) -> OpenSizes | None:
        """None for a graph without symbols, or with an argument that is neither a tensor nor one."""
        values = [node.meta.get("example_value") for node in gm.graph.find_nodes(op="placeholder")]
        numbers: dict[int, object] = {}
        axes: dict[Place, object] = {}
        for i in varying:
            value = values[i] if i < len(values) else None
            if isinstance(value, torch.SymInt) and value.node.expr.is_Symbol:
                numbers[i] = value.node.expr
            elif isinstance(value, torch.Tensor):
                axes |= {(i, k): n.node.expr for k, n in enumerate(value.shape) if isinstance(n, torch.SymInt)}
            else:
                return None
        return cls(numbers, axes) if numbers or axes else None

    @staticmethod
    def ones(gm: torch.fx.GraphModule, layout: Layout) -> bool:
        """Whether a result has an axis of one that may be longer: of such a one, turned axes lie in order,
        too."""
        values = (x.meta.get("example_value") if isinstance(x, torch.fx.Node) else None
                  for x in pytree.tree_leaves(gm.graph.output_node().args))
        return any(r is not None and n == 1 and isinstance(size, torch.SymInt)
                   for r, value in zip(layout.results, values, strict=True) if isinstance(value, torch.Tensor)
                   for n, size in zip(r.size if r is not None else (), value.shape))

    def forget(self) -> None:
        """What was exported: it reads the weights where they lay."""
        self.program, self.limits, self.refused = None, None, False

    def exported(self, bound, inputs: Sequence, positions: Sequence[int]):
        """The program, if it is for inputs of these sizes. bound: the graph as a module of its tensors
        (backend.Bound), which tells what its numbers are by `sizes`.
        """
        if self.program is None and not self.refused:
            alone = self.alone(positions)
            bound.sizes = self.found(positions, alone)
            examples = (*(torch.zeros(inputs[i].shape, dtype=inputs[i].dtype) for i in positions),
                        *(torch.zeros(inputs[i], 0) for i in alone))
            open_axes = (*({k: torch.export.Dim.AUTO for j, k in self.axes if j == i} for i in positions),
                         *({0: torch.export.Dim.AUTO} for _ in alone))
            try:
                with without_thresholds():
                    program = recorded(bound, examples, (open_axes,))
            except Exception:  # torch's own, of a dozen unrelated types: then each size is exported, or refused
                self.refused = True
                return None
            signature = program.graph_signature
            self.refused = bool(signature.buffers_to_mutate or signature.user_inputs_to_mutate)
            if self.refused:   # which the export for one size finds, too
                return None
            self.program = taken_apart(program)
            self.limits = Limits(self.program)
        if self.program is None or self.limits is None or not self.limits.known:
            return None
        shapes = [*(tuple(inputs[i].shape) for i in positions), *((inputs[i], 0) for i in self.alone(positions))]
        return self.program if self.limits.allow(shapes) else None

    def function(self, inputs: Sequence, positions: Sequence[int]) -> Callable:
        """Of arrays of these inputs' sizes, for pyops.compile. UnsupportedOp for a call without a
        counterpart."""
        numbers = [np.zeros((inputs[i], 0), np.float32) for i in self.alone(positions)]
        function = as_function(self.program)
        return lambda *arrays: function(*arrays, *numbers)

    def alone(self, positions: Sequence[int]) -> list[int]:
        """The numbers that are no tensor's size. They come as the lengths of arrays without elements."""
        lengths = {symbol for (i, _), symbol in self.axes.items() if i in positions}
        return [i for i, symbol in self.numbers.items() if symbol not in lengths]

    def found(self, positions: Sequence[int], alone: Sequence[int]) -> dict[int, Place]:
        """Of each number, the tensor given and the axis of it that have this size."""
        given = {i: n for n, i in enumerate(positions)}
        where = {symbol: (given[i], k) for (i, k), symbol in self.axes.items() if i in given}
        return {i: (len(positions) + alone.index(i), 0) if i in alone else where[symbol]
                for i, symbol in self.numbers.items()}
