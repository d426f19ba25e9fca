"""Convolutions in blocked layout against a float64 reference, on every instruction set, with
poisoned and guarded outputs."""
import numpy as np
import pytest

import pyops.functional as F
from pyops import _C
from pyops.core.backends import BACKENDS, ISAS, use_backend
from pyops.core.threads import num_threads
from pyops.graph import packing

NATIVE = [name for name in ISAS if not BACKENDS[name].missing]
BLOCK, INF = 16, float("inf")
NONE, RELU = ("clamp", -INF, INF), ("clamp", 0.0, INF)


def kernels(isa):
    return getattr(_C, isa).f32


def blocked(x):
    n, c, h, w = x.shape
    p = np.full((n, packing.rounded(c), h, w), 1e30, np.float32)   # what is in the padding must not matter
    p[:, :c] = x
    return np.ascontiguousarray(p.reshape(n, -1, BLOCK, h, w).transpose(0, 1, 3, 4, 2))


def planar(y, c):
    n, blocks, h, w, _ = y.shape
    return y.transpose(0, 1, 4, 2, 3).reshape(n, blocks * BLOCK, h, w)[:, :c]


class Guarded:
    """A NaN-filled map with a sample stride beyond its size, and guard bands around and
    between the samples."""

    def __init__(self, n, c, h, w):
        size = packing.rounded(c) * h * w
        self.memory = np.full((n, size + 64), np.nan, np.float32)
        self.memory[:, :32] = self.memory[:, -32:] = 77.0
        self.map = self.memory[:, 32:-32].reshape(n, packing.rounded(c) // BLOCK, h, w, BLOCK)
        assert np.shares_memory(self.map, self.memory)
        self.c = c

    def result(self):
        assert (self.memory[:, :32] == 77).all() and (self.memory[:, -32:] == 77).all(), "written outside"
        return planar(self.map, self.c)


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def reference(call, x, w, b, *args, **kwargs):
    with use_backend("reference"):
        return call(*(v.astype(np.float64) for v in (x, w, b)), *args, **kwargs)


def close(got, want, terms=100):
    """Roundings of a chain of sums add up as a random walk: with the square root of its
    length, here twice that."""
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2 ** -24 * (8 + 2 * terms ** 0.5) * np.abs(want).max()


# n, channels, filters, height, width, R, S, stride, padding, dilation, groups
CASES = {
    "pointwise": (1, 64, 64, 14, 14, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    "pointwise_prime_pixels": (1, 32, 16, 7, 11, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    "tails_of_channels_and_filters": (2, 24, 40, 9, 13, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "row_of_seven": (1, 32, 48, 17, 17, 1, 7, (1, 1), (0, 3), (1, 1), 1),
    "column_of_seven": (1, 32, 48, 17, 17, 7, 1, (1, 1), (3, 0), (1, 1), 1),
    "stride_two": (2, 16, 96, 15, 15, 3, 3, (2, 2), (1, 1), (1, 1), 1),
    "strides_differ": (1, 16, 32, 15, 20, 3, 5, (3, 2), (0, 2), (1, 1), 1),
    "two_groups": (1, 64, 64, 8, 8, 5, 5, (1, 1), (2, 2), (1, 1), 2),
    "dilated_beyond_the_border": (1, 48, 16, 12, 11, 3, 3, (1, 1), (4, 4), (4, 4), 1),
    "dilated_so_many_channels_that_they_come_in_pieces": (2, 635, 70, 10, 12, 3, 3, (1, 1), (9, 9), (9, 9), 1),
    "pointwise_stride_two": (1, 32, 32, 7, 7, 1, 1, (2, 2), (0, 0), (1, 1), 1),
    "even_filter": (1, 20, 36, 10, 10, 2, 2, (3, 3), (1, 1), (1, 1), 1),
    "seven_blocks_of_filters": (1, 128, 112, 7, 7, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "padding_beyond_the_filter": (1, 16, 16, 3, 4, 1, 1, (1, 1), (2, 3), (1, 1), 1),
    "planes_in_the_same_sets_of_the_cache": (1, 130, 80, 32, 16, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    "the_same_with_a_stride": (2, 130, 80, 32, 32, 1, 1, (3, 2), (0, 0), (1, 1), 1),
    "many_chunks": (3, 32, 17, 130, 67, 3, 3, (2, 2), (0, 0), (1, 1), 1),
    "one_pixel": (2, 33, 16, 1, 1, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "few_pixels": (1, 154, 100, 4, 4, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "few_pixels_in_place": (1, 200, 250, 4, 3, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    "few_pixels_with_a_stride": (1, 152, 90, 6, 7, 3, 3, (2, 2), (1, 1), (1, 1), 1),
    "few_pixels_of_each_sample": (43, 97, 80, 3, 3, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "few_pixels_that_padding_adds_to": (1, 200, 64, 2, 1, 1, 1, (1, 1), (1, 1), (1, 1), 1),
    "patches": (1, 17, 40, 35, 50, 16, 16, (16, 16), (0, 0), (1, 1), 1),
    "patches_with_gaps": (5, 16, 90, 83, 102, 16, 32, (17, 33), (0, 0), (1, 1), 1),
    "few_pixels_of_wide_groups": (5, 96, 144, 3, 4, 3, 3, (1, 1), (1, 1), (1, 1), 3),
    "groups_of_many_samples": (31, 64, 128, 6, 6, 3, 2, (2, 1), (1, 2), (1, 1), 4),
    "many_weights_of_49_pixels": (1, 270, 150, 7, 7, 3, 3, (1, 1), (1, 1), (1, 1), 1),
    "many_weights_in_place": (1, 520, 500, 7, 7, 1, 1, (1, 1), (0, 0), (1, 1), 1),
}


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_direct(isa, case):
    n, c, k, h, w, r, s, stride, padding, dilation, groups = case
    x, weight, bias = draw(c, (n, c, h, w), (k, c // groups, r, s), (k,))
    want = reference(F.conv2d, x, weight, bias, stride, padding, dilation, groups)
    (residual,) = draw(k, want.shape)
    window = ((r, s), stride, padding, dilation)
    call = (blocked(x), c, None, None, None, packing.direct(kernels(isa), weight), packing.bias(bias, k))
    y = Guarded(*want.shape)
    kernels(isa).direct_conv(*call, blocked(residual), window, groups, RELU, y.map)
    close(y.result(), np.maximum(want + residual, 0), weight[0].size)
    results = []
    for threads in (1, 2, 3):
        y = Guarded(*want.shape)
        with num_threads(threads):
            kernels(isa).direct_conv(*call, None, window, groups, NONE, y.map)
        results.append(y.result())
    close(results[0], want, weight[0].size)
    assert all(np.array_equal(results[0], other) for other in results[1:])
    alone = Guarded(1, *want.shape[1:])
    kernels(isa).direct_conv(blocked(x)[-1:], *call[1:], None, window, groups, NONE, alone.map)
    assert np.array_equal(alone.result()[0], results[0][-1]), "a sample depends on its batch"


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("filter_size", [1, 3])
@pytest.mark.parametrize("c, k, h, w", [(40, 24, 9, 8), (195, 180, 2, 3)])
def test_direct_of_a_normalised_input(isa, filter_size, c, k, h, w):
    """As a dense block has it: batch norm and relu come before the convolution, whose
    padding is then of zeros."""
    x, weight, bias, scale, shift = draw(5, (2, c, h, w), (k, c, filter_size, filter_size), (k,), (c,), (c,))
    padding = filter_size // 2
    want = reference(F.conv2d, np.maximum(x * scale[:, None, None] + shift[:, None, None], 0), weight, bias,
                     1, padding)
    y = Guarded(*want.shape)
    kernels(isa).direct_conv(blocked(x), c, packing.bias(scale, c), packing.bias(shift, c), None,
                             packing.direct(kernels(isa), weight), packing.bias(bias, k), None,
                             ((filter_size,) * 2, (1, 1), (padding, padding), (1, 1)), 1, NONE, y.map)
    close(y.result(), want, weight[0].size)


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("filter_size, stride", [(1, 1), (1, 2), (3, 1)])
@pytest.mark.parametrize("c, k, h, w", [(40, 24, 9, 8), (195, 180, 2, 3)])
def test_direct_of_a_gated_input(isa, filter_size, stride, c, k, h, w):
    """As squeeze-and-excitation has it: a number a sample and channel, which end within a block."""
    x, weight, bias, gate = draw(6, (3, c, h, w), (k, c, filter_size, filter_size), (k,), (3, c))
    want = reference(F.conv2d, x * gate[:, :, None, None], weight, bias, stride, filter_size // 2)
    results = []
    for threads in (1, 3):
        y = Guarded(*want.shape)
        with num_threads(threads):
            kernels(isa).direct_conv(blocked(x), c, None, None, gate,
                                     packing.direct(kernels(isa), weight), packing.bias(bias, k), None,
                                     ((filter_size,) * 2, (stride,) * 2, (filter_size // 2,) * 2, (1, 1)), 1,
                                     NONE, y.map)
        results.append(y.result())
    close(results[0], want, weight[0].size)
    assert np.array_equal(*results)


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("case", [c for c in CASES.values() if c[-1] == 1],
                         ids=[name for name, c in CASES.items() if c[-1] == 1])
def test_stem(isa, case):
    n, _, k, h, w, r, s, stride, padding, dilation, _ = case
    x, weight, bias = draw(h, (n, 3, h, w), (k, 3, r, s), (k,))
    want = reference(F.conv2d, x, weight, bias, stride, padding, dilation)
    for threads in (1, 3):
        y = Guarded(*want.shape)
        with num_threads(threads):
            kernels(isa).stem_conv(x, packing.stem(weight), packing.bias(bias, k),
                                   ((r, s), stride, padding, dilation), NONE, y.map)
        close(y.result(), want, weight[0].size)


TRANSPOSED = {   # n, channels, filters, height, width, R, S, stride, padding, output padding, dilation
    "double": (1, 32, 16, 7, 9, 2, 2, 2, 0, 0, 1),
    "overlap_and_tail": (2, 24, 40, 6, 6, 3, 3, 2, 1, 1, 1),
    "four_by_four": (1, 16, 16, 5, 5, 4, 4, 2, 1, 0, 1),
    "dilated": (1, 16, 16, 5, 5, 3, 3, 3, 0, 1, 2),
    "stride_one": (1, 20, 17, 5, 8, 5, 3, 1, 1, 0, 1),
    "stride_beyond_filter": (1, 16, 16, 4, 5, 2, 2, 3, 0, 0, 1),
}


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed(isa, case):
    n, c, k, h, w, r, s, stride, padding, extra, dilation = case
    x, weight, bias = draw(c + h, (n, c, h, w), (c, k, r, s), (k,))
    want = reference(F.conv_transpose2d, x, weight, bias, stride, padding, extra, 1, dilation)
    y = Guarded(*want.shape)
    kernels(isa).transposed_conv(blocked(x), c, packing.direct(kernels(isa), weight.swapaxes(0, 1)),
                                 packing.bias(bias, k), None,
                                 ((r, s), (stride,) * 2, (padding,) * 2, (dilation,) * 2), NONE, y.map)
    close(y.result(), want)


@pytest.mark.parametrize("isa", NATIVE)
def test_every_activation(isa):
    x, weight, bias = draw(3, (1, 16, 5, 6), (16, 16, 1, 1), (16,))
    plain = reference(F.conv2d, x, weight, bias)
    functions = {"clamp": (F.relu, 0.0), "leaky_relu": (lambda v: F.leaky_relu(v, 0.2), 0.2),
                 "elu": (lambda v: F.elu(v, 0.7), 0.7),
                 "gelu_tanh": (lambda v: F.gelu(v, approximate="tanh"), 0.0),
                 **{name: (getattr(F, name), 0.0)
                    for name in ("sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "gelu")}}
    assert set(functions) == set(_C.activations)
    for name, (function, a) in functions.items():
        y = Guarded(*plain.shape)
        kernels(isa).direct_conv(blocked(x), 16, None, None, None, packing.direct(kernels(isa), weight),
                                 packing.bias(bias, 16), None,
                                 ((1, 1), (1, 1), (0, 0), (1, 1)), 1, (name, a, INF), y.map)
        with use_backend("reference"):
            close(y.result(), function(plain))


# groups, channels and filters of one, n, height, width, R, S, stride, padding, dilation
GROUPED = {
    "eight": (4, 8, 8, 2, 9, 29, 3, 3, (1, 1), (1, 1), (1, 1)),
    "four": (9, 4, 4, 1, 7, 14, 3, 3, (1, 1), (1, 1), (1, 1)),
    "two_by_two": (8, 2, 2, 1, 8, 8, 3, 3, (2, 2), (1, 1), (1, 1)),
    "a_block": (3, 16, 16, 2, 11, 15, 3, 3, (1, 1), (1, 1), (1, 1)),
    "a_block_and_a_half": (5, 24, 24, 1, 9, 13, 3, 3, (2, 1), (1, 0), (1, 1)),
    "two_and_a_half_blocks": (3, 40, 40, 2, 7, 7, 3, 3, (1, 1), (1, 1), (1, 1)),
    "lanes_of_three_vectors": (11, 7, 7, 1, 6, 9, 5, 7, (1, 1), (2, 3), (1, 1)),
    "many_channels_few_filters": (6, 20, 3, 1, 7, 9, 3, 3, (1, 1), (1, 1), (1, 1)),
    "few_channels_many_filters": (5, 3, 20, 2, 5, 17, 2, 4, (3, 2), (1, 2), (1, 1)),
    "one_channel_each": (19, 1, 5, 1, 6, 6, 3, 3, (1, 1), (1, 1), (1, 1)),
    "pointwise": (4, 12, 8, 2, 7, 7, 1, 1, (1, 1), (0, 0), (1, 1)),
    "dilated": (16, 17, 17, 1, 9, 40, 5, 5, (1, 1), (24, 24), (12, 12)),
    "more_taps_than_go_together": (3, 40, 40, 1, 3, 20, 1, 11, (1, 1), (0, 5), (1, 1)),
    "few_pixels": (5, 16, 16, 2, 5, 5, 3, 3, (1, 1), (1, 1), (1, 1)),
    "few_pixels_of_several_groups": (12, 4, 4, 1, 4, 7, 3, 3, (1, 1), (1, 1), (1, 1)),
    "few_pixels_of_wide_units": (7, 24, 24, 1, 3, 3, 3, 3, (1, 1), (1, 1), (1, 1)),
    "few_pixels_strided": (17, 8, 16, 2, 9, 12, 5, 2, (2, 2), (2, 0), (1, 1)),
    "one_pixel": (6, 16, 16, 1, 1, 1, 3, 3, (1, 1), (1, 1), (1, 1)),
    "few_pixels_of_blocks": (5, 16, 16, 40, 3, 4, 3, 3, (1, 1), (1, 1), (1, 1)),
    "few_pixels_of_blocks_strided": (4, 16, 16, 2, 7, 8, 3, 5, (2, 2), (1, 2), (1, 1)),
    "none_of_them_inside": (2, 8, 8, 1, 3, 3, 3, 3, (1, 1), (4, 4), (1, 1)),
}


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("case", GROUPED.values(), ids=GROUPED)
def test_groups_that_do_not_fill_blocks(isa, case):
    groups, channels, filters, n, h, w, r, s, stride, padding, dilation = case
    c, k = groups * channels, groups * filters
    x, weight, bias = draw(c, (n, c, h, w), (k, channels, r, s), (k,))
    want = reference(F.conv2d, x, weight, bias, stride, padding, dilation, groups)
    (residual,) = draw(k, want.shape)
    call = (blocked(x), c, packing.grouped(weight, groups), packing.bias(bias, k))
    window = ((r, s), stride, padding, dilation)
    y = Guarded(*want.shape)
    kernels(isa).grouped_conv(*call, blocked(residual), window, groups, k, ("leaky_relu", 0.1, 0.0), y.map)
    sums = want + residual
    close(y.result(), np.where(sums > 0, sums, 0.1 * sums), weight[0].size)
    results = []
    for threads in (1, 2, 3):
        y = Guarded(*want.shape)
        with num_threads(threads):
            kernels(isa).grouped_conv(*call, None, window, groups, k, NONE, y.map)
        results.append(y.result())
    close(results[0], want, weight[0].size)
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("sizes", [(8, 4, 8), (5, 24, 24), (16, 17, 17)])
def test_groups_do_not_see_each_other(isa, sizes, value):
    """What is not finite stays in its group, under every epilogue."""
    groups, channels, filters = sizes
    c, k = groups * channels, groups * filters
    x, weight, bias, residual = draw(3, (2, c, 9, 13), (k, channels, 3, 3), (k,), (2, k, 9, 13))
    x[0, channels + 1, 3, 4] = value
    with np.errstate(all="ignore"):
        linear = reference(F.conv2d, x, weight, bias, 1, 1, 1, groups) + residual
        for act, want in ((NONE, linear), (RELU, np.maximum(linear, 0)),
                          (("leaky_relu", 0.1, 0.0), np.where(linear > 0, linear, 0.1 * linear))):
            y = Guarded(*want.shape)
            kernels(isa).grouped_conv(blocked(x), c, packing.grouped(weight, groups), packing.bias(bias, k),
                                      blocked(residual), ((3, 3), (1, 1), (1, 1), (1, 1)), groups, k, act, y.map)
            got, calm = y.result(), np.abs(want) < 1e3
            assert calm.mean() > 0.98 and np.abs(got - want)[calm].max() <= 1e-4
            assert np.allclose(got[~calm], want[~calm], rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 16, 4, 4), (3, 37, 9, 13), (1, 64, 56, 56)])
@pytest.mark.parametrize("isa", NATIVE)
def test_layouts_and_back(isa, shape):
    (x,) = draw(shape[1], shape)
    y = Guarded(*shape)
    kernels(isa).to_blocked(x, y.map)
    assert np.array_equal(y.result(), x)
    back = np.full_like(x, np.nan)
    kernels(isa).from_blocked(blocked(x), back)
    assert np.array_equal(back, x)


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("channels, filters, size, kernel, stride", [
    (20, 24, (9, 11), 1, 1), (96, 24, (30, 31), 1, 1), (37, 40, (7, 70), 3, 1), (16, 8, (13, 14), 1, 1),
    (5, 56, (6, 7), 3, 2), (70, 72, (14, 14), 1, 1), (33, 50, (5, 6), 5, 1), (24, 120, (28, 5), 1, 2),
    (300, 24, (40, 41), 1, 1)])
@pytest.mark.parametrize("act", [NONE, RELU, ("silu", 0.0, 0.0)])
def test_half_a_block_of_filters_is_left_out(isa, channels, filters, size, kernel, stride, act):
    """Where the bias ends there; the other filters' results are the same bits."""
    x, w, b, gate = draw(channels, (2, channels, *size), (filters, channels, kernel, kernel), (filters,),
                         (2, channels))
    out = tuple((n - 1) // stride + 1 for n in size)
    residual, = draw(filters, (2, filters, *out))
    window = ((kernel, kernel), (stride, stride), (kernel // 2, kernel // 2), (1, 1))
    for residual_map, gates in ((None, None), (blocked(residual), None), (blocked(residual), gate)):
        results = []
        for bias in (packing.bias(b, filters), packing.bias_to_half(b, filters)):
            y = Guarded(2, filters, *out)
            with num_threads(1 + len(results)):
                kernels(isa).direct_conv(blocked(x), channels, None, None, gates, packing.direct(kernels(isa), w),
                                         bias, residual_map, window, 1, act, y.map)
            results.append(y.result())
        assert bias.size == -(-filters // 8) * 8 and np.array_equal(*results) and np.isfinite(y.map).all()
