"""A Plan: everything a Program needs to run, as plain data. It comes from lowering, or from a file.

Arrays of a step's arguments are constants (NumPy arrays) or places: tuples (space, index, byte
offset, shape, sample, type) as csrc/program.cpp takes them.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..core.symbolic import PLAIN
from . import memory
from .activations import Act
from .lowering.context import ARENA, Lowering, Ref, Step
from .structure import arrays_in

FLOAT = np.dtype(np.float32)
VERSION = 7   # raised when kernels' arguments or the file's layout change
# 6 may have groups that do not fill blocks as wider ones, which are refused; 5 has no lengths that depend on
# data, branches or loops, either
READ = (5, 6, 7)


@dataclass(slots=True)
class PlannedStep:
    """One kernel call, and what people want to know of it."""
    kernel: str
    args: tuple
    op: str
    module: str
    value: str                # name of the result
    shape: tuple[int, ...]    # of the result
    layout: str
    algorithm: str
    why: str
    flops: float
    bytes: int
    covers: tuple[str, ...] = ()   # modules, where the step does the work of several


@dataclass(slots=True)
class Plan:
    steps: list[PlannedStep]
    inputs: list[tuple[tuple[int, ...], np.dtype]]
    outputs: list[tuple[tuple[int, ...], np.dtype]]
    structure: object         # of the result, with positions of outputs in it (trace.flatten)
    arena: int                # bytes
    precision: str
    constants: list[np.ndarray] = field(default_factory=list)
    states: int = 0           # how many of the last inputs are the state that Program.step keeps
    # (output, axis, output with the count): lengths that depend on data, as Graph.cuts
    cuts: list[tuple[int, int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, low: Lowering, structure, precision: str) -> Plan:
        arena = memory.plan(low.steps)
        steps = [planned(s) for s in low.steps]
        held = [a for s in steps for a in s.args] + arrays_in(structure)
        constants = list({id(a): a for a in held if isinstance(a, np.ndarray)}.values())
        return cls(steps, [(v.shape, v.dtype) for v in low.graph.inputs],
                   [(v.shape, v.dtype) for v in low.graph.outputs], structure, arena, precision, constants,
                   cuts=low.graph.cuts)


def planned(step: Step) -> PlannedStep:
    node, last, traffic = step.node, None, 0
    for a in step.args:
        if type(a) is Ref:
            last = a
            traffic += math.prod(a.shape) * a.dtype.itemsize
        elif isinstance(a, np.ndarray):
            traffic += a.nbytes
    layout = "nChw16c" if last is not None and last.sample and len(last.shape) == 5 else "planar"
    return PlannedStep(step.kernel, tuple(map(native_argument, step.args)), op_of(step), node.module if node
                       else "", node.output.name if node else "", node.output.shape if node else (), layout,
                       step.algorithm, step.why, float(step.flops), traffic, step.covers)


def native_argument(a):
    """A step's argument as _C.Program.add takes it."""
    kind = type(a)
    if kind in PLAIN or kind is np.ndarray:
        return a
    if kind is Ref:
        buffer = a.buffer
        place = (buffer.space, buffer.index, a.offset + (buffer.offset if buffer.space == ARENA else 0),
                 tuple(map(int, a.shape)), a.sample)
        return place if a.dtype == FLOAT else (*place, str(a.dtype))   # without a type: float32
    if isinstance(a, np.generic):
        return a.item()
    if isinstance(a, Act):
        return tuple(a)
    return tuple(map(native_argument, a)) if isinstance(a, tuple) else a


def op_of(step: Step) -> str:
    if step.node is None:
        return step.kernel
    fused = step.node.epilogue
    op = "+".join([step.node.op] * max(1, len(step.covers)))
    return op + ("+add" if fused.residual is not None else "") + ("+act" if fused.activation
                                                                  else "") + ("+pool" if fused.pool else "")


def nbytes(shape, dtype) -> int:
    return int(math.prod(shape)) * np.dtype(dtype).itemsize
