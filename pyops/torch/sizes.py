"""torch's dynamic shapes: modules exported once for several sizes, and exported programs with ranges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..core.front_ends import ForSizes
from .exported import as_function, recorded, taken_apart
from .refusals import UnsupportedOp


def of_module(module, inputs, axes) -> ForSizes | None:
    """A module exported with these axes open; None where torch makes them constants. Axes of one or
    none are exported as two, which torch then takes to be at least so many."""
    sizes = [list(x.shape) for x in inputs]
    for i, axis in axes:
        sizes[i][axis] = max(2, sizes[i][axis])
    examples = tuple(torch.from_numpy(np.zeros(s, x.dtype)) for s, x in zip(sizes, inputs))
    open_axes = tuple(
        {axis: torch.export.Dim.AUTO for k, axis in axes if k == i} or None for i in range(len(inputs))
    )
    try:
        program = taken_apart(recorded(module, examples, open_axes))
    except Exception:  # torch's own, of a dozen unrelated types: then each size is exported, or refused
        return None
    try:
        return of_program(program, inputs, axes, as_it_is=True)
    except UnsupportedOp:  # a call that has a counterpart, or is a constant, where sizes are numbers
        return None


def of_program(program, inputs, axes, as_it_is: bool = False) -> ForSizes | None:
    """A program for all sizes that it was exported for, if these axes are open in it."""
    limits = Limits(program)
    if not limits.known or not all((i, axis) in limits.symbols for i, axis in axes):
        return None
    return ForSizes(as_function(program if as_it_is else ready(program)), limits.allow)


def ready(program):
    return taken_apart(program.run_decompositions({}))


def checked(program, inputs):
    """A function for inputs of the sizes that the program was exported for. ValueError for others."""
    limits, shapes = Limits(program), [tuple(x.shape) for x in inputs]
    if limits.known and not limits.allow(shapes):
        raise ValueError(f"compile: the program was exported for {limits}, the example is {shapes}")
    return as_function(ready(program))


def ranges(program) -> dict[int, dict[int, tuple[int, int | None]]]:
    """The axes that vary, as pyops.compile has them."""
    limits = Limits(program)
    found: dict = {}
    for (i, axis), symbol in limits.symbols.items():
        found.setdefault(i, {})[axis] = limits.of.get(symbol, (0, None))
    return found


class Limits:
    """Of the inputs of an exported program: shapes with a symbol for each size that varies, the
    range of each, and what else the module's branches asked of them. known: no size is an expression
    of others."""

    def __init__(self, program):
        inputs = set(program.graph_signature.user_inputs)
        values = [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs]
        self.shapes = [tuple(getattr(v, "shape", ())) for v in values]
        self.symbols = {
            (i, axis): size.node.expr
            for i, shape in enumerate(self.shapes)
            for axis, size in enumerate(shape)
            if isinstance(size, torch.SymInt)
        }
        self.known = all(e.is_Symbol for e in self.symbols.values())
        self.of = {symbol: (bound(r.lower, 0), bound(r.upper, None)) for symbol, r in program.range_constraints.items()}

        symbols = set(self.symbols.values())
        environments = {id(s.node.shape_env): s.node.shape_env for shape in self.shapes for s in shape
                        if isinstance(s, torch.SymInt)}
        self.guards = [guard.expr for environment in environments.values() for guard in environment.guards
                       if guard.expr.free_symbols <= symbols]

    def allow(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        found: dict = {}
        for i, (wanted, given) in enumerate(zip(self.shapes, shapes, strict=True)):
            if len(wanted) != len(given):
                return False
            for axis, (want, size) in enumerate(zip(wanted, given)):
                symbol = self.symbols.get((i, axis))
                if symbol is None:
                    if want != size:
                        return False
                    continue
                least, most = self.of.get(symbol, (0, None))
                if found.setdefault(symbol, size) != size or size < least or most is not None and size > most:
                    return False
        return all(bool(guard.subs(found)) for guard in self.guards)

    def __str__(self):
        return ", ".join(f"[{', '.join(map(str, shape))}]" for shape in self.shapes)


def bound(value, other):
    """A number, or `other` for infinity."""
    return int(value) if getattr(value, "is_Integer", isinstance(value, int)) else other
