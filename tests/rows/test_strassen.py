"""1x1 convolutions by Strassen's algorithm, of compiled programs, against float64 products."""
import numpy as np
import pytest
import test_winograd as blocked

import pyops
import pyops.functional as F
from pyops.core.backends import BACKENDS
from pyops.core.threads import num_threads
from pyops.graph import packing, strassen

BOUND = 4e-6   # greatest error over the greatest output; measured: 2e-6

# channels, filters, samples, height, width
CASES = {
    "whole_halves": (64, 64, 1, 14, 14),
    "an_odd_block_of_filters": (64, 80, 2, 9, 13),
    "a_block_of_channels_left": (80, 96, 1, 8, 9),
    "a_block_and_a_half_left": (40 + 16, 64, 3, 7, 7),
    "half_a_block_left": (40, 72, 1, 10, 11),
    "no_half": (20, 40, 1, 5, 6),
    "three_pairs_of_blocks": (96, 96, 1, 6, 19),
    "filters_end_within_a_block": (48, 100, 1, 12, 12),
    "one_pixel": (64, 64, 2, 1, 1),
    "two_pixels": (64, 64, 1, 1, 2),
    "three_pixels": (64, 80, 1, 3, 1),
    "an_odd_number": (32, 32, 5, 7, 7),
    "several_tasks": (32, 160, 3, 31, 33),
    "several_tasks_of_few_pixels": (272, 352, 1, 11, 13),
}


def make(channels, filters, n, h, w, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, channels, h, w), np.float32)
    weight = rng.standard_normal((filters, channels, 1, 1), np.float32) * np.float32((2 / channels) ** 0.5)
    return x, weight, rng.standard_normal(filters, np.float32)


def exact(x, weight, bias):
    products = np.einsum("kc,nchw->nkhw", weight[:, :, 0, 0].astype(np.float64), x.astype(np.float64))
    return products + bias[:, None, None]


