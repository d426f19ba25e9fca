"""What the cases of the rows do not show: operators, activations in place, NaN and infinities,
reductions of special values."""
import numpy as np
import pytest

import pyops
from pyops import functional as F
from pyops.core.backends import use_backend
from pyops.core.registry import OPS
from pyops.core.tensor import Tensor

NAN, INF = np.nan, np.inf


def test_operators_are_the_ops():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    z = 2 - (x + y) * x / y + 1 / x - x**2 + 2**y - -x + abs(y) @ np.ones((4, 4), np.float32)
    want = 2 - (a + b) * a / b + 1 / a - a**2 + 2**b + a + b @ np.ones((4, 4), np.float32)
    np.testing.assert_allclose(z.data, want, rtol=1e-5)
    z.sum().backward()
    np.testing.assert_allclose(x.grad, -(2 * a + b) / b - 1 / a**2 - 2 * a + 1, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(x > 1, a > 1)
    np.testing.assert_array_equal(x <= y, a <= b)
    assert len({x, y, x}) == 2


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((), ()), ((0, 3), (0, 3)), ((1, 1), (1, 1)),
                                    ((6,), (2, 3, 1)), ((2, 3), (3,))])
def test_glue_of_equal_and_of_other_shapes(shapes, backend):
    """Arrays of one shape go by csrc/pointwise_call.cpp, others by the glue in Python; numbers and
    other types are made ready first."""
    rng = np.random.default_rng(3)
    a, b = (rng.uniform(0.5, 2, s).astype(np.float32) for s in shapes)
    with use_backend(backend):
        for got, want in ((F.add(a, b, alpha=2), a + 2 * b), (F.sub(a, b), a - b), (F.mul(b, a), b * a),
                          (F.maximum(a, b), np.maximum(a, b)), (F.sub(2, a), 2 - a),
                          (F.mul(a, np.float64(3)), 3 * a), (F.add(a, np.array(1)), a + np.float32(1)),
                          (F.where(a > 1, a, b), np.where(a > 1, a, b)), (F.leaky_relu(-a, 0.5), -a / 2),
                          (F.add(a, b, out=np.empty_like(a + b)), a + b)):
            assert got.dtype == np.float32 and got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-6)


def test_rows_take_arrays_and_public_functions_numbers():
    x = np.ones(3, np.float32)
    with pytest.raises(TypeError, match="^add: "):
        OPS["add"](x, 1.0, alpha=1)
    with pytest.raises(TypeError, match="^sub: one of the operands must be an array, got 1 and 2"):
        F.sub(1, 2)
    with pytest.raises(TypeError, match="at most 48 attributes"):
        OPS["add"](x, x, **{f"a{i}": i for i in range(49)})


def test_a_gradient_can_be_differentiated_again():
    x = Tensor(np.array([0.3, 1.2]), requires_grad=True)
    (first,) = pyops.grad([(x**3).sum()], [x], create_graph=True)
    first.sum().backward()
    np.testing.assert_allclose(first.data, 3 * x.data**2)
    np.testing.assert_allclose(x.grad, 6 * x.data)


@pytest.mark.parametrize("name", ["relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "silu",
                                  "mish", "hardswish", "hardsigmoid"])
def test_in_place_writes_into_the_input(name, backend):
    x = np.linspace(-4, 8, 100, dtype=np.float32).reshape(4, 25)
    with use_backend(backend):
        want, given = getattr(F, name)(x), x.copy()
        assert getattr(F, name)(given, inplace=True) is given
        np.testing.assert_array_equal(given, want)
        with pytest.raises(ValueError, match=r"inplace"):
            getattr(F, name)(x.T, inplace=True)
        given.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            getattr(F, name)(given, inplace=True)


