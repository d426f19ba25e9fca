"""Depthwise convolution of compiled programs against float64 convolution."""
import numpy as np
import pytest
from maps import NONE, RELU, RELU6, Image, MapOut, PlanarOut, check, per_channel, run, to_map

from pyops.core.backends import BACKENDS

torch = pytest.importorskip("torch")
TF = torch.nn.functional

SILU = ("silu", 0.0, 0.0)
HARDSWISH = ("hardswish", 0.0, 0.0)
REFERENCE = {NONE: lambda t: t, RELU: torch.relu, RELU6: lambda t: t.clamp(0, 6), SILU: TF.silu,
             HARDSWISH: TF.hardswish}

# (name of what it catches, n, channels, (h, w), kernel, stride, padding, dilation, bias,
# residual, activation)
CASES = [
    ("3x3, several tiles of a row, last block partly filled", 1, 35, (30, 33), (3, 3), (1, 1), (1, 1), (1, 1),
     True, False, RELU6),
    ("3x3/2 of an even width", 2, 20, (14, 28), (3, 3), (2, 2), (1, 1), (1, 1), True, False, NONE),
    ("3x3/2 of an odd width", 1, 16, (15, 29), (3, 3), (2, 2), (1, 1), (1, 1), False, True, RELU),
    ("5x5 of 7x7: most windows reach over an edge", 3, 24, (7, 7), (5, 5), (1, 1), (2, 2), (1, 1), True, True,
     HARDSWISH),
    ("5x5/2", 1, 40, (14, 14), (5, 5), (2, 2), (2, 2), (1, 1), True, False, SILU),
    ("7x7", 2, 17, (14, 15), (7, 7), (1, 1), (3, 3), (1, 1), True, False, NONE),
    ("7x7/2", 1, 16, (23, 24), (7, 7), (2, 2), (3, 3), (1, 1), False, False, NONE),
    ("no padding", 1, 16, (9, 21), (3, 3), (1, 1), (0, 0), (1, 1), True, False, RELU),
    ("a single output", 1, 5, (3, 3), (3, 3), (1, 1), (0, 0), (1, 1), True, False, NONE),
    ("image smaller than the filter", 1, 16, (1, 2), (5, 5), (1, 1), (2, 2), (1, 1), True, False, NONE),
    ("windows wholly in the padding", 1, 16, (2, 2), (3, 3), (1, 1), (4, 5), (1, 1), True, False, NONE),
    ("dilation 2, phases of a row", 2, 16, (13, 27), (3, 3), (1, 1), (2, 2), (2, 2), True, True, RELU),
    ("dilation 3, 5x5", 1, 16, (20, 31), (5, 5), (1, 1), (6, 6), (3, 3), True, False, NONE),
    ("dilation beyond the width", 1, 16, (7, 6), (3, 3), (1, 1), (12, 12), (12, 12), True, False, NONE),
    ("dilation with stride 2", 1, 16, (17, 18), (3, 3), (2, 2), (2, 2), (2, 2), True, False, NONE),
    ("dilation along one axis each", 1, 16, (17, 18), (3, 3), (1, 1), (3, 1), (3, 1), True, False, NONE),
    ("1x1", 2, 16, (5, 6), (1, 1), (1, 1), (0, 0), (1, 1), True, False, RELU),
    ("2x2 with padding", 1, 16, (6, 7), (2, 2), (1, 1), (1, 1), (1, 1), True, False, NONE),
    ("9x9, taps in runs", 1, 16, (16, 20), (9, 9), (1, 1), (4, 4), (1, 1), True, False, NONE),
    ("11x6/3, nothing the compiler knows", 1, 16, (22, 23), (11, 6), (3, 3), (5, 2), (1, 1), True, False, NONE),
    ("1x7 and strides that differ", 1, 16, (9, 30), (1, 7), (2, 1), (0, 3), (1, 1), True, False, NONE),
    ("7x1", 1, 16, (19, 9), (7, 1), (1, 2), (3, 0), (1, 1), True, False, NONE),
    ("a line, causal", 2, 40, (1, 100), (1, 4), (1, 1), (0, 3), (1, 1), True, False, SILU),
    ("filter larger than 16 by 16", 1, 16, (20, 19), (19, 17), (1, 1), (9, 8), (1, 1), True, False, NONE),
]


def pack(weight):
    """(c, 1, R, S) as (blocks, R, S, 16)"""
    c, _, R, S = weight.shape
    whole = np.zeros((-(-c // 16) * 16, R, S), np.float32)
    whole[:c] = weight[:, 0]
    return np.ascontiguousarray(whole.reshape(-1, 16, R, S).transpose(0, 2, 3, 1))


def prepared(case):
    """Arguments without outputs, the shape of the result, and the result in float64."""
    _, n, c, size, kernel, stride, padding, dilation, bias, residual, activation = case
    rng = np.random.default_rng(sum(map(ord, case[0])))
    x = rng.standard_normal((n, c, *size), np.float32)
    weight = (rng.standard_normal((c, 1, *kernel)) / np.sqrt(kernel[0] * kernel[1])).astype(np.float32)
    b = rng.standard_normal(c, np.float32) if bias else None
    double = [None if a is None else torch.from_numpy(a).double() for a in (x, weight, b)]
    want = TF.conv2d(*double, stride, padding, dilation, c)
    add = rng.standard_normal(tuple(want.shape), np.float32) if residual else None
    want = REFERENCE[activation](want if add is None else want + torch.from_numpy(add).double()).numpy()
    return [Image(x), pack(weight), per_channel(b), add if add is None else Image(add),
            (kernel, stride, padding, dilation), activation], want


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_depthwise_conv(backend, case):
    args, want = prepared(case)
    check(backend, "depthwise_conv", *args, MapOut(want.shape), want=want, tolerance=16)


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_depthwise_conv_with_the_mean_of_each_channel(backend, case):
    args, want = prepared(case)
    check(backend, "depthwise_conv_mean", *args, MapOut(want.shape), PlanarOut(want.shape[:2]),
          want=[want, want.mean((2, 3))], tolerance=16)


def test_the_mean_goes_with_the_very_same_result(backend):
    args, want = prepared(CASES[0])
    alone, = run(backend, "depthwise_conv", *args, MapOut(want.shape))
    both, _ = run(backend, "depthwise_conv_mean", *args, MapOut(want.shape), PlanarOut(want.shape[:2]))
    assert np.array_equal(alone, both)


def test_residual_may_be_the_result_itself(backend):
    case = CASES[3]
    args, want = prepared(case)
    y = to_map(args[3].planar)
    given = [to_map(args[0].planar), *args[1:3], y, *args[4:], y]
    BACKENDS[backend].sets["f32"].depthwise_conv(*given)
    apart, = run(backend, "depthwise_conv", *args, MapOut(want.shape))
    assert np.array_equal(
        y.transpose(0, 1, 4, 2, 3).reshape(want.shape[0], -1, *want.shape[2:])[:, :want.shape[1]], apart)


def test_nan_stays_with_the_outputs_that_see_it(backend):
    x = np.ones((1, 16, 9, 20), np.float32)
    x[0, 3, 4, 9] = np.nan
    weight = np.ones((16, 1, 3, 3), np.float32)
    y, = run(backend, "depthwise_conv", Image(x), pack(weight), None, None, ((3, 3), (1, 1), (1, 1), (1, 1)),
             RELU, MapOut(x.shape))
    seen = np.isnan(y)
    assert seen[0, 3, 3:6, 8:11].all() and seen.sum() == 9
