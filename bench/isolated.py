"""Libraries in processes of their own, timed in turn: while one runs, the others
sleep on their pipes."""
from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAUSE = 0.02            # seconds between blocks: threads that spin after their work have stopped by then
PATIENCE = 1800         # seconds until an answer is given up, compilation included


class Failed(Exception):
    """A runner that cannot go on; the message says why."""


class Process:
    """One worker (worker.py), started in `folder`. Starting it prepares its job; `setup`, `calls`
    and `memory` then say what that took."""

    def __init__(self, job: dict, environment: dict[str, str], folder: Path | None = None):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([sys.executable, "-m", "pyops.bench.worker"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log,
                                        env={**os.environ, **environment}, text=True, cwd=folder)
        self.samples: list[float] = []
        try:
            prepared = self.ask(job)
        except Failed:
            self.close()
            raise
        self.setup, self.calls, self.memory = prepared["setup"], prepared["calls"], prepared["memory"]

    def ask(self, message: dict) -> dict:
        try:
            print(json.dumps(message), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise Failed(self.last_words()) from None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise Failed(f"no answer in {PATIENCE} s")
        answer = json.loads(self.process.stdout.readline() or "{}")
        if "error" in answer:
            raise Failed(answer["error"])
        if not answer:
            raise Failed(self.last_words())
        return answer

    def block(self, seconds: float) -> None:
        answer = self.ask({"block": seconds})
        self.samples += answer["samples"]
        self.memory = answer["memory"]

    def last_words(self) -> str:
        """How the process ended."""
        code = self.process.wait(10)
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        return (f"ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
                + (f": {lines[-1]}" if lines else ""))

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def interleave(processes: dict[str, Process], block: float, seconds: float, rounds: int) -> dict[str, str]:
    """Blocks in turn, each round starting with another process, for about `seconds` and at
    least `rounds` rounds.

    Returns which failed on the way, and why; those take no further part.
    """
    failed: dict[str, str] = {}
    end, done = time.perf_counter() + seconds, 0
    while done < rounds or time.perf_counter() < end:
        names = [n for n in processes if n not in failed]
        for i in range(len(names)):
            name = names[(i + done) % len(names)]
            time.sleep(PAUSE)
            try:
                processes[name].block(block)
            except Failed as why:
                failed[name] = str(why)
        done += 1
    return failed
