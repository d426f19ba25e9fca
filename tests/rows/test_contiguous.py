"""Large arrays that lie in strides are made contiguous by all threads: the same values as NumPy's
copy, in every order of axes, also turned, thinned and repeated."""
from functools import partial

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import _C

TYPES = ("f4", "f8", "f2", "i8", "i4", "i2", "u1", "?")


def some_view(rng, dtype):
    """A view of 65,536 values or more: smaller ones are NumPy's to copy."""
    while True:
        shape = rng.choice([1, 2, 3, 4, 5, 8, 16, 17, 33, 64, 130], rng.integers(1, 6))
        if 65536 <= np.prod(shape) <= 300_000:
            break
    x = (rng.random(shape) * 200).astype(dtype).transpose(rng.permutation(len(shape)))
    steps = rng.choice([1, 1, 1, -1, 2], len(shape))
    x = x[tuple(slice(None, None, int(step)) for step in steps)]
    repeated = rng.choice([0, 0, 1, 3, 8])
    x = np.broadcast_to(x[..., None], (*x.shape, repeated)) if repeated else x
    return np.broadcast_to(x, (max(1, -(-65536 // x.size)), *x.shape))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_values_are_those_of_numpys_copy(dtype, threads):
    rng = np.random.default_rng(TYPES.index(dtype))
    before = pyops.get_num_threads()
    pyops.set_num_threads(threads)
    try:
        for _ in range(12):
            x = some_view(rng, dtype)
            got = _C.contiguous(x)
            assert got.flags.c_contiguous
            np.testing.assert_array_equal(got, np.ascontiguousarray(x), err_msg=f"{x.shape} {x.strides}")
    finally:
        pyops.set_num_threads(before)


def test_what_lies_ready_is_not_copied():
    x = np.zeros((300, 400), np.float32)
    assert np.shares_memory(_C.contiguous(x), x)


def test_reshape_copies_only_what_has_no_view():
    x = np.random.default_rng(0).random((4, 300, 200), np.float32)
    assert np.shares_memory(F.reshape(x.transpose(1, 0, 2), (300, 4, 2, 100)), x)
    turned = F.reshape(x.transpose(0, 2, 1), (4, -1))
    assert not np.shares_memory(turned, x)
    np.testing.assert_array_equal(turned, x.transpose(0, 2, 1).reshape(4, -1))


def turned(x):
    return {"of a matrix": x.swapaxes(-1, -2), "channels last": np.moveaxis(x, -1, 1), "reversed": x.T}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_one_by_one_of_inputs_in_another_order_lie_as_these_do(dtype):
    """Nothing is copied, and gradients are right in either order."""
    rng = np.random.default_rng(3)
    for x in turned(rng.standard_normal((5, 7, 9)).astype(dtype)).values():
        y = np.copy(x, order="K")
        for call in (F.relu, F.gelu, partial(F.add, y), partial(F.mul, 2.0), partial(F.clamp, min=-1, max=1)):
            got, want = call(x), call(np.ascontiguousarray(x))
            assert got.strides == x.strides
            np.testing.assert_array_equal(got, want)
            leaf, plain = (pyops.Tensor(v, requires_grad=True) for v in (x, np.ascontiguousarray(x)))
            g = rng.standard_normal(x.shape).astype(dtype)
            call(leaf).backward(g)
            call(plain).backward(g)
            np.testing.assert_array_equal(np.asarray(leaf.grad), np.asarray(plain.grad))


def test_inputs_in_different_orders_are_copied():
    x = np.random.default_rng(0).random((6, 8), np.float32)
    np.testing.assert_array_equal(F.add(x.T, np.ascontiguousarray(x.T)), 2 * x.T)
    np.testing.assert_array_equal(F.add(x.T, x[:, 0]), x.T + x[:, 0])
    np.testing.assert_array_equal(F.softmax(x.T, -1), F.softmax(np.ascontiguousarray(x.T), -1))
    repeated = np.broadcast_to(x[:1], (6, 8))
    assert F.relu(repeated).flags.c_contiguous
    out = np.empty((8, 6), np.float32)
    assert F.relu(x.T, out=out) is out
    np.testing.assert_array_equal(out, x.T)
