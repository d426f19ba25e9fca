"""Program: the kernel calls of a compiled model, run in one call without the GIL and
without allocating."""
from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from .. import _C
from ..core import ageing, memory
from ..core.backends import available
from ..files.watched import Watch, watch_of
from . import saved, streaming
from .lowering.context import INPUT
from .plan import Plan, PlannedStep, nbytes
from .shared import Recent
from .structure import unflatten


class Program:
    """A compiled model. program(x, ...) -> what the model returns, for arrays of the shapes and
    dtypes it was compiled for.

    Several Python threads may call one Program at once; each gets a workspace, and none holds the
    GIL while it computes. Results do not depend on the number of threads, nor a sample's on the
    others in the batch, bit for bit.
    """

    def __init__(self, plan: Plan, isa: str, threads: int, again: Callable[..., Any] | None = None,
                 samples: int = 1) -> None:
        """samples: how many times the plan, which then is for one sample, is run for a
        batch (samples.py)."""
        self.plan, self.isa, self.threads, self.samples = plan, isa, threads, samples
        self.steps, self.precision = plan.steps, plan.precision
        self.inputs, self.outputs = ([(s if samples == 1 else (samples, *s[1:]), d) for s, d in arrays]
                                     for arrays in (plan.inputs, plan.outputs))
        self._again = again
        self._watch: Watch | None = None   # of the file that weights lie in
        self._others: Recent[Program] = Recent(cast(Any, again))   # of other batch sizes
        self._state: list[Any] | None = None      # of the next step
        # runs at once, and the most since `age` was last called
        self._counting, self._running, self._most_running = threading.Lock(), 0, 0
        self._native = _C.Program(isa, plan.arena, [nbytes(*i) for i in plan.inputs],
                                  [nbytes(*o) for o in plan.outputs], threads)
        for step in plan.steps:
            self._native.add(step.kernel, step.args)

    def __call__(self, *arrays: Any) -> Any:
        ready = self._ready(arrays)
        if ready is None:
            return self._replanned(arrays)(*arrays)
        results = self._results()
        self._begun()
        try:
            for inputs, outputs in self._runs(ready, results):
                self._native.run(inputs, outputs)
        finally:
            self._ended()
        self._intact()
        return unflatten(self.plan.structure, self.cut(results) if self.plan.cuts else results)

    def _intact(self) -> None:
        if self._watch is not None and self._watch.cut:
            raise OSError("program: the file that its weights lie in was cut short, or failed, since it was loaded")

    def _begun(self) -> None:
        """One more run is under way. Each takes a workspace, which is kept for the next."""
        with self._counting:
            self._running += 1
            more = self._running > max(1, self._most_running)
            self._most_running = max(self._most_running, self._running)
        if more:
            ageing.burst(self)

    def _ended(self) -> None:
        with self._counting:
            self._running -= 1

    def age(self) -> None:
        """Gives back what a burst needed and nothing has since the last call of this
        (core/ageing.py): workspaces, where fewer runs at a time have been enough, those of other
        batch sizes, and plans of these that have packed weights of their own.
        """
        with self._counting:
            enough, self._most_running = self._most_running, self._running
        if self._native.workspaces() > max(1, enough):
            self._native.release()
        idle = self._others.idle()
        held = {id(a) for p in (self, *self._others.values()) if p not in idle.values()
                for a in p.plan.constants}
        for key, program in idle.items():
            program._native.release()
            if sum(a.nbytes for a in program.plan.constants if id(a) not in held) > self.weight_bytes >> 5:
                self._others.forget(key)

    # ---- streaming

    def step(self, *arrays: Any) -> Any:
        """One call of a recurrent model, whose state is kept for the next: program.step(x) -> what
        the model returns beside it.

        For programs of pyops.compile(..., state=...). The first call begins with the state zero.
        Not for several threads at once. ValueError for a program that was compiled without a state.
        """
        count = streaming.states_of(self)
        if self._state is None:
            self.reset()
        ready: Any = self._ready((*arrays, *(self._state or ())))
        results = self._results()
        self._native.run(ready, results)
        self._intact()
        structure: Any = self.plan.structure
        rest, new = structure
        self._state = streaming.leaves(new, results)
        assert len(self._state) == count
        return unflatten(rest, self.cut(results))

    def reset(self, state: Any = None) -> None:
        """Makes `state` that of the next step, in the form it was compiled for; zeros if None.
        ValueError where a shape differs."""
        count = streaming.states_of(self)
        wanted = self.inputs[len(self.inputs) - count:]
        if state is None:
            self._state = [np.zeros(shape, dtype) for shape, dtype in wanted]
            return
        given: list[np.ndarray] = []
        streaming.flatten(state, given)
        if [(a.shape, a.dtype) for a in given] != wanted:
            raise ValueError(f"program: the state must be {', '.join(f'{d}{list(s)}' for s, d in wanted)}, "
                             f"got {', '.join(f'{a.dtype}{list(a.shape)}' for a in given)}")
        self._state = [a.copy() for a in given]

    # ---- inputs and outputs

    def _results(self) -> Any:
        return tuple(memory.empty(shape, dtype) for shape, dtype in self.outputs)

    def _ready(self, arrays: Any) -> tuple[Any, ...] | None:
        """The arrays as the kernels take them; None if the program is to be planned again for
        them."""
        if len(arrays) != len(self.inputs):
            raise TypeError(f"program: takes {len(self.inputs)} inputs, got {len(arrays)}")
        ready = []
        for i, (array, (shape, dtype)) in enumerate(zip(arrays, self.inputs)):
            array = as_array(array)
            if array.dtype != dtype or array.shape != shape:
                batch_only = (array.dtype == dtype and array.shape[1:] == shape[1:]
                              and array.ndim == len(shape))
                if self._again is not None and batch_only:
                    return None
                raise ValueError(
                    f"program: input {i} is {array.dtype}{list(array.shape)}, compiled for "
                    f"{dtype}{list(shape)}"
                    + ("; compile with dynamic_batch=True to take any batch" if batch_only else ""))
            ready.append(array if array.flags.c_contiguous and array.flags.aligned
                         else np.require(array, None, ["C", "A"]))
        return tuple(ready)

    def cut(self, results: Any) -> Any:
        """The results of a run, those whose lengths depend on data as long as they are."""
        found = list(results)
        for output, axis, count in self.plan.cuts:
            length = max(0, int(results[count]))   # a file may have put anything there
            found[output] = np.ascontiguousarray(
                found[output][(slice(None),) * axis + (slice(0, length),)])
        return tuple(found)

    def _runs(self, inputs: Any, outputs: Any) -> Any:
        """The arrays of each run of the plan."""
        if self.samples == 1:
            return [(inputs, outputs)]
        return [tuple(tuple(a[i:i + 1] for a in arrays) for arrays in (inputs, outputs))
                for i in range(self.samples)]

    def _replanned(self, arrays: Any) -> Program:
        shapes = tuple((a.shape, a.dtype) for a in map(as_array, arrays))
        if ageing.rests():
            ageing.burst(self)
        return self._others[shapes]

    # ---- files

    def save(self, file: Any) -> None:
        """Writes weights and plan into one file (.npz; a path, or a binary file). It holds no code
        and loads on any instruction set."""
        saved.write(self.plan, file, self.samples)

    def __reduce__(self) -> Any:
        """Pickles, and so multiprocessing, take the saved form, with the state of step(); another
        batch size is refused afterwards."""
        saved = io.BytesIO()
        self.save(saved)
        return restored, (saved.getvalue(), self.isa, self.threads, self._state)

    def __deepcopy__(self, memo: Any) -> Program:
        """A Program of its own on the same plan, which nothing changes."""
        copied = Program(self.plan, self.isa, self.threads, self._again, self.samples)
        copied._state = None if self._state is None else [a.copy() for a in self._state]
        return copied

    def __copy__(self) -> Program:
        return self.__deepcopy__({})

    @classmethod
    def load(cls, file: Any, threads: int | None = None, backend: str | None = None, *,
             mapped: bool = True) -> Program:
        """A saved program, for the active backend's instruction set or that of `backend`. file: a
        path, or a file opened for reading bytes.

        Weights in a file that a path names are mapped: loading does not copy them, and processes share
        them. Such a file must not be written to while the program is there; save replaces it whole. Where it
        is cut short all the same, a run that reads what is gone is an OSError.
        mapped=False reads them, and holds the file's checksums against them.

        A file is data: nothing in it is run, and every kernel call in it is checked before it is
        made. ValueError for a file that is no program, or whose calls are not within their kernels' rules,
        and with mapped=False for one that was changed; FileNotFoundError.
        """
        from ..core.backends import get_backend
        from ..core.threads import get_num_threads
        plan, samples = saved.read(file, bool(mapped))
        program = cls(plan, get_backend(backend).name, threads or get_num_threads(), samples=samples)
        program._watch = next(filter(None, map(watch_of, plan.constants)), None)
        program._intact()
        return program

    # ---- looking inside

    @property
    def arena_bytes(self) -> int:
        """Memory of one run's intermediate results."""
        return self.plan.arena

    @property
    def weight_bytes(self) -> int:
        """Memory of the packed weights."""
        return sum(a.nbytes for a in self.plan.constants)

    def run_timed(self, *arrays: Any) -> list[float]:
        """Seconds of each step in one run."""
        seconds = [self._native.run_timed(*run) for run in self._runs(self._ready(arrays), self._results())]
        self._intact()
        return list(np.sum(seconds, axis=0))

    def measured(self, rounds: int = 20, inputs: Sequence[Any] | None = None) -> list[float]:
        """The shortest time of each step over `rounds` runs, in seconds. inputs: on these, by default
        random numbers; whole ones are 0, but where they say how many keys attention sees: all but one
        of them."""
        arrays = self._likely_inputs() if inputs is None else inputs
        return list(np.min([self.run_timed(*arrays) for _ in range(rounds)], axis=0))

    def _likely_inputs(self) -> list[np.ndarray]:
        rng, lengths = np.random.default_rng(0), lengths_of(self.plan)
        return [rng.standard_normal(s).astype(d) if d == np.float32 else np.full(s, lengths.get(i, 0), d)
                for i, (s, d) in enumerate(self.inputs)]

    def summary(self, rounds: int = 20, inputs: Sequence[Any] | None = None) -> str:
        """A line a step: op, module, result, algorithm, layout, MFLOP, MB, measured ms and share of
        the multiply-add peak. inputs: as in measured."""
        from ..machine import ceilings
        peak = ceilings(self.isa, "f32", self.threads, 0.05).gflops
        seconds = self.measured(rounds, inputs)
        lines = [f"{'op':<16} {'module':<30} {'result':<20} {'algorithm':<10} {'layout':<8} {'MFLOP':>9} "
                 f"{'MB':>7} {'ms':>8} {'% peak':>7}"]
        for step, s in zip(self.steps, seconds):
            share = f"{100 * self.samples * step.flops / s / 1e9 / peak:>7.0f}" if step.flops else " " * 7
            lines.append(
                f"{step.op:<16} {step.module:<30.30} {shape_of(step):<20} {step.algorithm:<10} "
                f"{step.layout:<8} {step.flops / 1e6:>9.2f} {step.bytes / 1e6:>7.2f} {s * 1e3:>8.3f} {share}")
        flops, total = self.samples * sum(s.flops for s in self.steps), sum(seconds)
        if self.samples > 1:
            lines.insert(0, f"a plan for one sample, run {self.samples} times; times and shares are of all "
                         "of them together")
        lines.append(
            f"{len(self.steps)} steps, {flops / 1e9:.2f} GFLOP, {total * 1e3:.3f} ms: "
            f"{100 * flops / total / 1e9 / peak:.0f} % of {peak:.0f} GFLOP/s; {self.threads} threads, "
            f"{self.isa}; arena {self.arena_bytes / 1e6:.1f} MB, weights {self.weight_bytes / 1e6:.1f} MB")
        return "\n".join(lines)

    def explain(self, layer: str) -> str:
        """Which algorithm a layer uses and why. layer: a module's dotted name, or the name of a
        value (conv3). KeyError if there is none."""
        found = [s for s in self.steps if layer and layer in (s.module, s.value, *s.covers)]
        if not found:
            known = sorted({name for s in self.steps for name in (s.covers or [s.module or s.value]) if name})
            raise KeyError(f"program: no layer {layer!r}; it has {', '.join(known)}")
        lines = (f"{s.op} {s.module or s.value}: {s.algorithm} ({s.kernel}){': ' + s.why if s.why else ''}"
                 for s in found)
        return "\n".join(dict.fromkeys(lines))   # a call for each group says the same

    def profile(self, file: Any, rounds: int = 20, inputs: Sequence[Any] | None = None) -> None:
        """Writes the measured steps as a trace that chrome://tracing and Perfetto open. inputs: as in
        measured."""
        events, at = [], 0.0
        for step, s in zip(self.steps, self.measured(rounds, inputs)):
            events.append({"name": f"{step.op} {step.module}".strip(), "cat": step.algorithm, "ph": "X",
                           "pid": 1, "tid": 1, "ts": at * 1e6, "dur": s * 1e6,
                           "args": {"kernel": step.kernel, "result": shape_of(step),
                                    "gflops": step.flops / max(s, 1e-9) / 1e9, "why": step.why}})
            at += s
        with open(file, "w") as out:
            json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, out)

    def __repr__(self) -> str:
        return (f"Program({len(self.steps)} steps, {', '.join(f'{d}{list(s)}' for s, d in self.inputs)}, "
                f"{self.isa}, {self.threads} threads)")


def restored(saved: bytes, isa: str, threads: int, state: list[Any] | None) -> Program:
    """A pickled program, on the instruction set it was made for if this machine has it, else
    on the active one."""
    program = Program.load(io.BytesIO(saved), threads, isa if isa in available() else None)
    program._state = state
    return program


def as_array(x: Any) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "__dlpack__"):
        return np.from_dlpack(x)
    return np.asarray(x if isinstance(x, np.generic) else getattr(x, "data", x))


def lengths_of(plan: Plan) -> dict[int, int]:
    """Of inputs that attention takes for ends of what queries see: all keys but one, whose place a
    position that is also an end still has."""
    found = {}
    for step in plan.steps:
        if step.kernel.partition(".")[0] in ("attention_within", "attention_stored"):
            end, keys = step.args[4], step.args[7][1]
            if type(end) is tuple and end[0] == INPUT:
                found[end[1]] = max(1, keys - 1)
    return found


def shape_of(step: PlannedStep) -> str:
    return "x".join(map(str, step.shape))