def test_in_place_leaves_a_tensor_alone():
    x = Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    F.relu(x, inplace=True).sum().backward()
    assert x.data.tolist() == [-1, 2] and x.grad.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity_in_functions(dtype, backend):
    x = np.array([NAN, INF, -INF, 0.0], dtype)
    with use_backend(backend):
        for name, want in {"relu": [NAN, INF, 0, 0], "relu6": [NAN, 6, 0, 0],
                           "leaky_relu": [NAN, INF, -INF, 0], "elu": [NAN, INF, -1, 0],
                           "softsign": [NAN, NAN, NAN, 0], "softplus": [NAN, INF, 0, np.log(2)],
                           "hardsigmoid": [NAN, 1, 0, 0.5], "sigmoid": [NAN, 1, 0, 0.5],
                           "tanh": [NAN, 1, -1, 0], "erf": [NAN, 1, -1, 0], "rsqrt": [NAN, 0, NAN, INF],
                           "logsigmoid": [NAN, 0, -INF, -np.log(2)]}.items():
            np.testing.assert_allclose(getattr(F, name)(x), want, rtol=1e-6, err_msg=name)
        np.testing.assert_array_equal(F.maximum(x, 1.0), [NAN, INF, 1, 1])
        np.testing.assert_array_equal(F.minimum(dtype(0) * x[3:], x), [NAN, 0, -INF, 0])
        np.testing.assert_array_equal(F.clamp(x, -1, 1), [NAN, 1, -1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pow_has_the_special_cases_of_c(dtype, backend):
    values = np.array([0, -0.0, 1, -1, INF, -INF, NAN, 2, 3, -2, -3, 0.5, -0.5,
                       2.5, 1e30, -1e30, np.finfo(dtype).max],
                      dtype)
    with np.errstate(all="ignore"), use_backend(backend):
        want = np.power(values[:, None], values)
        got = F.pow(values[:, None], values)
    np.testing.assert_allclose(got, want, rtol=4 * np.finfo(dtype).eps)
    finite = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(want[finite]))


def test_nan_and_infinity_in_reductions(backend):
    x = np.array([[1, NAN, 3], [INF, 2, -INF], [-INF, -INF, -INF]], np.float32)
    with use_backend(backend):
        np.testing.assert_array_equal(F.amax(x, 1), [NAN, INF, -INF])
        np.testing.assert_array_equal(F.amin(x, 1), [NAN, -INF, -INF])
        np.testing.assert_array_equal(F.argmax(x, 1), [1, 0, 0])
        np.testing.assert_array_equal(F.max(x, 0).indices, [1, 0, 0])
        np.testing.assert_array_equal(F.logsumexp(x, 1), [NAN, INF, -INF])
        assert F.sum(x[:, :0], 1).tolist() == [0, 0, 0] and F.prod(x[:, :0], 1).tolist() == [1, 1, 1]
        assert np.isnan(F.mean(x[:, :0], 1)).all() and np.isnan(F.var(x[:, :1], 1)).all()


def test_the_gradient_of_a_product_beside_zeros(backend):
    x = Tensor(np.array([[2.0, 3, 4], [2, 0, 4], [0, 0, 4]]), requires_grad=True)
    with use_backend(backend):
        F.prod(x, 1).sum().backward()
    assert x.grad.tolist() == [[12, 8, 6], [0, 8, 0], [0, 0, 0]]


def test_equals_share_the_gradient_of_amax():
    x = Tensor(np.array([[1.0, 3, 3], [2, 2, 2]]), requires_grad=True)
    F.amax(x, 1).sum().backward()
    np.testing.assert_allclose(x.grad, [[0, 0.5, 0.5], [1 / 3] * 3])


def test_a_long_float32_sum_keeps_its_digits(backend):
    x = np.random.default_rng(0).uniform(0, 1, 3_000_001).astype(np.float32)
    with use_backend(backend):
        assert abs(float(F.sum(x)) / x.sum(dtype=np.float64) - 1) < 2e-7
        assert np.abs(F.sum(x[:3_000_000].reshape(-1, 3), 0)
                      / x[:3_000_000].reshape(-1, 3).sum(0, dtype=np.float64) - 1).max() < 4e-7


@pytest.mark.parametrize("name", ["abs", "sqrt", "rsqrt", "reciprocal", "erf", "tanh", "sigmoid", "exp",
                                  "log", "square"])
def test_second_derivatives(name):
    """The gradient of the gradient, by differences of the gradient."""
    a, h = np.array([0.3, 0.8, 1.7]), 1e-6

    def slope(at, create_graph=False):
        x = Tensor(at, requires_grad=True)
        return x, pyops.grad([getattr(F, name)(x)], [x], [np.ones(3)], create_graph)[0]
    x, first = slope(a, create_graph=True)
    numeric = (slope(a + h)[1] - slope(a - h)[1]) / (2 * h)
    if first.requires_grad:
        first.sum().backward()
    np.testing.assert_allclose(0 * a if x.grad is None else x.grad, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_variance_far_from_zero_is_that_of_the_differences(backend, axis):
    """The mean of float32 numbers is rounded; what that takes off it is no part of the variance."""
    rng = np.random.default_rng(0)
    for dtype, means in ((np.float32, (0, 1e3, 1e5, 1e7)), (np.float64, (1e10, 1e15))):
        for mean in means:
            x = (rng.standard_normal((70, 70)) * (1 if mean < 1e15 else 8) + mean).astype(dtype)
            exact = (x - x.mean()) .astype(np.float64)
            want = exact.var(axis, ddof=1)
            with use_backend(backend):
                got, deviation = F.var(x, axis), F.std(x, axis)
            assert np.abs(got / want - 1).max() < 1e-5 and np.abs(deviation / np.sqrt(want)
                                                                  - 1).max() < 1e-5, mean
            assert (F.var(np.full((5, 70), mean, dtype), axis) == 0).all()
