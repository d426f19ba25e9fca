"""Program: the kernel calls of a compiled model, run in one call without the GIL and without allocating."""
from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from .. import _C
from . import memory
from .lowering.context import ARENA, Lowering, Map, Ref, Step


class Program:
    """A compiled model. program(x, ...) -> what the model returns, for arrays of the shapes and dtypes it was compiled for.

    Several Python threads may call one Program at once; each gets a workspace, and none holds the GIL while it computes.
    """

    def __init__(self, low: Lowering, structure: Callable, options, again: Callable | None = None):
        self.steps = low.steps
        self.inputs = [(v.shape, v.dtype) for v in low.graph.inputs]
        self.outputs = [(v.shape, v.dtype) for v in low.graph.outputs]
        self.isa, self.threads, self.precision = options.isa, options.threads, options.precision
        self._structure = structure
        self._again, self._others = again, {}
        self.arena_bytes = memory.plan(self.steps)
        self.weight_bytes = weight_bytes(self.steps)
        self._native = _C.Program(self.isa, self.arena_bytes, [nbytes(*i) for i in self.inputs], [nbytes(*o) for o in self.outputs], self.threads)
        for step in self.steps:
            self._native.add(step.kernel, tuple(native_argument(a) for a in step.args))

    def __call__(self, *arrays):
        ready = self._ready(arrays)
        if ready is None:
            return self._replanned(arrays)(*arrays)
        results = tuple(np.empty(shape, dtype) for shape, dtype in self.outputs)
        self._native.run(ready, results)
        return self._structure(results)

    # ---- inputs

    def _ready(self, arrays) -> tuple | None:
        """The arrays as the kernels take them; None if the program is to be planned again for them."""
        if len(arrays) != len(self.inputs):
            raise TypeError(f"program: takes {len(self.inputs)} inputs, got {len(arrays)}")
        ready = []
        for i, (array, (shape, dtype)) in enumerate(zip(arrays, self.inputs)):
            array = as_array(array)
            if array.dtype != dtype or array.shape != shape:
                if self._again is not None and array.dtype == dtype and array.shape[1:] == shape[1:] and array.ndim == len(shape):
                    return None
                raise ValueError(f"program: input {i} is {array.dtype}{list(array.shape)}, compiled for {dtype}{list(shape)}"
                                 + ("" if array.dtype != dtype or array.shape[1:] != shape[1:] else "; dynamic_batch=True takes any batch"))
            ready.append(np.ascontiguousarray(array).reshape(shape))
        return tuple(ready)

    def _replanned(self, arrays) -> "Program":
        shapes = tuple((a.shape, a.dtype) for a in map(as_array, arrays))
        if shapes not in self._others:
            self._others[shapes] = self._again(shapes)
        return self._others[shapes]

    # ---- looking inside

    def run_timed(self, *arrays) -> list[float]:
        """Seconds of each step in one run."""
        results = tuple(np.empty(shape, dtype) for shape, dtype in self.outputs)
        return self._native.run_timed(self._ready(arrays), results)

    def measured(self, rounds: int = 20) -> list[float]:
        """The shortest time of each step over `rounds` runs on random input, in seconds."""
        rng = np.random.default_rng(0)
        arrays = [rng.standard_normal(s).astype(d) if d == np.float32 else np.zeros(s, d) for s, d in self.inputs]
        return list(np.min([self.run_timed(*arrays) for _ in range(rounds)], axis=0))

    def summary(self, rounds: int = 20) -> str:
        """A line a step: op, module, result, algorithm, layout, MFLOP, MB, measured ms and share of the multiply-add peak."""
        from ..machine import ceilings
        peak = ceilings(self.isa, "f32", self.threads, 0.05).gflops
        seconds = self.measured(rounds)
        lines = [f"{'op':<16} {'module':<28} {'result':<20} {'algorithm':<12} {'layout':<8} {'MFLOP':>9} {'MB':>7} {'ms':>8} {'% peak':>7}"]
        for step, s in zip(self.steps, seconds):
            lines.append(f"{op_of(step):<16} {module_of(step):<28.28} {shape_of(step):<20} {step.algorithm:<12} {layout_of(step):<8} {step.flops / 1e6:>9.2f} "
                         f"{step_bytes(step) / 1e6:>7.2f} {s * 1e3:>8.3f} " + (f"{100 * step.flops / s / 1e9 / peak:>7.0f}" if step.flops else f"{'':>7}"))
        flops, total = sum(s.flops for s in self.steps), sum(seconds)
        lines.append(f"{len(self.steps)} steps, {flops / 1e9:.2f} GFLOP, {total * 1e3:.3f} ms ({100 * flops / total / 1e9 / peak:.0f} % of {peak:.0f} GFLOP/s), "
                     f"{self.threads} threads, {self.isa}; arena {self.arena_bytes / 1e6:.1f} MB, weights {self.weight_bytes / 1e6:.1f} MB")
        return "\n".join(lines)

    def explain(self, layer: str) -> str:
        """Which algorithm a layer uses and why. layer: a module's dotted name, or the name of a value (conv3). KeyError if there is none."""
        found = [s for s in self.steps if s.node is not None and layer in (s.node.module, s.node.output.name)]
        if not found:
            known = sorted({s.node.module for s in self.steps if s.node is not None and s.node.module})
            raise KeyError(f"program: no layer {layer!r}; it has {', '.join(known)}")
        return "\n".join(f"{op_of(s)} {module_of(s)}: {s.algorithm} ({s.kernel}){': ' + s.why if s.why else ''}" for s in found)

    def profile(self, file, rounds: int = 20) -> None:
        """Writes the measured steps as a trace that chrome://tracing and Perfetto open."""
        events, at = [], 0.0
        for step, s in zip(self.steps, self.measured(rounds)):
            events.append({"name": f"{op_of(step)} {module_of(step)}", "cat": step.algorithm, "ph": "X", "pid": 1, "tid": 1, "ts": at * 1e6, "dur": s * 1e6,
                           "args": {"kernel": step.kernel, "result": shape_of(step), "gflops": step.flops / s / 1e9, "why": step.why}})
            at += s
        with open(file, "w") as out:
            json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, out)

    def __repr__(self):
        return f"Program({len(self.steps)} steps, {', '.join(f'{d}{list(s)}' for s, d in self.inputs)}, {self.isa}, {self.threads} threads)"


