"""Runs the stages within a time: starts their processes, kills what hangs, goes on after the case
that ended a process, and writes down what was not run."""
from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from .machine import machine
from .stages import FIRST, STAGES, Stage
from .worker import LEFT_TO_OTHERS as LOST, write

RESULTS = "results.jsonl"


def run(out: Path, seconds: float, names: list[str] | None, every: int, match: str, small: bool,
        parts: int = 8, patience: float = 1) -> int:
    """All stages, or those named, into out/results.jsonl. patience: so many times a case's own limit, where
    kernels have to be compiled by the emulator first. 0 unless a case failed or nothing ran."""
    if wrong := [name for name in names or () if name not in STAGES]:
        print(f"pyops.bench.gpu: stage {wrong[0]!r} is not one of {', '.join(STAGES)}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    end, results = time.monotonic() + seconds, out / RESULTS
    write(results, {"stage": "machine", "case": "machine", **machine()})
    stages = [replace(stage, parts=min(parts, stage.parts), each=patience * stage.each) for stage in STAGES.values()
              if names is None or stage.name in names]
    left = sum(stage.seconds for stage in stages)
    teams: dict[str, list[Process]] = {}

    def team(stage: Stage) -> list[Process]:
        if stage.name not in teams:
            teams[stage.name] = [Process(stage, part, out, every, match, small) for part in range(stage.parts)]
        return teams[stage.name]

    for stage, following in zip(stages, [*stages[1:], None]):
        # what earlier stages left is shared out
        share = (end - time.monotonic()) * stage.seconds / left
        left -= stage.seconds
        processes = team(stage)
        threads = [threading.Thread(target=p.follow, args=(time.monotonic() + share,)) for p in processes]
        for thread in threads:
            thread.start()
        if following and following.parts == 1:
            team(following)   # it imports while this stage runs, and waits
        for thread in threads:
            thread.join()
        print(f"{stage.name}: " + "; ".join(p.said() for p in processes), flush=True)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    ran = [line for line in lines if line["stage"] != "machine" and "not run" not in line]
    return int(not ran or any("failed" in line for line in ran))


class Process:
    """One part of a stage, in one process after the other."""

    def __init__(self, stage: Stage, part: int, out: Path, every: int, match: str, small: bool):
        self.stage, self.part, self.out = stage, part, out
        self.chosen = ["--every", str(every), "--match", match, *["--small"] * small]
        self.count: int | None = None   # cases; the process says how many
        self.next, self.case, self.restarts, self.began = 0, "", 0, False
        self.start()

    def start(self):
        stage = self.stage
        command = [sys.executable, "-m", __package__, "stage", stage.name, "--out", str(self.out / RESULTS),
                   "--part", f"{self.part}/{stage.parts}", "--first", str(self.next),
                   "--wait", *self.chosen]
        with open(self.out / f"{stage.name}-{self.part}.log", "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=listen, args=(self.child.stdout, self.lines), daemon=True).start()

    def follow(self, end: float):
        """Until all cases have run or the time is up."""
        while True:
            why = self.until_it_ends(end)
            self.stop()
            if why and self.case:
                write(self.out / RESULTS, {"stage": self.stage.name, "case": self.case, "failed": why})
            if not why or time.monotonic() >= end or self.count is None or self.restarts > 20:
                break
            if self.next >= self.count:
                break
            self.restarts += 1
            self.start()
        if self.count is None or self.next < self.count:
            write(self.out / RESULTS, {"stage": self.stage.name, "case": f"part {self.part}",
                                       "not run": None if self.count is None else self.count - self.next})

    def until_it_ends(self, end: float) -> str:
        """"", or why the process was given up; self.case is what it did then."""
        # a process's first case also pays for imports, the device's context, CuPy's own kernels
        self.case, limit, more = "", time.monotonic() + FIRST + self.stage.each, FIRST
        self.say_go()
        while True:
            wait = min(limit, end) - time.monotonic()
            try:
                line = self.lines.get(timeout=max(0, wait))
            except queue.Empty:
                if time.monotonic() >= end:
                    self.case = ""   # not its fault
                    self.next -= self.next > 0 and self.began
                    return "the stage's time is up"
                return f"no answer in {self.stage.each:.0f} s"
            if line is None:
                code = self.child.wait()
                if code == 0:
                    return ""
                if code == LOST:
                    self.case = ""   # its line says so
                return f"the process ended with {code}"
            if "cases" in line:
                self.count, self.began = line["cases"], False
            else:
                self.case, self.next, self.began = line["case"], line["begin"] + 1, True
                limit, more = time.monotonic() + self.stage.each + more, 0

    def say_go(self):
        try:
            self.child.stdin.write(b"go\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass   # it has ended: its exit code says why

    def stop(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()

    def said(self) -> str:
        count = "?" if self.count is None else self.count
        return f"{self.next} of {count}" + (f", {self.restarts} restarts" if self.restarts else "")


def listen(stream, lines: queue.Queue):
    for line in stream:
        lines.put(json.loads(line))
    lines.put(None)
    stream.close()
