"""4x4 filters of stride 2, plain and transposed, and the weight gradient, which go by Winograd's
algorithm on the parities of their pixels: right beside float64, and local as 3x3 ones are
(test_locality.py); and transposed ones on small maps, whose weights are read once."""
import numpy as np
import pytest
from test_locality import USUAL, assert_local, check, float64, spike, uses_winograd

import pyops
from pyops import functional as F
from pyops.core.backends import use_backend
from pyops.core.registry import OPS
from pyops.core.tensor import Tensor

# a channel of a corner, all channels in the middle of a tile
PIXELS = [(3, 0, 0), (slice(None), 5, 6)]
OUTLIERS = [1e2, 1e6, -np.inf, np.nan]


def forward(x, w, padding=(1, 1)):
    size = tuple((n + 2 * p - 4) // 2 + 1 for n, p in zip(x.shape[-2:], padding))
    return OPS["conv"](x, w, None, stride=(2, 2), padding=padding, dilation=(1, 1), groups=1, size=size)


def transposed(x, w, padding=(1, 1), more=0):
    size = tuple(2 * n + 2 - 2 * p + more for n, p in zip(x.shape[-2:], padding))
    return OPS["conv_transpose"](x, w, None, stride=(2, 2), padding=padding, dilation=(1, 1), groups=1, size=size)


def weight_gradient(x, dy, padding=(1, 1)):
    return OPS["conv_weight_gradient"](x, dy, stride=(2, 2), padding=padding, dilation=(1, 1), groups=1, kernel=(4, 4))


def normal(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def enough(call, n=8):
    """Arrays of which Winograd's algorithm takes the call."""
    if call is weight_gradient:
        return normal(n, 24, 24, 22), normal(n, 40, 12, 11, seed=1)
    channels, size = (64, (16, 14)) if call is transposed else (32, (32, 30))
    return normal(n, channels, *size), normal(channels, channels, 4, 4, seed=1, scale=.06)


CALLS = [forward, transposed, weight_gradient]


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("call", CALLS)
def test_right(backend, call, padding):
    with use_backend(backend):
        x, w = enough(call, 12)
        if call is weight_gradient:
            w = normal(12, 40, *((n + 2 * p - 4) // 2 + 1 for n, p in zip(x.shape[-2:], padding)), seed=1)
        got, want = call(x, w, padding=padding), float64(lambda *a: call(*a, padding=padding), x, w)
        assert np.abs(got - want).max() <= USUAL * np.abs(want).max()
        assert uses_winograd(lambda *a: call(*a, padding=padding), x, w)


@pytest.mark.parametrize("h, w, padding, more", [(9, 13, (1, 1), 0), (17, 11, (1, 3), 1), (33, 7, (0, 1), 0)])
def test_odd_sizes(backend, h, w, padding, more):
    with use_backend(backend):
        x, weight = normal(9, 32, h, w), normal(32, 48, 4, 4, seed=1)
        for call, filters in ((forward, weight.swapaxes(0, 1).copy()), (lambda *a, padding: transposed(
                *a, padding=padding, more=more), weight)):
            got = call(x, filters, padding=padding)
            want = float64(lambda *a, call=call: call(*a, padding=padding), x, filters)
            assert np.abs(got - want).max() <= USUAL * np.abs(want).max()


@pytest.mark.parametrize("value", OUTLIERS)
@pytest.mark.parametrize("call", [forward, transposed])
def test_one_pixel(backend, call, value):
    with use_backend(backend):
        assert uses_winograd(call, *enough(call))
        for at in PIXELS:
            arrays = enough(call)
            marks = spike(arrays[0], (0, *at), value)
            check(call, *arrays, (0, marks), usual=4 * USUAL if abs(value) < 1e3 else USUAL)


@pytest.mark.parametrize("value", OUTLIERS)
@pytest.mark.parametrize("of", [0, 1], ids=["x", "dy"])
def test_weight_gradient(backend, value, of):
    with use_backend(backend):
        arrays = enough(weight_gradient)
        assert uses_winograd(weight_gradient, *arrays)
        for at in ((0, 3, 0, 0),):
            x, dy = (a.copy() for a in arrays)
            x[np.random.default_rng(2).random(x.shape) < .5] = 0
            dy[np.random.default_rng(3).random(dy.shape) < .5] = 0
            marks = spike((x, dy)[of], at, value)
            meets = [(x != 0).astype(np.float32), (dy != 0).astype(np.float32)]
            meets[of] = marks
            if not np.isfinite(value):
                meets[1 - of][...] = 1
            seen = float64(weight_gradient, *meets) > 0
            with np.errstate(all="ignore"):
                want, scale = float64(weight_gradient, x, dy), float64(weight_gradient, np.abs(x), np.abs(dy))
            assert_local(weight_gradient(x, dy), want, seen, scale, usual=4 * USUAL)


@pytest.mark.parametrize("call", [forward, transposed])
def test_filters_of_one_tap_and_filters_that_are_not_finite(backend, call):
    with use_backend(backend):
        for value in (1e6, np.inf, np.nan):
            x, w = enough(call)
            w[7, 5, 1, 2] = value
            assert not uses_winograd(call, x, w)
            got, want = call(x, w), float64(call, x, w)
            assert np.array_equal(np.isnan(got), np.isnan(want))


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (4, 4), (8, 8), (5, 3)])
def test_small_maps(backend, size):
    """Weights as they lie, times the pixels; infinities reach what sees them."""
    with use_backend(backend):
        x, w = normal(2, 48, *size), normal(48, 24, 4, 4, seed=1, scale=.06)
        marks = spike(x, (1, 7, 0, 0), np.inf)
        want = float64(transposed, x, w)
        with np.errstate(invalid="ignore"):
            assert_local(transposed(x, w), want, float64(transposed, marks, np.ones_like(w)) > 0, np.abs(want), 2e-6)
        with pyops.batch_invariant():   # more pixels may go another way
            assert np.array_equal(transposed(x, w)[:1], transposed(x[:1], w))


@pytest.mark.parametrize("call", CALLS)
def test_threads(backend, call):
    threads = pyops.get_num_threads()
    with use_backend(backend):
        arrays = enough(call)
        try:
            results = []
            for n in (1, 2, 3):
                pyops.set_num_threads(n)
                results.append(call(*arrays))
        finally:
            pyops.set_num_threads(threads)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("value", [1e2, 1e6, np.inf])
@pytest.mark.parametrize("op, algorithm, kernel", [
    ("conv2d", "stride_two", "winograd_stride_two"), ("conv_transpose2d", "stride_two", "winograd_transposed"),
    ("conv_transpose2d", "columns", "conv_transpose")])
def test_in_programs(op, algorithm, kernel, value, monkeypatch, tmp_path):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", algorithm)
    x, w = normal(2, 32, 13, 10), normal(32, 32, 4, 4, seed=1, scale=.06)

    def layer(x, w=w):
        return getattr(F, op)(x, w, stride=2, padding=1)
    program = pyops.compile(lambda x: F.relu(layer(x)), x)
    assert kernel in [step.kernel for step in program.steps]
    marks = spike(x, (0, 3, 5, 6), value)
    got, want = program(x), float64(lambda x, w: F.relu(layer(x, w)), x, w)
    seen = float64(layer, marks, np.ones_like(w)) > 0
    scale = float64(layer, np.abs(x), np.abs(w))
    assert_local(got, want, seen, scale, usual=4 * USUAL if value == 1e2 else USUAL)
    program.save(tmp_path / "layer.npz")
    assert np.array_equal(pyops.Program.load(tmp_path / "layer.npz")(x), got, equal_nan=True)
    if algorithm == "stride_two":
        lean = pyops.compile(lambda x: F.relu(layer(x)), x, memory="lean")   # filters are made in the run
        assert kernel in [step.kernel for step in lean.steps] and lean.weight_bytes < program.weight_bytes
        lean._native.poison()
        assert np.array_equal(lean(x), got, equal_nan=True)
        lean.save(tmp_path / "lean.npz")
        assert np.array_equal(pyops.Program.load(tmp_path / "lean.npz")(x), got, equal_nan=True)


def test_strict_programs_multiply_directly():
    x, w = normal(1, 64, 64, 64), normal(64, 64, 4, 4, seed=1)
    kernels = [{step.kernel for step in pyops.compile(lambda x: F.conv2d(x, w, stride=2, padding=1), x,
                                                      precision=precision).steps}
               for precision in ("default", "strict")]
    assert "winograd_stride_two" in kernels[0] and "direct_conv" in kernels[1]


def test_an_image_of_no_pixels(backend):
    """Padding may give a convolution outputs of it all the same, and so it has a gradient."""
    w = Tensor(normal(16, 16, 4, 4), requires_grad=True)
    for size in ((0, 4), (4, 0), (0, 0)):
        with use_backend(backend):
            x = Tensor(np.zeros((1, 16, *size), np.float32), requires_grad=True)
            F.conv2d(x, w, stride=2, padding=2).sum().backward()
        assert x.grad.shape == x.shape and not np.asarray(w.grad).any()
