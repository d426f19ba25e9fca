"""What is asked of weights before they are packed, wherever they lie, against what NumPy says."""
import numpy as np
import pytest

from pyops import _C
from pyops.graph import packing

RNG = np.random.default_rng(0)


def unaligned(array):
    """The same numbers at an odd address."""
    room = np.zeros(array.nbytes + 1, np.uint8)
    room[1:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return room[1:].view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize("size", [0, 1, 7, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("lie", [np.array, unaligned])
def test_finite(size, lie):
    values = RNG.standard_normal(size).astype(np.float32)
    assert _C.finite(lie(values))
    for odd in (np.inf, -np.inf, np.nan):
        for at in {0, size // 2, size - 1} if size else ():
            changed = values.copy()
            changed[at] = odd
            assert not _C.finite(lie(changed))


@pytest.mark.parametrize("shape", [(3, 5, 3, 3), (17, 64, 3, 3), (2, 200, 5, 5), (1, 1, 3, 3)])
@pytest.mark.parametrize("lie", [np.array, unaligned])
def test_even_filters(shape, lie):
    w = RNG.standard_normal(shape).astype(np.float32)
    squares = np.square(w.reshape(shape[0], -1), dtype=np.float64)
    peak = squares.max(1)
    assert packing.even_filters(lie(w)) == bool((peak <= 64 * (squares.sum(1) - peak)).all())
    uneven = w.copy()
    uneven[-1] = 0
    assert packing.even_filters(lie(uneven)) == packing.even_filters(lie(w[:-1]))   # a filter of zeros is even
    uneven[-1, -1, -1, -1] = 1
    assert not packing.even_filters(lie(uneven))
    for odd in (np.inf, np.nan):
        uneven = w.copy()
        uneven[0, 0, 1, 1] = odd
        assert not packing.even_filters(lie(uneven))


def test_rows_have_to_be_whole_and_of_floats():
    with pytest.raises(ValueError, match="rows"):
        _C.even(np.zeros(5, np.float32), 2, 64.0)
    with pytest.raises(TypeError, match="float32"):
        _C.finite(np.zeros(5))


@pytest.mark.parametrize("filters,features", [(16, 3), (33, 20), (5, 64), (48, 1)])
def test_turned_rows_are_packed_as_others(filters, features, backend):
    w = RNG.standard_normal((filters, features)).astype(np.float32)
    kernels = getattr(_C, backend).f32
    want = packing.linear(kernels, w)
    for turned in (np.ascontiguousarray(w.T).T, unaligned(np.ascontiguousarray(w.T)).T, unaligned(w)):
        assert np.array_equal(packing.linear(kernels, turned), want)


def test_filters_at_odd_addresses_are_packed_as_others(backend):
    w, kernels = RNG.standard_normal((20, 18, 3, 3)).astype(np.float32), getattr(_C, backend).f32
    assert np.array_equal(packing.direct(kernels, unaligned(w)), packing.direct(kernels, w))
    assert np.array_equal(packing.winograd(kernels, unaligned(w), 4), packing.winograd(kernels, w, 4))
    assert np.array_equal(packing.contiguous(unaligned(w)), w) and packing.contiguous(unaligned(w)).flags.carray
