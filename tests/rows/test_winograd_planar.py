"""Eager 3x3 convolutions by Winograd's algorithm: right at ragged sizes, in both directions, and
only where precision allows them."""
import os
import subprocess
import sys

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import num_threads
from pyops.core.registry import OPS

BOUND = 2e-5   # of the greatest output, as compiled programs promise for precision "default"


@pytest.fixture(autouse=True)
def default_precision():
    yield
    pyops.set_precision("default")


def drawn(n, c, k, h, w, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, c, h, w)).astype(np.float32),
            rng.standard_normal((k, c, 3, 3)).astype(np.float32), rng.standard_normal(k).astype(np.float32))


def weight_gradient(padding):
    return lambda x, dy: OPS["conv_weight_gradient"](x, dy, stride=(1, 1), padding=padding, dilation=(1, 1),
                                                     groups=1, kernel=(3, 3))


def strict(call):
    pyops.set_precision("strict")
    try:
        return call()
    finally:
        pyops.set_precision("default")


def compare(call, arrays, used=True):
    """The float32 call against the float64 one (which is always direct), and whether an algorithm
    of its own was used."""
    got, expected = call(*arrays), call(*(a.astype(np.float64) for a in arrays))
    assert np.abs(got - expected).max() <= BOUND * np.abs(expected).max()
    assert np.array_equal(got, strict(lambda: call(*arrays))) != used


@pytest.mark.parametrize("n, c, k, h, w, padding", [
    (2, 32, 48, 19, 23, 1), (1, 17, 33, 37, 30, (0, 2)), (3, 40, 40, 18, 17, 2), (1, 64, 16, 31, 57, 0),
    (70, 64, 64, 16, 16, 1), (40, 32, 48, 9, 9, 1), (64, 160, 150, 4, 4, 1)])
def test_ragged_sizes_and_many_samples(n, c, k, h, w, padding):
    x, weight, bias = drawn(n, c, k, h, w)
    compare(lambda x, w, b: F.conv2d(x, w, b, padding=padding), (x, weight, bias))
    compare(lambda x, w: F.conv_transpose2d(x, w, padding=padding), (x, weight.transpose(1, 0, 2, 3).copy()))
    dy = np.random.default_rng(1).standard_normal(F.conv2d(x, weight, padding=padding).shape).astype(
        np.float32)
    compare(weight_gradient((padding, padding) if isinstance(padding, int) else padding), (x, dy))


@pytest.mark.parametrize("arguments",
                         [{"stride": 2}, {"padding": 3}, {"groups": 2}])
def test_other_convolutions_stay_direct(arguments):
    x, weight, bias = drawn(2, 32, 32, 24, 24)
    weight = weight[:, :32 // arguments.get("groups", 1)].copy()
    compare(lambda x, w, b: F.conv2d(x, w, b, **arguments), (x, weight, bias), used=False)


@pytest.mark.parametrize("arguments", [{"dilation": 2, "padding": 2}, {"dilation": (2, 1), "padding": (4, 1)}])
def test_dilated_convolutions(arguments):
    x, weight, bias = drawn(2, 32, 32, 24, 24)
    compare(lambda x, w, b: F.conv2d(x, w, b, **arguments), (x, weight, bias))


def test_few_channels_few_pixels_and_float64_stay_direct():
    for n, c, k, h, w in ((1, 3, 64, 32, 32), (1, 64, 8, 32, 32), (1, 256, 256, 4, 4)):
        compare(lambda x, w: F.conv2d(x, w, padding=1), drawn(n, c, k, h, w)[:2], used=False)
    x, weight = (a.astype(np.float64) for a in drawn(1, 32, 32, 32, 32)[:2])
    assert np.array_equal(F.conv2d(x, weight), strict(lambda: F.conv2d(x, weight)))


def test_results_do_not_depend_on_threads():
    x, weight, bias = drawn(5, 48, 64, 21, 26)
    calls = (lambda: F.conv2d(x, weight, bias, padding=1),
             lambda: weight_gradient((1, 1))(x, np.ascontiguousarray(x[:, :40])))
    with num_threads(1):
        alone = [call() for call in calls]
    with num_threads(3):
        assert all(np.array_equal(call(), expected) for call, expected in zip(calls, alone))


def test_weight_gradients_of_planes_that_are_cut():
    """More tiles than are transformed together, in a plane and over samples."""
    for n, c, k, h, w in ((2, 64, 80, 70, 75), (30, 96, 64, 20, 20)):
        rng = np.random.default_rng(n)
        compare(weight_gradient((1, 1)), (rng.standard_normal((n, c, h, w)).astype(np.float32),
                                          rng.standard_normal((n, k, h, w)).astype(np.float32)))


def test_a_nan_reaches_what_reads_it_and_no_other_sample():
    x, weight, _ = drawn(3, 32, 32, 24, 24)
    x[1, 5, 12, 12] = np.nan
    y = F.conv2d(x, weight, padding=1)
    assert (np.isnan(y[1, :, 11:14, 11:14]).all() and np.isfinite(y[[0, 2]]).all()
            and np.isfinite(y[1, :, :4]).all())


def test_precision_is_set_read_and_refused():
    assert pyops.get_precision() == "default"
    pyops.set_precision("strict")
    assert pyops.get_precision() == "strict"
    with pytest.raises(ValueError, match="'high' is not one of default, strict"):
        pyops.set_precision("high")

    def run(value):
        command = [sys.executable, "-c", "import pyops; print(pyops.get_precision())"]
        return subprocess.run(command, text=True, capture_output=True,
                              env={**os.environ, "PYOPS_PRECISION": value})

    assert (run("strict").stdout == "strict\n"
            and "PYOPS_PRECISION='exact' is not one of" in run("exact").stderr)
