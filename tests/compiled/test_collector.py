"""The collector of cycles rests while a program is made, and runs again behind it."""
from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.collector import resting


def test_it_rests_within_and_runs_behind():
    seen = []

    def model(x):
        seen.append(gc.isenabled())
        return F.relu(x)
    pyops.compile(model, np.zeros(3, np.float32))
    assert seen[0] is False and gc.isenabled()


def test_it_runs_again_where_nothing_comes_of_it():
    with pytest.raises(ZeroDivisionError), resting():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off():
    gc.disable()
    try:
        with resting(), resting():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_threads_that_overlap():
    inside, leave = threading.Barrier(2), threading.Event()

    def first():
        with resting():
            inside.wait()
            leave.wait()
    thread = threading.Thread(target=first)
    with resting():
        thread.start()
        inside.wait()
    assert not gc.isenabled()   # the other one is still at it
    leave.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_was_forked_meanwhile_collects():
    code = ("import gc, os\nfrom pyops.core.collector import resting\n"
            "with resting():\n    child = os.fork()\n    if not child: os._exit(0 if gc.isenabled() else 1)\n"
            "assert os.waitpid(child, 0)[1] == 0 and gc.isenabled()\n")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_masked_arrays_are_refused_without_importing_them():
    code = ("import sys, numpy as np, pyops, pyops.functional as F\n"
            "F.relu(np.zeros((4, 4), np.float32)[::2])\nassert 'numpy.ma' not in sys.modules\n"
            "try: F.relu(np.ma.masked_array([1.0, 2.0]))\n"
            "except TypeError as why: assert 'masked array' in str(why)\nelse: raise SystemExit(1)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
