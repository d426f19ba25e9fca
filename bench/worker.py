"""A process that runs one library on one network and nothing else, told what to do through a pipe,
a line of JSON each way.

    {"runner": "module:function", ...}  first: the job. Leaves result.npy, and answers
                                        {"setup", "memory", "calls"} or {"error"}
    {"block": seconds}                  runs for about that long. Answers
                                        {"samples": [seconds a call, ...], "memory"}
    (the end of the pipe)               the process ends

A runner is a function of the job that imports its library and returns `prepare`; that loads the
network and returns `run`; each run() computes the answer. Between blocks the process sleeps on the
pipe: its threads take no processor from whoever is next.
"""
from __future__ import annotations

import json
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np

from .measure import SAMPLE, once
from .record import Unsupported

CALLS = 3   # at least, in a block whose calls are shorter than it


class Memory:
    """What the process holds at most from now on, beyond what it holds now, in bytes. None where
    /proc does not tell."""

    def __init__(self):
        try:
            Path("/proc/self/clear_refs").write_text("5")   # the high-water mark starts again from here
        except OSError:
            pass
        self.before = self.read("VmRSS")

    @staticmethod
    def read(key: str) -> int | None:
        try:
            line = next(li for li in Path("/proc/self/status").read_text().splitlines() if li.startswith(key))
            return int(line.split()[1]) * 1024
        except (OSError, StopIteration):
            return None

    def peak(self) -> int | None:
        mark = self.read("VmHWM")
        return None if mark is None or self.before is None else mark - self.before


def pipes():
    """(read, write) of the conversation. Whatever a library prints goes to stderr
    instead of into it."""
    lines, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lines, lambda message: print(json.dumps(message), file=answers, flush=True)


def start(job: dict):
    """The call to be timed, what it holds, and the first answer's cost."""
    module, function = job["runner"].split(":")
    prepare = getattr(import_module(module), function)(job)
    memory, begin = Memory(), time.perf_counter()
    run = prepare()
    result = run()
    setup = time.perf_counter() - begin
    np.save(Path(job["result"]), np.asarray(result))
    estimate = min(once(run, 1), once(run, 1))
    return run, memory, setup, max(1, int(SAMPLE / max(estimate, 1e-7))), estimate


def block(run, seconds: float, calls: int, estimate: float) -> list[float]:
    """Samples of `calls` calls each. One call beforehand brings data back into the caches and
    threads awake, unless calls are so long that this does not show."""
    if estimate < seconds:
        run()
    at_least, samples = CALLS if estimate < seconds else 1, []
    end = time.perf_counter() + seconds
    while len(samples) < at_least or time.perf_counter() < end:
        samples.append(once(run, calls))
    return samples


def main() -> None:
    lines, answer = pipes()
    try:
        run, memory, setup, calls, estimate = start(json.loads(next(lines)))
        answer({"setup": setup, "memory": memory.peak(), "calls": calls})
        for line in lines:
            samples = block(run, json.loads(line)["block"], calls, estimate)
            answer({"samples": samples, "memory": memory.peak()})
    except Unsupported as why:
        answer({"error": str(why)})
    except Exception as error:
        traceback.print_exc()
        answer({"error": f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"})
    sys.stdout.flush()
    os._exit(0)   # some libraries hang or crash in their destructors


if __name__ == "__main__":
    main()
