"""Winograd convolutions of narrow groups, of compiled programs, against float64 direct convolution."""
import numpy as np
import pytest
import test_winograd as blocked

import pyops
import pyops.functional as F
from pyops.core.backends import BACKENDS
from pyops.core.threads import num_threads
from pyops.graph import packing

torch = pytest.importorskip("torch")
TF = torch.nn.functional

# groups, channels and filters of one, samples, height, width, padding
CASES = {
    "a_block_each": (5, 16, 16, 1, 14, 14, (1, 1)),
    "half_a_block": (6, 8, 8, 2, 9, 13, (1, 1)),
    "half_a_block_left": (5, 8, 8, 1, 10, 11, (1, 1)),
    "a_block_and_a_half": (7, 24, 24, 1, 14, 15, (1, 1)),
    "two_and_a_half": (3, 40, 40, 1, 7, 7, (1, 1)),
    "two_blocks": (4, 32, 32, 2, 28, 9, (1, 1)),
    "many_channels_few_filters": (4, 40, 8, 1, 12, 12, (2, 0)),
    "few_channels_many_filters": (5, 8, 40, 1, 6, 19, (0, 2)),
    "many_batches_of_tiles": (3, 24, 24, 2, 61, 60, (1, 1)),
    "rows_longer_than_a_strip": (3, 8, 24, 1, 6, 121, (1, 1)),
    "one_pixel": (4, 16, 16, 1, 1, 1, (1, 1)),
}


def make(groups, channels, filters, n, h, w, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, groups * channels, h, w), np.float32)
    weight = rng.standard_normal((groups * filters, channels, 3, 3), np.float32) * (2 / (9 * channels)) ** 0.5
    return x, weight.astype(np.float32), rng.standard_normal(groups * filters, np.float32)


def exact(x, weight, bias, padding, groups):
    with torch.no_grad():
        return TF.conv2d(*(torch.from_numpy(a).double() for a in (x, weight, bias)), padding=padding,
                         groups=groups).numpy()


