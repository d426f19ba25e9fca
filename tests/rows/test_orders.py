"""Orders of lines of every length and type against NumPy's: short ones are counted, longer ones sorted by digits,
and of long ones a sample says what may come first."""
import numpy as np
import pytest

import pyops.functional as F

TYPES = ("f4", "f8", "f2", "i8", "i4", "i2", "u1", "?")


def some(rng, shape, dtype, ties):
    x = rng.standard_normal(shape) * (3 if ties else 1000)
    x = np.round(x) if ties else x
    return (x > 0) if dtype == "?" else np.abs(x).astype("i4").astype("u1") if dtype == "u1" else x.astype(dtype)


def check(x, k, dim, largest):
    values, index = F.topk(x, k, dim, largest)
    order = np.argsort(x, dim, kind="stable")
    if largest:   # the first of equals first
        order = np.flip(x.shape[dim] - 1 - np.argsort(np.flip(x, dim), dim, kind="stable"), dim)
    order = np.take(order, range(k), dim)
    np.testing.assert_array_equal(index, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, dim))


@pytest.mark.parametrize("dtype", TYPES)
def test_whole_lines(dtype):
    rng = np.random.default_rng(0)
    for n in (1, 2, 15, 16, 17, 33, 64, 65, 100, 128, 129, 300, 1000):
        for ties in (False, True):
            x = some(rng, (3, n), dtype, ties)
            check(x, n, 1, False)
            check(x, n, 1, True)
            check(np.ascontiguousarray(x.T), n, 0, True)


@pytest.mark.parametrize("dtype", TYPES)
def test_the_first_of_long_lines(dtype):
    rng = np.random.default_rng(1)
    for n, k in ((300, 20), (3000, 17), (8400, 300), (8400, 2000), (8400, 4000), (5001, 100)):
        for ties in (False, True):
            x = some(rng, (2, n), dtype, ties)
            check(x, k, 1, True)
            check(np.sort(x, 1), k, 1, False)
            check(np.ascontiguousarray(x.T), k, 0, False)


def test_a_sample_that_misleads():
    """Where the sample's places hold the least alone, more come before its limit than were expected, or fewer."""
    for special in (-1.0, 1.0):
        x = np.random.default_rng(2).random((1, 6400), np.float32)
        x[:, 50::100] = special
        check(x, 300, 1, True)
        check(x, 300, 1, False)
    x[:, ::7] = np.nan
    values, index = F.topk(x, 300)
    assert np.isnan(values).all() and (np.diff(index) > 0).all()
