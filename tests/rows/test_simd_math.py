"""Elementary functions against long double on dense grids, in units in the last place, and at the
special values of C's math.h."""
import numpy as np
import pytest

from pyops import functional as F
from pyops.core.backends import use_backend

Long = np.longdouble
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0]
WANT = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
}
ULPS = {"exp": 1.25, "expm1": 2.25, "log": 1, "log1p": 2, "tanh": 2, "sigmoid": 2.5, "sin": 1.5, "cos": 1.5,
        "tan": 4, "asin": 4, "acos": 4, "atan": 4, "sinh": 4, "cosh": 4, "asinh": 4, "acosh": 4, "atanh": 4}


def grid(dtype):
    limits, rng = np.finfo(dtype), np.random.default_rng(0)
    far = 110 if dtype == np.float32 else 760
    edges = np.array([limits.tiny, limits.smallest_subnormal, limits.max, limits.tiny / 3])
    exponents = rng.uniform(np.log10(float(limits.smallest_subnormal)), np.log10(float(limits.max)), 20001)
    return np.concatenate([SPECIAL, edges, -edges, np.linspace(-far, far, 40001), np.linspace(-2, 2, 40001),
                           10**exponents, -10**exponents, 1 + rng.uniform(-1e-3, 1e-3, 20001)]).astype(dtype)


def assert_within(ulps, got, want, x):
    """|got - want| <= ulps of want; infinities, NaN and zeros' signs equal."""
    with np.errstate(all="ignore"):
        rounded = want.astype(got.dtype)
        finite = np.isfinite(rounded) & np.isfinite(got)
        assert np.array_equal(got[~finite], rounded[~finite], equal_nan=True)
        ulp = np.maximum(np.spacing(np.abs(rounded[finite])),
                         np.finfo(got.dtype).smallest_subnormal).astype(Long)
        error = np.abs(got[finite] - want[finite]) / ulp
    worst = error.argmax()
    assert error[worst] <= ulps, f"off by {error[worst]:.2f} ulp at {x[finite][worst]!r}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", WANT)
def test_within_units_in_the_last_place(name, dtype, backend):
    x = grid(dtype)
    with np.errstate(all="ignore"):
        want = WANT[name](x.astype(Long))
    with use_backend(backend):
        got = getattr(F, name)(x)
    assert_within(ULPS[name], got, want, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_near_multiples_of_a_right_one_and_far_out(name, dtype, backend):
    turns = np.arange(1 << 19) * (np.pi / 2)
    x = np.concatenate([turns.astype(dtype), *(np.nextafter(turns.astype(dtype), dtype(side)) for side in (-1, 1e9))])
    x = np.concatenate([x, -x, np.geomspace(2**19, 2**24, 5000).astype(dtype)])
    with use_backend(backend):
        got = getattr(F, name)(x)
    assert_within(ULPS[name], got, WANT[name](x.astype(Long)), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf", "sin"])
def test_minus_zero_stays(name, dtype, backend):
    with use_backend(backend):
        assert np.signbit(getattr(F, name)(np.array([0.0, -0.0], dtype))).tolist() == [False, True]
