"""Whole networks, ours beside every peer: each in its own process, timed in turn, every answer
compared with the one in float64."""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .isolated import Failed, Process, interleave
from .runners import RUNNERS
from .suite import OURS, WRONG, Row, Settings, Timing, error

GROUP = "networks"
ROUNDS = 3
ALLOWED = {"strict": WRONG, "default": WRONG, "fast": 1e-2}   # "fast": F(6x6), up to 1e-4 a layer
BUILD = Path(__file__).resolve().parent.parent / "build"


def run_network(name: str, settings: Settings, say=lambda text: None) -> Iterator[Row]:
    """A row for each batch size and precision. say(text) is told what is being done."""
    with tempfile.TemporaryDirectory(prefix="pyops-bench-") as folder:
        say("drawing weights, writing models, computing the answers in float64")
        written = subprocess.run([sys.executable, "-m", "pyops.bench.networks", name,
                                  ",".join(map(str, settings.batches)), folder],
                                 capture_output=True, text=True)
        for batch in settings.batches:
            if written.returncode:
                said = written.stderr.strip().splitlines()
                yield Row(GROUP, f"{name}, batch {batch}", name,
                          skipped=said[-1] if said else "could not be written")
            else:
                yield from run_batch(name, batch, Path(folder), settings, say)


def run_batch(name: str, batch: int, folder: Path, settings: Settings, say) -> list[Row]:
    place = folder / str(batch)
    work, want = json.loads((place / "work.json").read_text()), np.load(place / "want.npy")
    processes, notes = {}, {}
    try:
        for runner, job in jobs(name, batch, folder, settings):
            say(f"batch {batch}: {runner} sets up")
            try:
                processes[runner] = Process(job, environment(settings.threads))
            except Failed as why:
                notes[runner] = str(why)
        errors = {runner: off(name, np.load(result_file(place, runner)).reshape(want.shape), want)
                  for runner in processes}
        for runner in [r for r, e in errors.items() if not r.startswith(OURS) and not e <= WRONG]:
            notes[runner] = f"another result (off by {errors[runner]:.1e} of the largest value)"
            processes.pop(runner).close()
        say(f"batch {batch}: {', '.join(processes)} in turn")
        notes |= interleave(processes, settings.block, settings.seconds * 4, ROUNDS)
        timings = {r: Timing(p.samples, p.calls, errors[r], p.setup, p.memory)
                   for r, p in processes.items() if r not in notes}
    finally:
        for process in processes.values():
            process.close()
    return rows_of(name, batch, timings, notes, work, settings)


def off(name: str, got: np.ndarray, want: np.ndarray) -> float:
    """How far a result is off, of the largest value: the most, or, of networks with pooling indices, the
    median. Of two maxima within rounding of each other either may be taken, and what is put back in
    another place is another value."""
    if not name.startswith("segnet"):
        return error(got, want)
    return float(np.median(np.abs(got - want)) / np.abs(want).max())


def jobs(name, batch, folder, settings) -> Iterator[tuple[str, dict]]:
    """(what the runner is called here, its job). Ours comes once a precision."""
    chosen = [(ours(p), OURS, p) for p in settings.precisions] + [(peer, peer, "default")
                                                                  for peer in settings.peers]
    for runner, kind, precision in chosen:
        yield (runner, {"runner": f"pyops.bench.runners:{RUNNERS[kind].function}", "network": name,
                        "batch": batch, "folder": str(folder), "threads": settings.threads,
                        "precision": precision, "result": str(result_file(folder / str(batch), runner))})


def ours(precision: str) -> str:
    return OURS if precision == "default" else f"{OURS} {precision}"


def result_file(place: Path, runner: str) -> Path:
    return place / f"{runner}.npy"


def environment(threads: int) -> dict[str, str]:
    """One thread count for every OpenMP there is; what inductor compiles is kept in the build
    folder of a checkout."""
    variables = {"OMP_NUM_THREADS": str(threads)}
    if BUILD.exists():
        variables["TORCHINDUCTOR_CACHE_DIR"] = str(BUILD / "inductor")
    return variables


def rows_of(name, batch, timings, notes, work, settings) -> list[Row]:
    """The measurements as a row for each precision, beside the same peers."""
    rows = []
    peers = {runner: timing for runner, timing in timings.items() if runner in settings.peers}
    for precision in settings.precisions:
        row = Row(GROUP, f"{name}, batch {batch}" + ("" if precision == "default" else f", {precision}"),
                  name, work["flops"], work["bytes"], allowed=ALLOWED[precision],
                  notes={r: why for r, why in notes.items() if r in settings.peers or r == ours(precision)})
        if ours(precision) in timings:
            row.timings[OURS] = timings[ours(precision)]
        row.timings |= peers
        rows.append(row)
    return rows
