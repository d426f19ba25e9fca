"""CUDA kernels of one place at a time, beyond what the rows of the registry see: optimiser steps,
results cut in parts, arrays that do not begin at 16 bytes, half types."""
import math

import numpy as np
import pytest

from pyops.core.backends import BACKENDS
from pyops.kernels.elementwise import launch
from pyops.kernels.optim import reference

EMULATED = BACKENDS["cuda-emulated"]
pytestmark = pytest.mark.skipif(bool(EMULATED.missing), reason=EMULATED.missing or "can run")
EMPTY = np.empty(0, np.float32)


def random(*shape, dtype=np.float32):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32).astype(dtype)


def shifted(array):
    """A copy of `array` that begins one element behind a multiple of 16 bytes."""
    room = np.empty(array.size + 1, array.dtype)
    room[1:] = array.ravel()
    return room[1:].reshape(array.shape)


@pytest.mark.parametrize("n, place", [(1, np.copy), (1003, np.copy), (1003, shifted)])
@pytest.mark.parametrize("step, states, settings", [
    ("sgd_step", (EMPTY,), (0.1, 0.0, 0.0, 0.2, False, False, True)),
    ("sgd_step", (np.nan,), (0.1, 0.9, 0.2, 0.0, True, True, False)),
    ("sgd_step", (1,), (0.1, 0.9, 0.2, 0.1, True, False, False)),
    ("adam_step", (1, 1, EMPTY), (0.1, 0.9, 0.99, 1e-8, 0.1, False, 0.3, 0.4, False)),
    ("adam_step", (1, 1, 2), (0.1, 0.9, 0.99, 1e-8, 0.1, True, 0.3, 0.4, True)),
    ("rmsprop_step", (1, EMPTY, EMPTY), (0.1, 0.9, 1e-8, 0.1, 0.0, True)),
    ("rmsprop_step", (2, 0.1, 1), (0.1, 0.9, 1e-8, 0.0, 0.9, False))])
def test_optimiser_steps_are_those_of_the_definition(step, states, settings, n, place):
    g, p = random(2, n)
    arrays = [g, p, *(s if s is EMPTY else np.full(n, s, np.float32) for s in states)]
    ours, theirs = [a if a.size == 0 else place(a) for a in arrays], [a.copy() for a in arrays]
    getattr(EMULATED.sets["f32"], step)(*ours, *settings)
    getattr(reference, step)(*theirs, *settings)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_quotients_by_products_are_exact():
    random_sizes = np.random.default_rng(0).integers(2, 2**31, 200)
    for size in (1, 2, 3, 5, 7, 12, 49, 64, 65, 1000, 2**16 + 1, 2**30, 2**31 - 1, *map(int, random_sizes)):
        i = np.unique(np.clip([k * size + d for k in (0, 1, 2, (2**31 - 1) // size) for d in (-1, 0, 1)], 0,
                              2**31 - 1)).astype(np.uint64)
        m = launch.magic(size) % 2**32
        found = i * np.uint64(m) >> np.uint64(32 + (size - 1).bit_length() - 1) if m else i
        assert (found == i // np.uint64(size)).all(), size


@pytest.mark.parametrize("most", [1, 5, 12, 60, 1000])
def test_parts_cover_a_result_once(most):
    shape, strides = (3, 4, 5), ((20, 5, 1), (0, 1, 0))
    a, b = random(60), random(4)
    y = np.full(60, np.nan, np.float32)
    for part, steps, starts, start in launch.parts(shape, strides, most):
        assert math.prod(part) <= most
        x, w = (np.lib.stride_tricks.as_strided(v[at:], part, [s * 4 for s in step])
                for v, at, step in zip((a, b), starts, steps))
        assert np.isnan(y[start:start + math.prod(part)]).all()
        y[start:start + math.prod(part)] = (x * w).ravel()
    np.testing.assert_array_equal(y.reshape(shape), a.reshape(shape) * b[:, None])


@pytest.mark.parametrize("most", [1, 7, 20, 1000])
def test_tiles_cover_a_matrix_once(most):
    seen = np.zeros((6, 10), int)
    for row, tall, column, wide in launch.tiles(6, 10, most):
        assert tall * wide <= most
        seen[row:row + tall, column:column + wide] += 1
    assert (seen == 1).all()


CALLS = {   # name -> shapes of inputs, arguments between them and the result, its shape
    "sigmoid": ([(1003,)], (), (1003,)),
    "gelu_backward": ([(1003,), (1003,)], (), (1003,)),
    "mul": ([(6, 40), (6, 1)], ((6, 40), (40, 1), (1, 0)), (6, 40)),
    "add": ([(3, 5, 33), (5,)], ((3, 5, 33), (165, 33, 1), (0, 1, 0), -0.5), (3, 5, 33)),
    "cat_copy": ([(6, 40)], (40, 40, 0), (6, 40)),
    "dropout": ([(7, 40)], (5, 1 << 31, 40, 2.0, 0.0, 0.0), (7, 40)),
    "pixel_shuffle": ([(2, 8, 6, 10)], (2,), (2, 2, 12, 20)),
    "pixel_unshuffle": ([(2, 2, 12, 20)], (2,), (2, 8, 6, 10)),
    "pad": ([(2, 8, 16)], ((0, 1, 0), 0, 1.0), (2, 10, 16)),
    "pad_backward": ([(2, 8, 6, 10)], ((0, 0, 1, 2), 2), (2, 8, 4, 6)),
}


@pytest.mark.parametrize("real, tolerance", [("f32", 0), ("f16", 2**-10), ("bf16", 2**-7)])
@pytest.mark.parametrize("name", CALLS)
def test_half_types_and_unaligned_arrays(name, real, tolerance):
    """A half type computes in float and rounds once; where an array begins changes no bit."""
    pytest.importorskip("ml_dtypes" if real == "bf16" else "numpy")
    shapes, args, shape = CALLS[name]
    kernels, expected = EMULATED.kernels(real), np.empty(shape, np.float32)
    inputs = [random(*s, dtype=kernels.dtype) for s in shapes]
    getattr(EMULATED.sets["f32"], name)(*(x.astype(np.float32) for x in inputs), *args, expected)
    aligned, unaligned = np.empty(shape, kernels.dtype), shifted(np.empty(shape, kernels.dtype))
    getattr(kernels, name)(*inputs, *args, aligned)
    getattr(kernels, name)(*map(shifted, inputs), *args, unaligned)
    np.testing.assert_array_equal(aligned, unaligned)
    np.testing.assert_allclose(aligned.astype(np.float32), expected, rtol=tolerance, atol=tolerance * 2**-4)
