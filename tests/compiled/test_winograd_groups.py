"""Wide groups, of whole blocks, by Winograd's algorithm, each a call on its part of the maps."""
import io

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend
from pyops.graph.program import Program

RNG = np.random.default_rng(8)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


TAILS = {"plain": lambda y: y, "residual": lambda y: F.relu(y + F.exp(-F.relu(y))), "silu": F.silu,
         "pool": lambda y: F.max_pool2d(F.relu(y), 2)}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("memory", ["fast", "lean"])
def test_groups(monkeypatch, tail, memory):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "winograd4")
    x, weight, bias = drawn(2, 192, 13, 10), drawn(240, 64, 3, 3), drawn(240)

    def layer(x, weight, bias):
        return TAILS[tail](F.conv2d(F.relu(x), weight, bias, 1, 1, 1, 3))
    program = pyops.compile(lambda x: layer(x, weight, bias), x, memory=memory)
    with use_backend("reference"):
        want = layer(*(a.astype(np.float64) for a in (x, weight, bias)))
    calls = [s for s in program.steps if s.kernel == "winograd_conv"]
    assert len(calls) == 3 and program.explain(calls[0].value).count("winograd_conv") == 1
    got = np.asarray(program(x))
    assert np.abs(got - want).max() <= 2e-5 * np.abs(want).max()
    file = io.BytesIO()
    program.save(file)
    file.seek(0)
    assert np.array_equal(np.asarray(Program.load(file)(x)), got)


@pytest.mark.parametrize("groups, channels", [(2, 24), (16, 32), (32, 4)])
def test_groups_that_are_computed_directly(groups, channels):
    x, weight = drawn(1, groups * channels, 12, 12), drawn(groups * channels, channels, 3, 3)
    # filters of narrow groups are not transformed in the run, and "lean" keeps none that are
    program = pyops.compile(lambda x: F.conv2d(F.relu(x), weight, None, 1, 1, 1, groups), x, memory="lean")
    assert not any(s.algorithm.startswith("winograd") for s in program.steps)