def halves(backend, x, weight, bias, residual=None, activation=blocked.NONE, in_place=False):
    kernels = BACKENDS[backend].sets["f32"]
    n, channels, h, w = x.shape
    k = len(weight)
    blocks = -(-k // 16)
    larger = np.full((n, blocks + 2, h, w, 16), 77, np.float32)
    y = larger[:, 1:-1]
    y[...] = np.nan
    add = None if residual is None else blocked.to_blocks(residual)
    if in_place:
        y[...] = add
    kernels.strassen_conv(blocked.to_blocks(x), channels, *strassen.filters(kernels, weight), packing.bias(bias, k),
                          y if in_place else add, activation, y)
    assert (larger[:, 0] == 77).all() and (larger[:, -1] == 77).all(), "stored outside the output"
    return blocked.from_blocks(y, k)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_float64(backend, case):
    x, weight, bias = make(*case)
    want = exact(x, weight, bias)
    residual = np.random.default_rng(1).standard_normal(want.shape, np.float32)
    bound = BOUND * np.abs(want).max()
    results = []
    for threads in (1, 2, 3):
        with num_threads(threads):
            results.append(halves(backend, x, weight, bias))
    assert np.abs(results[0] - want).max() <= bound
    assert all(np.array_equal(results[0], other) for other in results[1:])
    sums = want + residual
    outside = halves(backend, x, weight, bias, residual, ("leaky_relu", 0.1, 0.0))
    assert np.abs(outside - np.where(sums > 0, sums, 0.1 * sums)).max() <= bound
    assert np.array_equal(halves(backend, x, weight, bias, residual, ("leaky_relu", 0.1, 0.0), in_place=True), outside)
    clamped = halves(backend, x, weight, bias, residual, ("clamp", -0.5, 1.0), in_place=True)
    assert np.abs(clamped - np.clip(sums, -0.5, 1.0)).max() <= bound


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30, 1e4])
@pytest.mark.parametrize("pixel", [(0, 0), (3, 4), (12, 13)])
def test_pixels_do_not_see_each_other(backend, pixel, value):
    """What is not finite, or an outlier, stays with the outputs of its pixel."""
    x, weight, bias = make(64, 80, 2, 13, 14)
    x[(1, 20, *pixel)] = value
    with np.errstate(all="ignore"):
        want = exact(x, weight, bias)
        got = halves(backend, x, weight, bias)
    others = np.ones(want.shape, bool)
    others[(1, slice(None), *pixel)] = False
    assert np.abs(got[others] - want[others]).max() <= 1e-5
    assert np.allclose(got[~others], want[~others], rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("factor", [1e-3, 1e4, 1e-38, 1e37, 0.0])
def test_filters_of_other_sizes_are_as_exact(backend, factor):
    """Each filter errs by its own size, whatever it is added to."""
    x, weight, _ = make(64, 80, 1, 13, 14)
    weight[3::7] *= np.float32(factor)
    want = exact(x, weight, np.zeros(80))
    got = halves(backend, x, weight, np.zeros(80, np.float32))
    assert (np.abs(got - want).max((0, 2, 3)) <= 2 * BOUND * np.abs(want).max((0, 2, 3))).all()


@pytest.mark.parametrize("spread", [4, 64, 1e3])
@pytest.mark.parametrize("which", ["halves", "all", "one"])
def test_channels_of_other_sizes_are_as_exact(backend, which, spread):
    """Loud channels of small weights do not drown quiet ones."""
    x, weight, bias = make(64, 80, 1, 13, 14)
    factors = np.exp(np.random.default_rng(2).standard_normal(64) * np.log(spread) / 3)
    if which != "all":
        factors = np.where(np.arange(64) < 32 if which == "halves" else np.arange(64) == 40, spread, 1)
    x *= factors.astype(np.float32)[:, None, None]
    weight /= factors.astype(np.float32)[:, None, None]
    want = exact(x, weight, bias)
    assert np.abs(halves(backend, x, weight, bias) - want).max() <= BOUND * np.abs(want).max()


def test_quiet_pixels_where_weights_see_them(backend):
    """A channel that no filter sees much does not hide that two pixels are unlike."""
    x, weight, _ = make(64, 64, 1, 14, 14)
    x[:, 7], weight[:, 7] = x[:, 7] * np.float32(1e4), weight[:, 7] * np.float32(1e-8)
    x[:, 8:, ::3] *= np.float32(1e-4)
    x[:, :7, ::3] *= np.float32(1e-4)
    want = exact(x, weight, np.zeros(64))
    got = halves(backend, x, weight, np.zeros(64, np.float32))
    assert (np.abs(got - want).max(1) <= 2 * BOUND * np.abs(want).max(1)).all()


def test_quiet_pixels_beside_loud_ones_are_as_exact(backend):
    x, weight, _ = make(64, 64, 1, 14, 14)
    x[:, :, ::3] *= np.float32(1e-4)
    want = exact(x, weight, np.zeros(64))
    got = halves(backend, x, weight, np.zeros(64, np.float32))
    assert (np.abs(got - want).max(1) <= 2 * BOUND * np.abs(want).max(1)).all()


def test_a_sample_does_not_depend_on_others(backend):
    x, weight, bias = make(96, 96, 3, 9, 9)
    whole = halves(backend, x, weight, bias)
    for i in range(3):
        assert np.array_equal(halves(backend, x[i:i + 1], weight, bias)[0], whole[i])


def program_of(x, weight, **options):
    return pyops.compile(lambda v: F.gelu(F.conv2d(v, weight)) + v, x, **options)


def test_a_program_of_it(monkeypatch, tmp_path):
    x, weight, _ = make(96, 96, 2, 9, 15)
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "strassen")
    for given, like in ((x, weight), (x[:, :, 0], weight[..., 0])):
        call = F.conv2d if given.ndim == 4 else F.conv1d
        program = pyops.compile(lambda v, call=call, like=like: F.gelu(call(v, like)) + v, given)
        assert "strassen_conv" in [s.kernel for s in program.steps]
        with pyops.no_grad():
            want = np.asarray(program_of(x, weight, precision="strict")(x)).reshape(x.shape)
            eager = np.asarray((F.gelu(call(pyops.Tensor(given), like)) + given).data)
        assert np.abs(program(given) - eager).max() <= BOUND * np.abs(want).max()
        program.save(tmp_path / "halves.pyops")
        assert np.array_equal(pyops.Program.load(tmp_path / "halves.pyops")(given), program(given))


def test_it_is_chosen_where_it_gains(monkeypatch):
    """And not for few filters, nor where sums have to be those of a direct convolution."""
    monkeypatch.delenv("PYOPS_FORCE_ALGO", raising=False)
    found = {}
    for name, channels, options in (("wide", 512, {}), ("lean", 512, {"memory": "lean"}), ("narrow", 32, {}),
                                    ("strict", 512, {"precision": "strict"})):
        x, weight, _ = make(channels, channels, 8, 14, 14)
        found[name] = [s.kernel for s in program_of(x, weight, **options).steps if s.op.startswith("conv")]
    assert found == {"wide": ["strassen_conv"], "lean": ["strassen_conv"], "narrow": ["direct_conv"],
                     "strict": ["direct_conv"]}