def grouped(backend, x, weight, groups, tile, padding, bias, residual=None, activation=blocked.NONE, pool=1,
            in_place=False):
    kernels = BACKENDS[backend].sets["f32"]
    n, _, h, w = x.shape
    k = len(weight)
    blocks = -(-k // 16)
    larger = np.full((n, blocks + 2, *((size + 2 * p - 2) // pool for size, p in zip((h, w), padding)), 16), 77,
                     np.float32)
    y = larger[:, 1:-1]
    y[...] = np.nan
    add = None if residual is None else blocked.to_blocks(residual)
    if in_place:
        y[...] = add
    padded = np.concatenate([bias, np.zeros(blocks * 16 - k, np.float32)])
    u = packing.winograd_grouped(kernels, weight, groups, tile)
    kernels.winograd_grouped(blocked.to_blocks(x), weight, u, tile, padded, y if in_place else add, padding, pool,
                             groups, activation, y)
    assert (larger[:, 0] == 77).all() and (larger[:, -1] == 77).all(), "stored outside the output"
    return blocked.from_blocks(y, k)


@pytest.mark.parametrize("tile", [2, 4, 6])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_float64(backend, case, tile):
    groups, channels, filters, n, h, w, padding = case
    x, weight, bias = make(groups, channels, filters, n, h, w)
    want = exact(x, weight, bias, padding, groups)
    residual = np.random.default_rng(1).standard_normal(want.shape, np.float32)
    bound = blocked.BOUND[tile] * np.abs(want).max()
    results = []
    for threads in (1, 2, 3):
        with num_threads(threads):
            results.append(grouped(backend, x, weight, groups, tile, padding, bias))
    assert np.abs(results[0] - want).max() <= bound
    assert all(np.array_equal(results[0], other) for other in results[1:])
    for in_place in (False, True):
        got = grouped(backend, x, weight, groups, tile, padding, bias, residual, ("leaky_relu", 0.1, 0.0),
                      in_place=in_place)
        sums = want + residual
        assert np.abs(got - np.where(sums > 0, sums, 0.1 * sums)).max() <= bound
    if min(want.shape[2:]) >= 2:
        got = grouped(backend, x, weight, groups, tile, padding, bias, activation=blocked.RELU, pool=2)
        pooled = TF.max_pool2d(torch.from_numpy(want).clamp(min=0), 2).numpy()
        assert np.abs(got - pooled).max() <= bound


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30, 1e4])
@pytest.mark.parametrize("sizes", [(6, 8, 8), (4, 16, 16), (5, 24, 24), (3, 8, 40), (4, 40, 8)])
def test_groups_do_not_see_each_other(backend, sizes, value):
    """What is not finite, or an outlier, stays with the outputs of its group that see it."""
    groups, channels, filters = sizes
    x, weight, bias = make(*sizes, 2, 13, 14)
    x[1, channels + 1, 3, 4] = value
    residual = np.random.default_rng(2).standard_normal((2, groups * filters, 13, 14), np.float32)
    with np.errstate(all="ignore"):
        want = exact(x, weight, bias, (1, 1), groups) + residual
        for activation, result in ((blocked.NONE, want), (blocked.RELU, np.maximum(want, 0))):
            got = grouped(backend, x, weight, groups, 4, (1, 1), bias, residual, activation)
            calm = np.abs(result) < 50
            assert calm.mean() > 0.98 and np.abs(got - result)[calm].max() <= 5e-5
            assert np.allclose(got[~calm], result[~calm], rtol=1e-4, equal_nan=True)


def test_a_quiet_group_beside_a_loud_one(backend):
    """Whether a tile is uneven is for each group to say: a loud one does not hide another's outlier."""
    x, weight, bias = make(4, 8, 8, 1, 16, 16)
    x[:, :8] *= 1e6
    x[0, 9, 5, 5] = 1e4
    want = exact(x, weight, bias, (1, 1), 4)[:, 8:]
    got = grouped(backend, x, weight, 4, 4, (1, 1), bias)[:, 8:]
    small = np.abs(want) < 50
    assert np.abs(got - want)[small].max() <= 5e-5


def test_a_sample_does_not_depend_on_others(backend):
    x, weight, bias = make(3, 24, 24, 3, 14, 14)
    whole = grouped(backend, x, weight, 3, 4, (1, 1), bias)
    for i in range(3):
        assert np.array_equal(grouped(backend, x[i:i + 1], weight, 3, 4, (1, 1), bias)[0], whole[i])


def program_of(x, weight, groups, **options):
    return pyops.compile(lambda v: F.relu(F.conv2d(v, weight, padding=1, groups=groups)), x, **options)


def test_it_is_chosen_where_it_gains(monkeypatch, tmp_path):
    monkeypatch.delenv("PYOPS_FORCE_ALGO", raising=False)
    found = {}
    for channels in (4, 32):
        x, weight, _ = make(4, channels, channels, 1, 28, 28)
        program = program_of(x, weight, 4, memory="fast")
        found[channels] = [s.kernel for s in program.steps if s.op.startswith("conv")]
    assert found == {4: ["grouped_conv"], 32: ["winograd_grouped"]}
    program.save(tmp_path / "grouped.pyops")
    assert np.array_equal(pyops.Program.load(tmp_path / "grouped.pyops")(x), program(x))


def test_what_declines(monkeypatch):
    x, weight, _ = make(4, 32, 32, 1, 28, 28)
    one = weight.copy()
    one[3, 2, 0, 0] = 1e4
    monkeypatch.delenv("PYOPS_FORCE_ALGO", raising=False)
    for program in (program_of(x, one, 4), program_of(x, weight, 4, precision="strict"),
                    program_of(x, weight, 4, memory="lean")):
        assert "winograd_grouped" not in [s.kernel for s in program.steps]
