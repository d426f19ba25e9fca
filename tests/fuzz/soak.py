"""python -m fuzz.soak --minutes n: programs, eager calls, threads, forks, limits and kills
together, again and again.

Every round's results are compared bit for bit with those of the first, resident memory may not keep
growing, and no child may die of anything but what it was sent. Exit status 1 says that something
was found.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import pyops
import pyops.functional as F
from pyops.core import ageing
from pyops.train import checkpoint

GROWTH = 64 << 20  # bytes of resident memory that may come on top after the first rounds


class Work:
    """Two programs, eager calls and what they must give."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((2, 16, 24, 24)).astype(np.float32)
        weights = [rng.standard_normal((16, 16, 3, 3)).astype(np.float32) for _ in range(2)]
        self.calls = {
            "winograd": pyops.compile(
                lambda x: F.relu(F.conv2d(F.conv2d(x, weights[0], padding=1), weights[1], padding=1)), self.x
            ),
            "plain": pyops.compile(
                lambda x: F.softmax(F.layer_norm(x, (24,)), 1), self.x, dynamic_batch=True
            ),
            "eager": lambda x: F.max_pool2d(F.conv2d(x, weights[0], stride=2), 2),
        }
        self.want = {name: call(self.x) for name, call in self.calls.items()}

    def check(self, name: str) -> None:
        assert np.array_equal(self.calls[name](self.x), self.want[name]), (
            f"{name} gives other results than at first"
        )


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_threads(work: Work, draw: random.Random) -> None:
    """Several threads, each with calls of its own, while the number of threads changes."""
    failed: list[BaseException] = []

    def run(names):
        try:
            for name in names:
                work.check(name)
        except BaseException as why:
            failed.append(why)

    threads = [
        threading.Thread(target=run, args=([draw.choice(list(work.calls)) for _ in range(20)],))
        for _ in range(draw.randrange(2, 9))
    ]
    for thread in threads:
        thread.start()
    for count in (1, 3, 2):
        pyops.set_num_threads(count)
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def in_child(body) -> int:
    """The status of a forked child that runs `body`."""
    child = os.fork()
    if not child:
        status = 70
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


def forked(work: Work, draw: random.Random) -> None:
    assert in_child(lambda: [work.check(name) for name in work.calls]) == 0, "a forked child failed"


def limited(work: Work, draw: random.Random) -> None:
    """With little memory left, calls are right or raise MemoryError."""

    def body():
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        room = taken + (draw.choice((1, 4, 16, 64)) << 20)
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
        for name in list(work.calls) * 3:
            try:
                work.check(name)
            except MemoryError:
                pass

    assert in_child(body) == 0, "a child with little memory died"


def batches(work: Work, draw: random.Random) -> None:
    """Batch sizes that come and go."""
    for _ in range(6):
        n = draw.randrange(1, 20)
        x = np.repeat(work.x[:1], n, 0)
        got = work.calls["plain"](x)
        assert all(np.array_equal(row, work.want["plain"][0]) for row in got), (
            "a batch of another size differs"
        )


DAEMON = """
import threading, numpy as np, pyops, pyops.functional as F
x = np.ones((1, 32, 96, 96), np.float32); w = np.ones((32, 32, 3, 3), np.float32)
program = pyops.compile(lambda x: F.conv2d(x, w, padding=1), x)
def run(call):
    while True: call()
for call in (lambda: program(x), lambda: F.conv2d(x, w)):
    threading.Thread(target=run, args=(call,), daemon=True).start()
import time; time.sleep(0.2)
"""


def daemons(work: Work, draw: random.Random) -> None:
    """A process ends in peace while daemon threads are in kernels."""
    done = subprocess.run([sys.executable, "-c", DAEMON], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (
        f"with daemon threads a process ended with {done.returncode}: {done.stderr[-300:]}"
    )


def killed(work: Work, draw: random.Random) -> None:
    """A process that writes a checkpoint over and over is killed; the file is always whole, and
    nothing is left beside it after the next.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "c.safetensors"
        child = os.fork()
        if not child:
            try:
                for i in range(100_000):
                    checkpoint.save(path, {"w": np.full(20_000, i, np.float32)}, {})
            finally:
                os._exit(0)
        while not path.exists():
            time.sleep(0.01)
        time.sleep(draw.random() / 5)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        array = checkpoint.load(path)[0]["w"]
        assert (array == array[0]).all(), "a checkpoint is of two writers"
        checkpoint.save(path, {"w": array}, {})
        assert os.listdir(folder) == ["c.safetensors"], f"left over: {os.listdir(folder)}"


ROUNDS = (in_threads, forked, limited, batches, daemons, killed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw, work, end, rounds, base = (
        random.Random(asked.seed),
        Work(),
        time.monotonic() + 60 * asked.minutes,
        0,
        0,
    )
    while time.monotonic() < end or rounds < 2:
        for step in ROUNDS:
            step(work, draw)
        rounds += 1
        ageing.age()
        ageing.age()
        if rounds == 2:
            base = resident()
    grown = resident() - base
    print(f"{rounds} rounds of {len(ROUNDS)} steps; resident memory {base >> 20} MB, {grown / 2**20:+.1f} MB "
          "since the second")
    assert grown < GROWTH, f"resident memory grew by {grown} bytes in {rounds} rounds"
    return 0


if __name__ == "__main__":
    sys.exit(main())
