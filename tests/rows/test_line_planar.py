"""Single convolutions whose filters lie along one axis, by Winograd's algorithm along it, against float64."""
import numpy as np
import pytest
import test_locality as locality

import pyops
import pyops.functional as F
from pyops import num_threads
from pyops.core.backends import use_backend

# (name of what it catches, input, filters (K, taps of each axis), settings): of sizes that the algorithm takes
CASES = [
    ("a row", (2, 64, 9, 23), (48, 1, 7), {"padding": (0, 3)}),
    ("a column, blocks not full", (2, 70, 19, 11), (50, 5, 1), {"padding": (2, 0)}),
    ("a sequence", (3, 64, 61), (96, 3), {"padding": 1}),
    ("no padding", (3, 64, 61), (96, 5), {}),
    ("pixels a dilation apart", (4, 64, 60), (64, 3), {"padding": 2, "dilation": 2}),
    ("along the depth", (2, 64, 9, 5, 7), (64, 3, 1, 1), {"padding": (1, 0, 0)}),
    ("large filters, those of a row of the channels of seven", (1, 32, 17, 31), (48, 7, 7), {"padding": 3}),
    ("as much padding as a filter reaches", (4, 64, 30), (64, 7), {"padding": 6}),
]


def drawn(shape, filters, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((filters[0], shape[1], *filters[1:]), np.float32)
    return np.maximum(rng.standard_normal(shape, np.float32), 0), weight, rng.standard_normal(filters[0], np.float32)


def functions(shape):
    return {3: (F.conv1d, F.conv_transpose1d), 4: (F.conv2d, F.conv_transpose2d),
            5: (F.conv3d, F.conv_transpose3d)}[len(shape)]


@pytest.mark.parametrize("name, shape, filters, settings", CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("turned", [False, True], ids=["plain", "transposed"])
def test_values(name, shape, filters, settings, turned, backend):
    x, weight, bias = drawn(shape, filters)
    call = functions(shape)[turned]
    if turned:
        weight = np.ascontiguousarray(weight.swapaxes(0, 1))
        x = np.resize(x, (shape[0], weight.shape[0], *shape[2:]))
    want = locality.float64(lambda *a: call(*a, **settings), x, weight, bias)
    with use_backend(backend):
        got = call(x, weight, bias, **settings)
        with num_threads(2):
            assert np.array_equal(call(x, weight, bias, **settings), got)
        with pyops.batch_invariant():
            one_by_one = np.concatenate([call(x[i:i + 1], weight, bias, **settings) for i in range(len(x))])
            assert np.array_equal(call(x, weight, bias, **settings), one_by_one)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("value", [1e5, -1e9, np.inf, np.nan])
def test_an_outlier_reaches_only_outputs_that_see_it(value):
    x, weight, _ = drawn((2, 64, 8, 31), (64, 1, 7))
    x[1, 5, 3, 14] = value
    got = F.conv2d(x, weight, padding=(0, 3))
    seen = np.zeros(got.shape, bool)
    seen[1, :, 3, 11:18] = True
    want = locality.float64(lambda *a: F.conv2d(*a, padding=(0, 3)), x, weight)
    with np.errstate(all="ignore"):
        error = np.abs(got - want)
    assert error[~seen].max() <= 2e-5 * np.abs(want[~seen]).max()
    assert np.array_equal(np.isnan(got), np.isnan(want))


def test_filters_that_are_not_finite_are_met_as_defined():
    """Zeros of the padding times an infinite weight are NaN; a transposed convolution has no such zeros."""
    x, weight, _ = drawn((2, 64, 61), (64, 3))
    weight[3, 4, 0] = np.inf
    for call in (F.conv1d, F.conv_transpose1d):
        want = locality.float64(lambda *a, call=call: call(*a, padding=1), x, weight)
        got = call(x, weight, padding=1)
        assert np.array_equal(np.isnan(got), np.isnan(want))
