"""The emulator counts memory transactions: hot kernels stay near the fewest there can be. Deterministic, so a lost coalescing is a failure."""
from pathlib import Path

import numpy as np
import pytest

from pyops import functional as F
from pyops.backends import BACKENDS, use_backend
from pyops.cuda.emulated import profiled

pytestmark = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing), reason=BACKENDS["cuda-emulated"].missing or "can run")


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


# name -> call, the most sectors and wavefronts over the fewest. The limits are what was counted, rounded up.
HOT = {
    "softmax of short lines": (lambda: F.softmax(random(64, 96), -1), 1.05, 1.0),
    "softmax of long lines": (lambda: F.softmax(random(2, 5000), -1), 1.1, 1.0),
    "softmax across": (lambda: F.softmax(random(2, 16, 256), 1), 1.05, 1.0),
}


def ratio(traffic, space):
    lines = [t for _, _, found in traffic for t in found if t.space == space]
    return sum(t.transactions for t in lines) / max(1, sum(t.ideal for t in lines))


@pytest.mark.parametrize("name", HOT)
def test_traffic_is_within_its_budget(name):
    call, sectors, wavefronts = HOT[name]
    with use_backend("cuda-emulated"), profiled() as traffic:
        call()
    assert traffic, "nothing was launched"
    assert ratio(traffic, "global") <= sectors and ratio(traffic, "shared") <= wavefronts, \
        f"{ratio(traffic, 'global'):.3f} times the fewest sectors, {ratio(traffic, 'shared'):.3f} the fewest wavefronts"


def test_a_strided_kernel_is_noticed(tmp_path):
    """Neighbouring threads that read 128 bytes apart move eight times the sectors of what they use."""
    from pyops.cuda.emulator import Module
    from pyops.cuda.source import Source
    path = tmp_path / "strided.cu"
    path.write_text('extern "C" __global__ void strided(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x * 32]; }')
    report = Module.of(Source(path, "f32"), True).function("strided")((1,), (32,), [np.zeros(1024, np.float32), np.zeros(32, np.float32)], profile=True)
    load = next(t for t in report.traffic if t.op == "load")
    assert load.transactions == 32 and load.ideal == 4
