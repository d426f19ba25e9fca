"""Calls whose inputs are not plain arrays of one type: they are made ready on the way to the kernel, in C++
where that needs no judgement (csrc/ready_inputs.cpp), and give what NumPy gives."""
import numpy as np
import pytest

import pyops.functional as F
from pyops import Tensor
from pyops.ops.shape import RESHAPE

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((2, 5, 6)).astype(np.float32)


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    raw[...] = x
    return raw


@pytest.mark.parametrize("lie", [lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: np.asfortranarray(x),
                                 unaligned, lambda x: np.broadcast_to(x[0], x.shape)],
                         ids=["rows turned", "columns turned", "transposed", "unaligned", "repeated"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strided_arrays(lie, dtype):
    x, y = lie(X.astype(dtype)), Y.astype(dtype)
    np.testing.assert_allclose(F.add(x, y), x + y, rtol=1e-6)
    np.testing.assert_allclose(F.matmul(x, y.T), x @ y.T, rtol=1e-4, atol=1e-5)
    out = np.full(x.shape, np.nan, dtype)
    assert F.mul(x, y, out=out) is out
    np.testing.assert_allclose(out, x * y, rtol=1e-6)


@pytest.mark.parametrize("number", [2, -0.5, 0, float("inf"), 2**40, np.float64(3), np.int8(3), True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_take_the_type_of_the_array(number, dtype):
    x = X.astype(dtype)
    for found, expected in ((F.add(x, number), x + dtype(number)), (F.sub(number, x), dtype(number) - x),
                            ((Tensor(x) * number).data, x * dtype(number))):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_numbers_that_the_type_does_not_hold():
    with np.errstate(over="ignore"):
        assert np.isinf(F.add(X, 1e300)).all()
    assert np.isfinite(F.add(X.astype(np.float64), 1e300)).all()
    with pytest.raises((OverflowError, ValueError)):
        F.add(X, 10**400)
    with pytest.raises(TypeError, match="operands must be an array"):
        F.add(1.0, 2.0)


def test_numbers_and_strided_tensors_on_the_tape():
    a, b = Tensor(X, requires_grad=True), Tensor(Y, requires_grad=True)
    F.sum(2.0 * a.T * b.T / 3 + 1).backward()
    np.testing.assert_allclose(a.grad, Y * 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(b.grad, X * 2 / 3, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64])
def test_indices_of_all_whole_types(dtype):
    ids = np.array([[4, 0], [3, 3]], dtype)
    for each in (ids, ids.T, unaligned(ids)):
        np.testing.assert_array_equal(F.embedding(each, X), X[each])
    with pytest.raises(ValueError, match="index 5 is not one of the 5 rows"):
        F.embedding(np.array([5], dtype), X)


def test_out_is_refused_as_before():
    base = np.zeros(60, np.float32)
    with pytest.raises(ValueError, match="overlaps an input"):
        F.relu(base[:40], out=base[20:])
    with pytest.raises(ValueError, match="overlaps an input"):
        F.relu(X, out=X)
    with pytest.raises(ValueError, match="C-contiguous"):
        F.relu(X, out=np.zeros((6, 5), np.float32).T)
    with pytest.raises(ValueError, match="the result needs"):
        F.relu(X, out=np.zeros(X.shape))
    frozen = np.zeros(X.shape, np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        F.relu(X, out=frozen)
    apart = base[:30].reshape(5, 6)   # beside, not over, the input
    np.testing.assert_array_equal(F.relu(base[30:].reshape(5, 6) + 1, out=apart), np.ones((5, 6)))
    with pytest.raises(TypeError, match="view"):
        RESHAPE(X, shape=(30,), out=np.zeros(30, np.float32))


def test_empty_arrays_have_no_memory_to_overlap():
    nothing = np.zeros((0, 4), np.float32)
    assert F.relu(nothing, out=nothing[:]).shape == (0, 4)


@pytest.mark.parametrize("view", [lambda x: F.permute(F.permute(x, (1, 0)), (1, 0)), lambda x: F.transpose(x, 0, 1)[1:],
                                  lambda x: F.getitem(F.flip(x, (0,)), 2), lambda x: F.squeeze(F.unsqueeze(x.T, 1)),
                                  lambda x: F.split(x.T, 2)[1], lambda x: Tensor(x).T[0].data],
                         ids=["permute", "slice", "flip", "squeeze", "split", "Tensor"])
def test_views_of_views_are_views(view):
    x = X.copy()
    assert np.shares_memory(view(x), x)


@pytest.mark.parametrize("index", [[0, 3], np.array([[1, -1], [4, 0]]), np.array([], int), np.array([2], np.uint8)],
                         ids=["list", "two axes", "none", "bytes"])
def test_slices_by_whole_numbers(index):
    for place in (index, (slice(None), index), (..., index)):
        a, want = Tensor(X, requires_grad=True), np.zeros(X.shape, np.float32)
        found = a[place]
        np.testing.assert_array_equal(found.data, X[place])
        F.sum(found * 2.0).backward()
        np.add.at(want, place, 2)
        np.testing.assert_array_equal(a.grad, want)


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk->ik", [(3, 4), (4, 5)]), ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("i,i->", [(4,), (4,)]),
    ("ij,kj->ki", [(3, 4), (5, 4)]), ("ijk,kj->i", [(3, 4, 5), (5, 4)]), ("bij,jk->kbi", [(2, 3, 4), (4, 5)]),
    ("nchw,nc->nhw", [(2, 3, 4, 5), (2, 3)]), ("ij,jk->ik", [(3, 0), (0, 5)]), ("ij,jk->ik", [(1, 4), (4, 1)]),
    ("ii,ij->j", [(3, 3), (3, 4)]), ("ab,cb->", [(3, 4), (5, 4)])])
def test_einsum_of_two(equation, shapes):
    arrays = [rng.standard_normal(s) for s in shapes]
    np.testing.assert_allclose(F.einsum(equation, *arrays), np.einsum(equation, *arrays), rtol=1e-9, atol=1e-12)
