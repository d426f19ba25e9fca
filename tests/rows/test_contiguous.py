"""Large arrays that lie in strides are made contiguous by all threads: the same values as NumPy's
copy, in every order of axes, also turned, thinned and repeated."""
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