def as_array(x) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__"):
        return np.from_dlpack(x)
    return np.asarray(getattr(x, "data", x))


def nbytes(shape, dtype) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def native_argument(a):
    """A step's argument as _C.Program.add takes it."""
    if isinstance(a, Ref):
        return (a.buffer.space, a.buffer.index, a.offset + (a.buffer.offset if a.buffer.space == ARENA else 0), a.shape, a.sample)
    if isinstance(a, np.integer):
        return int(a)
    return a


def weight_bytes(steps: list[Step]) -> int:
    seen = {id(a): a.nbytes for s in steps for a in s.args if isinstance(a, np.ndarray)}
    return sum(seen.values())


def op_of(step: Step) -> str:
    if step.node is None:
        return step.kernel
    fused = step.node.epilogue
    return step.node.op + ("+add" if fused.residual is not None else "") + ("+act" if fused.activation else "") + ("+pool" if fused.pool else "")


def module_of(step: Step) -> str:
    return step.node.module if step.node is not None else ""


def shape_of(step: Step) -> str:
    return "x".join(map(str, step.node.output.shape)) if step.node is not None else ""


def layout_of(step: Step) -> str:
    results = [a for a in step.args if isinstance(a, Ref)]
    return "nChw16c" if results and len(results[-1].shape) == 5 and results[-1].sample else "planar"


def step_bytes(step: Step) -> int:
    return sum(nbytes(a.shape, a.dtype) for a in step.refs()) + sum(a.nbytes for a in step.args if isinstance(a, np.ndarray))
