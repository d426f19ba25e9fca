"""Single convolutions go by filters packed or transformed a piece at a time, and by the taps that
outputs see: the sums are those of a product over all taps in float64."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import _C
from pyops.core.backends import ISAS, use_backend


def by_products(x, weight, stride=1, padding=0, dilation=1):
    """y (N, K, H, W) as a sum of one matrix product a tap."""
    n, c, h, w = x.shape
    k, _, rows, columns = weight.shape
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    out_h = (h + 2 * padding - dilation * (rows - 1) - 1) // stride + 1
    out_w = (w + 2 * padding - dilation * (columns - 1) - 1) // stride + 1
    y = np.zeros((n, k, out_h * out_w))
    for i in range(rows):
        for j in range(columns):
            seen = padded[:, :, i * dilation:, j * dilation:][:, :, ::stride, ::stride][:, :, :out_h, :out_w]
            y += weight[:, :, i, j].astype(np.float64) @ seen.reshape(n, c, -1)
    return y.reshape(n, k, out_h, out_w)


@pytest.mark.parametrize("precision", ["default", "strict"])
@pytest.mark.parametrize("shape, filters, settings", [
    ((1, 300, 7, 7), (130, 3, 3), {"padding": 1}),       # more filters than are packed together
    ((3, 260, 6, 5), (150, 3, 3), {"padding": 1}),
    ((1, 280, 9, 9), (144, 3, 3), {"padding": 1, "stride": 2}),
    ((1, 60, 15, 12), (50, 5, 5), {"padding": 2}),
    ((3, 20, 30, 31), (70, 5, 5), {"padding": 4}),
    ((2, 40, 8, 8), (33, 3, 3), {"padding": 9, "dilation": 9}),
    ((2, 40, 8, 8), (33, 5, 5), {"padding": 8, "dilation": 4}),
    ((40, 4, 9, 9), (16, 3, 3), {"padding": 1}),         # few channels and filters, short rows
    ((9, 4, 19, 19), (40, 3, 3), {"padding": 1, "stride": 2}),
])
def test_values(shape, filters, settings, precision):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape, np.float32)
    weight = rng.standard_normal((filters[0], shape[1], *filters[1:]), np.float32)
    before = pyops.get_precision()
    pyops.set_precision(precision)
    try:
        got = F.conv2d(x, weight, **settings)
    finally:
        pyops.set_precision(before)
    want = by_products(x, weight, **settings)
    np.testing.assert_allclose(got, want, rtol=0, atol=5e-6 * np.abs(want).max())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa in pyops.available()])
def test_filters_packed_once_are_those_of_their_group(isa, threads):
    rng = np.random.default_rng(6)
    x, weight = rng.standard_normal((17, 9, 9, 11), np.float32), rng.standard_normal((39, 3, 3, 3), np.float32)
    bias = rng.standard_normal(39, np.float32)
    before = pyops.get_num_threads()
    pyops.set_num_threads(threads)
    try:
        with use_backend(isa):
            got = F.conv2d(x, weight, bias, padding=1, groups=3)
    finally:
        pyops.set_num_threads(before)
    want = np.concatenate([by_products(x[:, 3 * g:3 * g + 3], weight[13 * g:13 * g + 13], padding=1)
                           for g in range(3)], 1) + bias[:, None, None]
    np.testing.assert_allclose(got, want, rtol=0, atol=5e-6 * np.abs(want).max())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_tap_beyond_the_image_that_is_not_finite_shows(value):
    """As in torch: the zeros of the padding are values that it is multiplied with."""
    x, weight = np.ones((1, 16, 5, 5), np.float32), np.ones((16, 16, 3, 3), np.float32)
    weight[3, 2, 0, 0] = value
    y = F.conv2d(x, weight, padding=9, dilation=9)
    assert np.isnan(y[:, 3]).all() and np.isfinite(np.delete(y, 3, 1)).all()


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa in pyops.available()])
@pytest.mark.parametrize("real", ["f32", "f64"])
def test_patches_that_reach_behind_the_image(isa, real):
    """As kernels are asked where padding is added behind the image alone: what lies there is zeros."""
    rng = np.random.default_rng(4)
    dtype = np.float32 if real == "f32" else np.float64
    x, weight = (rng.standard_normal(s).astype(dtype) for s in ((2, 16, 35, 35), (64, 16, 4, 4)))
    y = np.full((2, 64, 9, 9), np.nan, dtype)
    getattr(getattr(_C, isa), real).conv(x, weight, None, (1, 4, 4), (0, 0, 0), (1, 1, 1), 1, y)
    want = by_products(np.pad(x, ((0, 0), (0, 0), (0, 1), (0, 1))), weight, stride=4)
    np.testing.assert_allclose(y, want, rtol=0, atol=5e-6 * np.abs(want).max())


@pytest.mark.parametrize("shape, filters, settings", [
    ((2, 37, 9, 7), (3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ((1, 16, 5, 11), (5, 2), {"stride": (3, 2), "padding": (2, 0)}),
    ((2, 33, 4, 6), (7, 7), {"stride": 2, "padding": 3, "dilation": 2}),
    ((1, 20, 6, 6), (1, 3), {"stride": 4}),   # outputs that no tap meets
])
def test_transposed_depthwise_with_strides(shape, filters, settings, backend):
    rng = np.random.default_rng(5)
    x, bias = rng.standard_normal(shape, np.float32), rng.standard_normal(shape[1], np.float32)
    weight = rng.standard_normal((shape[1], 1, *filters), np.float32)
    want = F.conv_transpose2d(*(a.astype(np.float64) for a in (x, weight, bias)), groups=shape[1], **settings)
    with use_backend(backend):
        got = F.conv_transpose2d(x, weight, bias, groups=shape[1], **settings)
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * np.abs(want).max())
