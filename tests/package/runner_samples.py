"""Runners for the processes of the network benchmark, of no library: what each does is what
the tests look for."""
import os
import time

import numpy as np

from pyops.bench.record import Unsupported


def sleeper(job):
    """Answers with its job's number, prints where it must not disturb, and holds 64 MB more than
    before it was prepared."""
    print("imported")

    def prepare():
        held = np.ones(8 << 20)

        def run():
            print("running", held[0])
            time.sleep(job["seconds"])
            return np.full((2, 3), job["number"])
        return run
    return prepare


def refuses(job):
    raise Unsupported("there is no such op")


def breaks(job):
    return lambda: 1 / 0


def dies(job):
    def prepare():
        os.write(2, b"last words\n")
        os.kill(os.getpid(), 9)
    return prepare


def dies_later(job):
    calls = []

    def run():
        calls.append(0)
        if len(calls) > 3:
            os._exit(3)
        time.sleep(0.01)
        return 0.0
    return lambda: run
