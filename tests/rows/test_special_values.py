"""Infinities, NaN and signed zeros where the definition is not a matter of rounding: right values,
worked out by hand."""
import math

import numpy as np
import pytest

import pyops.functional as F
from pyops import Tensor
from pyops.core.backends import use_backend

inf, nan = math.inf, math.nan


def each_backend_and_the_definition(backend, call):
    for name in (backend, "reference"):
        with use_backend(name):
            yield np.asarray(call())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_is_that_of_ieee_754(backend, dtype):
    """Also where one exponent is for all, for which NumPy and torch take the square
    root of -infinity."""
    bases = [-inf, -2.0, -1.0, -0.0, 0.0, 0.25, 1.0, inf, nan]
    for exponent in (0.5, -0.5, 1.5, 2.0, 3.0, -1.0, 0.0, inf, -inf):
        want = []
        for base in bases:
            try:
                want.append(math.pow(base, exponent))
            except ValueError:   # math has no complex numbers and no poles
                want.append(math.copysign(inf, base) if base == 0 and exponent == -1 else inf if base == 0
                            else nan)
        for exponents in (exponent, np.full(len(bases), exponent, dtype)):
            for got in each_backend_and_the_definition(backend, lambda: F.pow(np.array(bases, dtype), exponents)):   # noqa: B023
                np.testing.assert_allclose(got, want, rtol=1e-6)
                assert np.array_equal(np.signbit(got)[~np.isnan(got)],
                                      np.signbit(want)[~np.isnan(want)]), (exponent, got)


def losses(x, *args, **kwargs):
    return F.cross_entropy(np.array(x, np.float32), *args, reduction="none", **kwargs)


def test_a_class_that_a_position_has_no_part_in_does_not_count(backend):
    x, log2 = [[1.0, 1.0, -inf], [3.0, 3.0, -inf]], math.log(2)
    weight = np.array([1, 3, nan], np.float32)
    for got in each_backend_and_the_definition(backend, lambda: losses(x, np.array([0, 1]), weight)):
        np.testing.assert_allclose(got, [log2, 3 * log2], rtol=1e-6)
    for got in each_backend_and_the_definition(backend, lambda: F.cross_entropy(np.array(x, np.float32),
                                                                                np.array([0, 1]), weight)):
        np.testing.assert_allclose(got, log2, rtol=1e-6)
    for got in each_backend_and_the_definition(backend, lambda: losses(x, np.array([0, 2]),
                                                                       np.array([1, 1, 0], np.float32))):
        # 0 times infinity: the class is the position's own
        np.testing.assert_allclose(got, [log2, nan], rtol=1e-6)
    log_p = np.array([[-1, nan], [nan, -2], [nan, nan]], np.float32)
    for got in each_backend_and_the_definition(backend, lambda: F.nll_loss(log_p, np.array([0, 1, -100]),
                                                                           reduction="sum")):
        assert got == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_bound_that_is_nan_makes_all_nan(backend, dtype):
    """As in torch and NumPy; kernels would ignore it."""
    x = np.array([-2, 0.5, 3], dtype)
    with use_backend(backend):
        for bounds in ((math.nan, 1), (-1, math.nan), (None, math.nan), (np.float32("nan"), None)):
            assert np.isnan(F.clamp(x, *bounds)).all()


def test_an_infinite_weight_makes_an_infinite_loss(backend):
    """Also of the most likely class, which the kernels find by a difference of 0."""
    weight, log2 = np.array([inf, 1], np.float32), math.log(2)
    probabilities = np.array([[0.5, 0.5], [0, 1]], np.float32)
    for got in each_backend_and_the_definition(backend,
                                               lambda: losses([[1.0, 1.0]] * 2, probabilities, weight)):
        np.testing.assert_allclose(got, [inf, nan])   # 0 times infinity
    for got in each_backend_and_the_definition(backend, lambda: losses([[1.0, 1.0]], np.array([1]), weight,
                                                                       label_smoothing=0.5)):
        assert got == inf
    for got in each_backend_and_the_definition(backend, lambda: losses([[1.0, 1.0]], np.array([1]),
                                                                       label_smoothing=0.5)):
        np.testing.assert_allclose(got, log2, rtol=1e-6)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_has_the_sign_of_its_argument(backend, approximate):
    """Also where it is zero. Long enough for whole vectors and a rest."""
    x = np.array([0.0, -0.0, -1e-30, 1e-30, -50.0, 50.0, -3e38] * 9, np.float32)
    for got in each_backend_and_the_definition(backend, lambda: F.gelu(x, approximate=approximate)):
        assert np.array_equal(np.signbit(got), np.signbit(x))


def test_slopes_of_hardswish_where_its_pieces_meet(backend):
    """Those of the straight pieces, as torch has them; nothing comes of NaN but NaN."""
    x = np.array([-3.0, 3.0, nan, 0.0], np.float32)
    with use_backend(backend):
        leaf = Tensor(x, requires_grad=True)
        F.hardswish(leaf).backward(np.ones_like(x))
    np.testing.assert_array_equal(np.asarray(leaf.grad), [0, 1, nan, 0.5])


def test_what_is_left_of_floats_is_exact(backend):
    """Pairs that a quotient in double decides, near whole multiples, and those that it does not."""
    rng = np.random.default_rng(2)
    a = (rng.standard_normal(3000) * np.exp2(rng.integers(-30, 40, 3000))).astype(np.float32)
    b = (rng.standard_normal(3000) * np.exp2(rng.integers(-10, 10, 3000))).astype(np.float32)
    a[:1000] = (b[:1000].astype(np.float64) * rng.integers(1, 2000, 1000)).astype(np.float32)
    edges = np.array([0, -0.0, 1, -1, 2.5, inf, -inf, nan, 1e-45, 3e38], np.float32)
    pairs = [(a, b), *((np.repeat(edges, edges.size), np.tile(edges, edges.size)),)]
    with use_backend(backend), np.errstate(all="ignore"):
        for p, q in pairs:
            for got, want in ((F.fmod(p, q), np.fmod(p, q)), (F.remainder(p, q), np.remainder(p, q))):
                np.testing.assert_array_equal(got, want)
        for q in (3.0, -0.75):
            np.testing.assert_array_equal(F.fmod(a, q), np.fmod(a, np.float32(q)))
            np.testing.assert_array_equal(F.remainder(a, q), np.remainder(a, np.float32(q)))
