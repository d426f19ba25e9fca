"""A process of a stage: runs its cases one after the other and writes down a line for each."""
from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from pathlib import Path

from .stages import STAGES

LEFT_TO_OTHERS = 75   # the exit code of a process whose device no longer answers


def work(name: str, out: Path | None, part: int, parts: int, first: int, every: int, match: str, small: bool,
         wait: bool) -> int:
    """Of stage `name` the cases part, part + parts, ..., of these those from `first` on. Says on
    standard output which one it begins. Returns 0, or LEFT_TO_OTHERS where the device is lost."""
    if name not in STAGES:
        print(f"pyops.bench.gpu: stage {name!r} is not one of {', '.join(STAGES)}", file=sys.stderr)
        return 2
    from ...cuda.device import missing
    if why := missing():
        print(f"pyops.bench.gpu: {why}", file=sys.stderr)
        return 2
    stage = STAGES[name]
    if stage.torch:
        importlib.import_module("torch")
    named = [case for case in stage.all_cases(small) if re.search(match, case[0])]
    chosen = named[::every][part::parts]
    print(json.dumps({"cases": len(chosen)}), flush=True)
    if wait:
        sys.stdin.readline()
    for index, (case, call) in enumerate(chosen):
        if index < first:
            continue
        print(json.dumps({"begin": index, "case": case}), flush=True)
        line, lost = one(call)
        write(out, {"stage": name, "case": case, **line})
        if lost:
            return LEFT_TO_OTHERS
    return 0


def one(call) -> tuple[dict, bool]:
    """What a case says, and whether the device is lost: after a fault of a kernel it answers
    nothing."""
    begun = time.perf_counter()
    try:
        line = call()
        synchronise()
    except Exception as why:   # a case that fails is a finding; the others still count
        line = {"failed": f"{type(why).__name__}: {str(why)[:500]}"}
    line["seconds"] = round(time.perf_counter() - begun, 3)
    if "failed" not in line:
        return line, False
    try:
        synchronise()
    except Exception as why:   # CuPy's and torch's types differ, and the answer is the same
        return line | {"device": f"{type(why).__name__}: {str(why)[:200]}"}, True
    return line, False


def synchronise():
    import cupy
    cupy.cuda.runtime.deviceSynchronize()


def write(out: Path | None, line: dict):
    """One write of a whole line, so that several processes may add to a file."""
    text = (json.dumps(line) + "\n").encode()
    if out is None:
        sys.stdout.buffer.write(text)
        sys.stdout.flush()
        return
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, text)
    finally:
        os.close(handle)
