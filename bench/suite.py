"""Runs benchmarks: ours and each peer on the same work, the answer checked first, then timed in
turn at one thread count."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

import pyops
import pyops.functional as F
from pyops import validate
from pyops.core.backends import get_backend
from pyops.core.cases import Case
from pyops.core.registry import OPS
from pyops.core.threads import num_threads
from pyops.machine import Ceilings

from . import peers, record
from .measure import interleaved
from .shapes import EVERY_RUN, GROUPS

OURS = "pyops"
COMPILED = "pyops-compiled"   # a single call through pyops.compile, as a row's other way of ours
WRONG = 1e-3   # relative error from which a result is another result, not a rounding


@dataclass
class Timing:
    """One runner on one row. Seconds a call; error is the largest difference from the float64
    reference over its largest value."""
    samples: list[float]
    iterations: int
    error: float
    setup: float | None = None     # networks: seconds from files to the first answer
    memory: int | None = None      # networks: the most bytes held, beyond those of the imported library

    @property
    def min(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return float(np.median(self.samples))


@dataclass
class Step:
    """The step of a compiled call that does its arithmetic, without the conversions
    of layout around it."""
    algorithm: str
    flops: float
    seconds: float


@dataclass
class Row:
    """One benchmark. `skipped` says why nothing was timed; `notes` why a peer was not."""
    group: str
    name: str
    op: str                                          # a name in pyops.functional, or the network
    flops: float = 0
    bytes: float = 0
    attainable: float = 0                            # seconds at the machine's ceilings
    timings: dict[str, Timing] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    skipped: str = ""
    allowed: float = WRONG                           # error from which our result is wrong
    step: Step | None = None                         # what the compiled call mostly is

    @property
    def ours(self) -> Timing | None:
        return self.timings.get(OURS)

    @property
    def wrong(self) -> bool:
        return any(not self.timings[name].error <= self.allowed
                   for name in (OURS, COMPILED) if name in self.timings)

    def ratio(self, peer: str) -> float | None:
        """How many times as long as ours the peer takes."""
        return self.timings[peer].min / self.ours.min if peer in self.timings and self.ours else None

    def best(self) -> str | None:
        """The fastest peer."""
        peers = [name for name in self.timings if not name.startswith(OURS)]
        return min(peers, key=lambda name: self.timings[name].min) if peers else None

    def percent_of_peak(self) -> float | None:
        return 100 * self.attainable / self.ours.min if self.ours and self.attainable else None


@dataclass(frozen=True)
class Settings:
    threads: int
    peers: tuple[str, ...]
    seconds: float            # for all runners of one row together
    ceilings: Ceilings | None
    load: float = 0           # CPUs that other programs kept busy before the run
    block: float = 0.3        # of networks: seconds that one of them runs at a time
    batches: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("default",)
    compiled: bool = False    # single calls also through pyops.compile, at the first precision


def op_cases() -> Iterator[tuple[str, str, Case]]:
    """(group, name, case) of every named shape."""
    for group, cases in GROUPS.items():
        for name, case in cases.items():
            yield group, name, case


def names_of_ops() -> set[str]:
    """What --op may be called: a public function, or a row."""
    return {case.call for _, _, case in op_cases()} | {c.call for op in OPS.values()
                                                       for c in op.cases} | {n for n in OPS if OPS[n].cases}


def select(op: str | None, group: str | None = None) -> list[tuple[str, str, Case]]:
    """The named shapes of `op`, or where there are none the cases of its row; without `op` every
    named shape of `group`, or of the groups that every run measures."""
    calls = {op} | {c.call for c in OPS[op].cases} if op in OPS else {op}
    found = [entry for entry in op_cases() if entry[0] == group or group is None and entry[0] in EVERY_RUN]
    found = [entry for entry in found if op is None or entry[2].call in calls]
    return found or [("cases", f"{c.call} {c.why}", c) for row in OPS.values()
                     for c in row.cases if c.call in calls]


def run_case(group: str, name: str, case: Case, settings: Settings) -> Row:
    row = Row(group, name, case.call)
    if not hasattr(F, case.call):
        row.skipped = f"pyops has no {case.call} yet"
        return row
    args, kwargs = case.arguments(np.float32)
    if any(isinstance(a, np.ndarray) and not a.size for a in args):
        row.skipped = "nothing to compute"
        return row
    with record.calls() as calls:
        getattr(F, case.call)(*args, **kwargs)
    ours = {OURS: partial(getattr(F, case.call), *args, **kwargs)}
    if settings.compiled:
        ours |= compiled(row, case.call, args, kwargs, settings)
    return measure(row, ours, calls, args[0], validate.expected(case, np.float32)[0], settings)


def compiled(row: Row, call: str, args, kwargs, settings: Settings) -> dict[str, Callable]:
    """The call as a Program of its first array, the others being weights; nothing where it cannot
    be compiled. Sets row.step."""
    try:
        program = pyops.compile(lambda x: getattr(F, call)(x, *args[1:], **kwargs), (args[0],),
                                settings.precisions[0], settings.threads)
    except (TypeError, ValueError) as why:
        row.notes[COMPILED] = str(why)
        return {}
    seconds, step = max(zip(program.measured(), program.steps), key=lambda timed: timed[1].flops)
    row.step = Step(step.algorithm, step.flops, seconds)
    return {COMPILED: partial(program, args[0])}


def measure(row: Row, ours: dict[str, Callable], calls: list, x: np.ndarray, want: np.ndarray,
            settings: Settings) -> Row:
    """`ours`: OURS and what else is of ours."""
    with num_threads(settings.threads):
        work = record.count(ours[OURS])
        row.flops, row.bytes = work.flops, work.bytes
        if work.unknown:
            row.notes["cost"] = f"not known for {', '.join(sorted(set(work.unknown)))}"
        elif settings.ceilings:
            row.attainable = settings.ceilings.attainable(row.flops, row.bytes)
        runs = {**ours, **prepare(row, record.graph(calls, x), x, settings)}
        errors = {name: error(run(), want) for name, run in runs.items()}
        for name in [n for n, e in errors.items() if n not in ours and not e <= WRONG]:
            row.notes[name] = f"another result (off by {errors[name]:.1e} of the largest value)"
            del runs[name]
        samples, iterations = interleaved(runs, settings.seconds)
    row.timings = {name: Timing(samples[name], iterations[name], errors[name]) for name in runs}
    return row


def prepare(row: Row, graph: record.Graph, x, settings) -> dict[str, Callable]:
    runs = {}
    for peer in (p for p in settings.peers if p in peers.PEERS):
        try:
            runs[peer] = peers.PEERS[peer](graph, x, settings.threads)
            runs[peer]()
        except record.Unsupported as why:
            row.notes[peer] = str(why)
            runs.pop(peer, None)
    return runs


def error(result, want: np.ndarray) -> float:
    """The largest difference over the largest expected value; NaN when the shapes differ."""
    got = peers.as_array(record.plain(result))
    if got.shape != want.shape:
        return float("nan")
    return float(np.abs(got - want).max() / max(np.abs(want).max(), np.finfo(np.float64).tiny))


def backend_name() -> str:
    return get_backend().name
