"""memory="lean": one copy of the weights, filters transformed in each run; "balanced": as few as a part
of the time can buy."""
from __future__ import annotations

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph.filters_kept import MARGIN, Layer, bound
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
    # made in the run they are packed, in whole blocks of filters
    assert more[0] - more[1] == 4 * (np.prod(winograd_shape(w, tile)) - (48 - 40) * w[0].size)


@pytest.mark.parametrize("shape", [(1, 512, 2, 2), (1, 256, 14, 14), (1, 64, 56, 56)])
def test_the_choice_counts_what_transforming_takes(shape):
    """Many filters on few pixels are better off without."""
    w, x = array(shape[1], shape[1], 3, 3), array(*shape)
    program = pyops.compile(lambda x: F.conv2d(x, w, padding=1), x, memory="lean")
    (step,) = [s for s in program.steps if s.why]
    costs = {name: float(us) for name, us in (part.rsplit(" ", 1) for part in step.why.split(": ")[1].split(", "))}
    assert list(costs) == ["direct", "winograd2 in the run", "winograd4 in the run"]
    taken = step.algorithm if step.algorithm == "direct" else f"{step.algorithm} in the run"
    assert costs[taken] <= min(costs.values()) + 1
    assert (taken == "direct") == (shape[2] == 2)


@pytest.mark.parametrize("name", ["resnet18", "unet"])
def test_balanced_is_between(name):
    model, x = create_model(name), array(1, 3, 224, 224)
    model.eval()
    fast, balanced, lean = (pyops.compile(model, x, memory=memory) for memory in ("fast", "balanced", "lean"))
    assert lean.weight_bytes <= balanced.weight_bytes < fast.weight_bytes
    assert pyops.compile(model, x).weight_bytes == balanced.weight_bytes


@pytest.mark.parametrize("shape", [(1, 64, 56, 56), (2, 40, 61, 47), (1, 96, 9, 11)])
def test_filters_made_within_the_kernel_are_those_made_beforehand(shape, monkeypatch):
    """Of many pixels in a place of their own, of few by each thread; with dilation, and pooled."""
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "winograd4")
    w, b, x = array(shape[1] + 8, shape[1], 3, 3), array(shape[1] + 8), array(*shape)
    for layer in (lambda x: F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 2),
                  lambda x: F.conv2d(x, w, b, padding=2, dilation=2)):
        kept, made = (pyops.compile(layer, x, memory=memory) for memory in ("fast", "lean"))
        made._native.poison()
        assert np.array_equal(kept(x), made(x))
        assert made.weight_bytes < kept.weight_bytes


@pytest.mark.parametrize("seed", range(8))
def test_balanced_spends_its_margin_and_no_more(seed):
    rng = np.random.default_rng(seed)
    layers = []
    for _ in range(12):
        times, held = rng.uniform(1, 2, 4), rng.integers(1, 100, 4)
        layers.append(Layer(None, dict(zip("abcd", zip(times, held))), "abcd"[int(np.argmin(times))]))
    before = [layer.ways[layer.way] for layer in layers]
    bound(layers, rest := rng.uniform(0, 20))
    after = [layer.ways[layer.way] for layer in layers]
    quickest = rest + sum(time for time, _ in before)
    left = (1 + MARGIN) * quickest - rest - sum(time for time, _ in after)
    assert left >= -1e-9
    assert all(new <= old for (_, old), (_, new) in zip(before, after)) and after != before
    assert not any(layer.step(left) for layer in layers)   # nothing more is to be had for what is left


def test_a_program_keeps_a_part_more_than_its_weights_whatever_that_takes():
    def layers():
        return [Layer(None, {"a": (1.0, 40), "b": (2.0 + i, 10)}, "a") for i in range(6)]
    few = layers()
    bound(few, 0, room=160)
    assert [layer.way for layer in few] == ["b", "b", "b", "a", "a", "a"]   # the cheapest, until there is room
    free = layers()
    bound(free, 0, room=240)
    assert [layer.way for layer in free] == ["a"] * 6


def test_many_pixels_meet_filters_that_are_made_once():
    """In a place that maps of another layer need anyway."""
    wide, w = array(64, 64, 3, 3), array(64, 64, 3, 3)

    def model(x):
        return F.conv2d(F.relu(F.conv2d(F.max_pool2d(F.conv2d(x, wide, padding=1), 4), w, padding=1)), w, padding=1)
    x = array(2, 64, 96, 96)
    fast, lean = (pyops.compile(model, x, memory=memory) for memory in ("fast", "lean"))
    lean._native.poison()
    np.testing.assert_allclose(lean(x), want := fast(x), rtol=0, atol=4e-5 * np.abs(want).max())
    assert lean.weight_bytes < fast.weight_bytes


def test_samples_of_any_batch_keep_the_same_filters():
    model = create_model("resnet18", classes=10)
    model.eval()
    ways = []
    for batch in (1, 5):
        with pyops.batch_invariant():
            program = pyops.compile(model, array(batch, 3, 96, 96))
        ways.append([(step.module, step.algorithm, isinstance(step.args[2], np.ndarray)) for step in program.steps
                     if step.kernel == "winograd_conv"])
    assert ways[0] == ways[1] and ways[0]


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
