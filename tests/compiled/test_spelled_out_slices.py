"""Blocks put at constant places that are a slice, in order, are assigned; others are put one by one."""
import numpy as np
import pytest

import pyops
import pyops.functional as F

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)


def places(*ranges):
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).astype(np.int64)


ALL, SOME = (range(2), range(3), range(5), range(4)), (range(2), range(1, 3), range(1, 5), range(4))
INDICES = {
    "all, value by value": places(*ALL),
    "all, by rows": places(*ALL[:3]),
    "all, counted from behind": places(*ALL) - np.array([2, 3, 5, 4]),
    "a part of two axes": places(*SOME),
    "the middle of one": places(range(2), range(3), range(1, 3)),
    "the last axis": places(range(2), range(3), range(5), range(1, 3)),
    "the first": places(range(1)),
    "three parts": places(range(1, 2), range(2), range(2, 4), range(4)),
}
ONE_BY_ONE = {
    "backwards": places(*ALL)[::-1].copy(),
    "every second": places(range(2), range(3), range(0, 5, 2)),
    "one twice": np.repeat(places(range(2)), 2, 0),
    "another order of axes": places(*ALL).transpose(0, 1, 3, 2, 4).copy(),
    "none": np.zeros((0, 2), np.int64),
}


def program_of(index, reduce="", values=None):
    shape = (*index.shape[:-1], *X.shape[index.shape[-1]:])
    given = RNG.standard_normal(shape).astype(np.float32)

    def model(x, v):
        return F.scatter_nd(F.mul(x, 2.0), index, F.add(v, 1.0) if values is None else values, reduce)
    program, want = pyops.compile(model, (X, given)), model(X, given)
    assert np.array_equal(program(X, given), want)
    return [s.kernel for s in program.steps]


@pytest.mark.parametrize("name", INDICES)
def test_slices(name):
    kernels = program_of(INDICES[name])
    assert "put_blocks" not in kernels
    assert name.startswith("all") == (not {"cat_copy", "strided_copy", "strided_move"} & set(kernels))


@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_one_by_one(name):
    assert "put_blocks" in program_of(ONE_BY_ONE[name])


def test_sums_are_no_assignments():
    assert "put_blocks_add" in program_of(INDICES["a part of two axes"], "add")


def test_constant_values():
    index = INDICES["a part of two axes"]
    assert "put_blocks" not in program_of(index, values=np.ones((2, 2, 4, 4), np.float32))


def test_indices_of_the_run_stay():
    index = INDICES["all, by rows"]
    v = RNG.standard_normal(X.shape).astype(np.float32)
    program = pyops.compile(lambda x, i, v: F.scatter_nd(x, i, v), (X, index, v))
    assert "put_blocks" in [s.kernel for s in program.steps] and np.array_equal(program(X, index, v), v)
