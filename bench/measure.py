"""Timing several ways to do one thing, in turn, so that whatever else the machine does
falls on all of them."""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable

SAMPLE = 2e-4   # seconds that one sample should last at least: calls that are shorter are timed several at a time
ROUNDS = 5       # at least


def once(run: Callable, iterations: int) -> float:
    """Seconds a call, over `iterations` calls."""
    start = time.perf_counter()
    for _ in range(iterations):
        run()
    return (time.perf_counter() - start) / iterations


def interleaved(runs: dict[str, Callable], seconds: float) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds a call of each of `runs`, a sample in every round, for about `seconds` in all; and
    the calls that make a sample.

    Each round starts with another one, so that none always follows the same neighbour.
    """
    iterations = {}
    for name, run in runs.items():
        run()                                   # first calls allocate, plan and compile
        iterations[name] = max(1, int(SAMPLE / max(once(run, 1), 1e-7)))
    names, samples = list(runs), {name: [] for name in runs}
    end, done = time.perf_counter() + seconds, 0
    while done < ROUNDS or time.perf_counter() < end:
        for i in range(len(names)):
            name = names[(i + done) % len(names)]
            run, count = runs[name], iterations[name]
            run()                               # its own data back into the caches, its threads awake
            samples[name].append(once(run, count))
        done += 1
    return samples, iterations


def beside_torch(step: Callable, other: Callable, repeats: int,
                 clock: Callable[[], float] = time.perf_counter) -> list[str]:
    """Our step and torch's `other`, by turns: lines with milliseconds and the ratio."""
    times: dict[str, list[float]] = {"pyops": [], "torch": []}
    for _ in range(repeats):
        for name, run in (("pyops", step), ("torch", other)):
            start = clock()
            run()
            times[name].append(1e3 * (clock() - start))
    lines = [f"{name:6} shortest {min(values):8.1f} ms, median {statistics.median(values):8.1f} ms"
             for name, values in times.items()]
    return [*lines, f"speed  {min(times['torch']) / min(times['pyops']):.2f} x torch by the shortest, "
                    f"{statistics.median(times['torch']) / statistics.median(times['pyops']):.2f} x by the median"]
