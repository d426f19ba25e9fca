"""The CUDA convolutions on every tile, cut along the reduction or not: launch.py would choose most
of them only for problems too large here."""
import numpy as np
import pytest

from pyops.core.backends import BACKENDS
from pyops.cuda.emulated import EmulatedDevice, fast
from pyops.kernels.convolution import grid, launch, reference

pytestmark = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                                reason=BACKENDS["cuda-emulated"].missing or "can run")

# batch, channels and filters of a group, input, kernel, stride, padding, dilation, groups
PROBLEMS = {
    "3x3": ((2, 5, 37), (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "groups_of_many": ((2, 6, 9), (9, 11), (3, 2), (2, 1), (1, 0), (1, 2), 3),
    "1x1_in_packets": ((3, 20, 33), (6, 8), (1, 1), (1, 1), (0, 0), (1, 1), 2),
    "filters_beyond_a_tile": ((2, 17, 130), (12, 14), (3, 3), (2, 2), (1, 1), (1, 1), 1),
}
TILES = {f"{t['BM']}x{t['BN']}": t for t, _ in grid.TILES}


def three(values, fill):
    return (fill, *values)


def convolutions(problem, real, seed=0):
    """Pairs of what a kernel gave and the definition in float64: y, the input's
    gradient, the weight's."""
    (batch, channels, filters), inputs, kernel, stride, padding, dilation, groups = PROBLEMS[problem]
    device, rng = EmulatedDevice(real), np.random.default_rng(seed)
    outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                    for i, k, s, p, d in zip(inputs, kernel, stride, padding, dilation))
    x, weight, bias, dy = (rng.standard_normal(shape).astype(device.dtype) for shape in (
        (batch, groups * channels, *inputs), (groups * filters, channels, *kernel), (groups * filters,),
        (batch, groups * filters, *outputs)))
    y, dx, dw = (np.full_like(a, np.nan) for a in (dy, x, weight))
    window = three(stride, 1), three(padding, 0), three(dilation, 1), groups
    launch.conv(device, x, weight, bias, *window, y)
    launch.conv_transpose(device, dy, weight, None, *window, dx)
    launch.conv_weight_gradient(device, x, dy, *window, dw)
    x, weight, bias, dy = (a.astype(np.float64) for a in (x, weight, bias, dy))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return [(y, reference.conv(x, weight, bias, size=outputs, **attrs)),
            (dx, reference.conv_transpose(dy, weight, None, size=inputs, **attrs)),
            (dw, reference.conv_weight_gradient(x, dy, kernel=kernel, **attrs))]


def assert_right(pairs, real):
    eps = {"f32": 2 ** -23, "bf16": 2 ** -8}[real]
    # a dot product of n terms errs by about sqrt(n) eps of their magnitudes; here n < 1200
    for got, want in pairs:
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=35 * eps * np.abs(want).max())


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("tile", TILES)
def test_every_tile(tile, splits, monkeypatch):
    monkeypatch.setattr(launch, "tile", lambda *_: (TILES[tile], splits))
    with fast(1):
        for problem in PROBLEMS:
            assert_right(convolutions(problem, "f32"), "f32")


def test_half_types_are_summed_in_float():
    with fast(0):
        assert_right(convolutions("3x3", "bf16"), "bf16")


def test_results_do_not_depend_on_the_order_of_threads(monkeypatch):
    monkeypatch.setattr(launch, "tile", lambda *_: (TILES["64x64"], 3))
    results = []
    for order in (0, 1, 7):
        with fast(order):
            results.append([got for got, _ in convolutions("groups_of_many", "f32")])
    assert all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


def test_a_transposed_1x1_filter_whose_output_is_larger():
    """output_padding adds lines that no input meets: they hold the bias, and the input's plane
    is not the output's."""
    device, rng = EmulatedDevice("f32"), np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape).astype(np.float32)
                       for shape in ((2, 20, 7, 8), (20, 20, 1, 1), (20,)))
    y = np.full((2, 20, 8, 8), np.nan, np.float32)
    launch.conv_transpose(device, x, weight, bias, (1, 1, 1), (0, 0, 0), (1, 2, 1), 1, y)
    want = reference.conv_transpose(x.astype(np.float64), weight.astype(np.float64), bias.astype(np.float64),
                                    size=(8, 8), stride=(1, 1), padding=(0, 0), dilation=(2, 1), groups=1)
    assert_right([(y, want)], "f32")
    np.testing.assert_array_equal(y[:, :, 7], np.broadcast_to(bias[:, None], (2, 20, 8)))


def test_large_problems_get_large_tiles():
    assert grid.tile("f32", 132, 512, 32 * 28 * 28, 512 * 9, 1) == (TILES["128x128"], 1)
    assert grid.tile("f32", 132, 512, 49, 512 * 9, 1)[1] > 1
    assert grid.tile("f64", 132, 512, 32 * 28 * 28, 512 * 9, 1)[0] == TILES["64x128"]
