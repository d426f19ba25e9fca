"""cat and stack on their short way: rows of every width, all types, Tensors, and what goes the long way."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, functional as F, no_grad


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.int8, np.bool_])
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_of_every_width(dtype, threads):
    rng = np.random.default_rng(0)
    before = pyops.get_num_threads()
    pyops.set_num_threads(threads)
    try:
        for widths in [(1, 1), (1, 2, 3), (7, 9), (15, 16, 17), (31, 33), (63, 65, 1), (0, 5), (1023, 1025), (4097, 3)]:
            parts = [rng.integers(0, 2, (5, w)).astype(dtype) for w in widths]
            for dim in (1, -1):
                got = F.cat(parts, dim)
                assert got.dtype == dtype
                np.testing.assert_array_equal(got, np.concatenate(parts, 1))
            turned = [np.ascontiguousarray(p.T) for p in parts]
            np.testing.assert_array_equal(F.cat(turned), np.concatenate(turned))
        for shape in [(), (1,), (3,), (3, 5), (2, 3, 70000)]:
            parts = [rng.integers(0, 2, shape).astype(dtype) for _ in range(3)]
            for dim in range(-len(shape) - 1, len(shape) + 1):
                np.testing.assert_array_equal(F.stack(parts, dim), np.stack(parts, dim))
    finally:
        pyops.set_num_threads(before)


def test_what_the_long_way_takes():
    a, b = np.arange(6.).reshape(2, 3), np.arange(8.).reshape(2, 4)
    np.testing.assert_array_equal(F.cat([a[:, ::-1], b], 1), np.concatenate([a[:, ::-1], b], 1))
    np.testing.assert_array_equal(F.cat(iter([a, b]), 1), np.concatenate([a, b], 1))
    np.testing.assert_array_equal(F.cat([np.zeros(0), a[0]]), a[0])
    out = np.empty((2, 7))
    assert F.cat([a, b], 1, out=out) is out
    for wrong in (lambda: F.cat([a, b]), lambda: F.cat([a, b], 2), lambda: F.stack([a, b]), lambda: F.cat([]),
                  lambda: F.stack([]), lambda: F.stack([a, a], 3), lambda: F.cat([np.float64(1) * np.ones(())] * 2)):
        with pytest.raises(ValueError):
            wrong()
    with pytest.raises(TypeError):
        F.cat([a, a.astype(np.float32)])


def test_tensors_and_their_gradients():
    a, b = np.arange(6.).reshape(2, 3), np.arange(8.).reshape(2, 4)
    for dim in (1, -1):
        x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
        joint = F.cat([x, b, y], dim)
        assert joint.requires_grad
        g = np.arange(22.).reshape(2, 11)
        joint.backward(g)
        np.testing.assert_array_equal(x.grad.data, g[:, :3])
        np.testing.assert_array_equal(y.grad.data, g[:, 7:])
    x = Tensor(a, requires_grad=True)
    F.stack([x, x], 1).backward(np.arange(12.).reshape(2, 2, 3))
    np.testing.assert_array_equal(x.grad.data, np.arange(12.).reshape(2, 2, 3).sum(1))
    with no_grad():
        both = F.stack([x, a])
        assert isinstance(both, Tensor) and not both.requires_grad
        assert isinstance(F.cat([x, a]), Tensor)
