"""Gradients of filters of odd sizes against sums in float64: strides, dilations, taps that leave the image, groups,
one to three axes, and the same bits whatever the threads."""
import itertools
import random

import numpy as np
import pytest

import pyops
from pyops.core.backends import use_backend
from pyops.ops.convolution import CONV_WEIGHT_GRADIENT


def by_definition(x, dy, kernel, stride, padding, dilation, groups):
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])
    n, filters, *outputs = dy.shape
    dw = np.zeros((filters, x.shape[1] // groups, *kernel))
    towards = dy.astype(np.float64).reshape(n, groups, filters // groups, -1)
    for tap in itertools.product(*map(range, kernel)):
        seen = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilation, outputs, stride))
        met = padded[(slice(None), slice(None), *seen)].reshape(n, groups, x.shape[1] // groups, -1)
        dw[(slice(None), slice(None), *tap)] = np.einsum("ngcp,ngfp->gfc", met, towards).reshape(filters, -1)
    return dw


@pytest.mark.parametrize("seed", range(24))
def test_against_float64(seed, backend):
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    axes, groups = draw.choice([1, 2, 2, 3]), draw.choice([1, 1, 2, 3])
    channels, filters = draw.choice([3, 5, 9, 16, 17, 33]), draw.choice([16, 32, 48] if groups > 1 else [9, 16, 31, 49])
    kernel, stride, dilation, padding = (tuple(draw.choice(some) for _ in range(axes)) for some in (
        (1, 2, 3, 5), (1, 1, 2, 3), (1, 1, 2, 4), (0, 1, 2, 5)))
    size = tuple(max(draw.choice([3, 7, 10, 17]), d * (k - 1) + 1) for k, d in zip(kernel, dilation))
    outputs = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                    for n, p, d, k, s in zip(size, padding, dilation, kernel, stride))
    n = draw.choice([1, 2, 5])
    x = rng.standard_normal((n, channels * groups, *size)).astype(np.float32)
    dy = rng.standard_normal((n, filters * groups, *outputs)).astype(np.float32)
    before, found = pyops.get_num_threads(), []
    try:
        for threads in (1, 2):
            pyops.set_num_threads(threads)
            with use_backend(backend):
                found.append(CONV_WEIGHT_GRADIENT(x, dy, kernel=kernel, stride=stride, padding=padding,
                                                  dilation=dilation, groups=groups))
    finally:
        pyops.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    want = by_definition(x, dy, kernel, stride, padding, dilation, groups)
    assert np.abs(found[0] - want).max() <= 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("channels, filters, kernel", [(8, 0, 1), (16, 0, 3), (0, 8, 1), (0, 0, 2)])
def test_no_filters_or_channels(channels, filters, kernel, backend):
    x = np.ones((2, channels, 5, 5), np.float32)
    dy = np.ones((2, filters, 6 - kernel, 6 - kernel), np.float32)
    with use_backend(backend):
        dw = CONV_WEIGHT_GRADIENT(x, dy, kernel=(kernel, kernel), stride=(1, 1), padding=(0, 0),
                                  dilation=(1, 1), groups=1)
    assert dw.shape == (filters, channels, kernel, kernel)
