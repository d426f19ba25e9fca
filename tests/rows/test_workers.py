"""Threads of kernels that sleep between calls."""
import os
import sys
import time

import numpy as np
import pytest

import pyops.functional as F
from pyops.core.threads import num_threads


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads of /proc")
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="one processor")
def test_where_they_may_run_stays_as_it_was():
    """A sleeper is kept from its caller's processor only until it runs (csrc/places.h)."""
    def threads():
        return {int(name) for name in os.listdir("/proc/self/task")}

    def places(which):
        return {thread: os.sched_getaffinity(thread) for thread in which}
    x = np.random.default_rng(0).standard_normal((64, 256, 256), np.float32)
    before = threads()
    every, me = os.sched_getaffinity(0), os.getpid()
    with num_threads(3):
        want = F.exp(x)
        made = threads() - before
        try:
            for processor in sorted(every)[:2] * 3:
                os.sched_setaffinity(me, {processor})   # now where a worker lay, now elsewhere
                time.sleep(0.01)
                assert np.array_equal(F.exp(x), want)
        finally:
            os.sched_setaffinity(me, every)
        deadline = time.monotonic() + 10
        while any(place != every for place in places(made).values()) and time.monotonic() < deadline:
            F.exp(x)   # one that was not needed yet may still lie where it was
    assert all(place == every for place in places(made).values())
