"""memory="lean": one copy of the weights, filters transformed in each run; "balanced": fewer where it
costs next to nothing."""
from __future__ import annotations

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph.packing import winograd_shape
from pyops.models import create_model

RNG = np.random.default_rng(3)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2", "squeezenet1_1"])
def test_networks_agree_and_hold_less(name, tmp_path):
    model, x = create_model(name, classes=10), array(2, 3, 64, 64)
    model.eval()
    usual, lean = pyops.compile(model, x), pyops.compile(model, x, memory="lean")
    lean._native.poison()
    want, got = usual(x), lean(x)
    np.testing.assert_allclose(got, want, rtol=0, atol=4e-5 * np.abs(want).max())
    weights = sum(p.data.nbytes for p in model.parameters())
    assert lean.weight_bytes <= min(usual.weight_bytes, 1.1 * weights + 1e5)
    lean.save(tmp_path / "lean.npz")
    assert np.array_equal(pyops.Program.load(tmp_path / "lean.npz")(x), got)


@pytest.mark.parametrize("tile", [2, 4, 6])
def test_transformed_in_the_run_is_transformed_before_it(tile, monkeypatch):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", f"winograd{tile}")
    w, b, x = array(40, 24, 3, 3), array(40), array(2, 24, 19, 23)
    programs = [pyops.compile(lambda x: F.relu(F.conv2d(x, w, b, padding=1)), x, memory=memory)
                for memory in ("fast", "lean")]
    programs[1]._native.poison()
    a, b = (p(x) for p in programs)
    assert np.array_equal(a, b)
    more = [p.weight_bytes for p in programs]
    assert more[0] - more[1] == 4 * np.prod(winograd_shape(w, tile))


def test_the_choice_counts_what_transforming_takes():
    """Many filters on few pixels are better off without."""
    w, x = array(256, 256, 3, 3), array(1, 256, 14, 14)
    chosen = [pyops.compile(lambda x: F.conv2d(x, w, padding=1), x, memory=memory).explain("conv0")
              for memory in ("fast", "lean")]
    assert "winograd_conv" in chosen[0] and "direct_conv" in chosen[1]


@pytest.mark.parametrize("name", ["resnet18", "unet"])
def test_balanced_is_between(name):
    model, x = create_model(name), array(1, 3, 224, 224)
    model.eval()
    fast, balanced, lean = (pyops.compile(model, x, memory=memory) for memory in ("fast", "balanced", "lean"))
    assert lean.weight_bytes < balanced.weight_bytes <= fast.weight_bytes
    assert pyops.compile(model, x).weight_bytes == balanced.weight_bytes


@pytest.mark.parametrize("shape", [(1, 512, 7, 7), (1, 256, 14, 14), (1, 64, 56, 56), (2, 128, 28, 28)])
def test_balanced_takes_the_fewest_weights_within_a_margin(shape):
    w, x = array(shape[1], shape[1], 3, 3), array(*shape)
    chosen = {memory: pyops.compile(lambda x: F.conv2d(x, w, padding=1), x, memory=memory)
              for memory in ("fast", "balanced")}
    said = chosen["fast"].steps[1].why
    costs = {name: float(us) for name, us in (part.split() for part in said.split(": ")[1].split(", "))}
    allowed = [name for name, us in costs.items() if us <= 1.03 * min(costs.values()) + 1]
    taken = {memory: program.steps[1].algorithm for memory, program in chosen.items()}
    assert costs[taken["fast"]] <= min(costs.values()) + 1 and taken["balanced"] in allowed
    assert chosen["balanced"].weight_bytes <= chosen["fast"].weight_bytes


def test_sizes_that_vary_share_what_is_left():
    model = create_model("resnet18", classes=10)
    model.eval()
    program = pyops.compile(model, array(1, 3, 64, 64), memory="lean", dynamic={0: {2: None, 3: None}})
    for shape in ((1, 3, 64, 64), (1, 3, 96, 64), (1, 3, 65, 71)):
        x = array(*shape)
        assert np.array_equal(program(x), pyops.compile(model, x, memory="lean")(x))


def test_lean_is_a_word():
    with pytest.raises(ValueError, match="memory must be one of fast, balanced, lean, got 'small'"):
        pyops.compile(F.relu, array(2), memory="small")
