"""The CUDA convolutions on tensor cores, transposed and for the weight, too: every precision and
tile, ragged sizes, groups, any order of threads."""
from contextlib import nullcontext

import numpy as np
import pytest

from pyops.core.backends import BACKENDS
from pyops.cuda.emulated import EmulatedDevice, fast
from pyops.cuda.precision import precision
from pyops.kernels.convolution import grid, launch, reference

pytestmark = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                                reason=BACKENDS["cuda-emulated"].missing or "can run")

# element type, precision: relative error of a product of two operands, products that are one rounded addition
KINDS = {("f32", "tf32"): (2 * 2**-11 + 2**-22, 8), ("f32", "3xtf32"): (3 * 2**-22, 8 / 3),
         ("f16", "strict"): (0, 16), ("bf16", "strict"): (0, 16)}
ROUNDING = {"f32": 2**-24, "f16": 2**-11, "bf16": 2**-8}   # of a result
# batch, channels and filters of a group, input, kernel, stride, padding, dilation, groups
PROBLEMS = {
    "3x3": ((2, 5, 37), (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "groups": ((2, 18, 17), (9, 11), (3, 2), (2, 1), (1, 0), (1, 2), 3),
    "1x1_in_packets": ((3, 20, 33), (6, 8), (1, 1), (1, 1), (0, 0), (1, 1), 2),
    "1x1_ragged": ((1, 20, 33), (5, 7), (1, 1), (2, 1), (0, 0), (1, 1), 1),
    "filters_beyond_a_tile": ((1, 17, 130), (10, 14), (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "1d": ((2, 16, 16), (41,), (5,), (3,), (2,), (2,), 1),
    "3d": ((1, 16, 20), (4, 5, 6), (2, 3, 3), (1, 2, 1), (1, 1, 0), (1, 1, 2), 1),
}
TILES = {f"{t['BM']}x{t['BN']}": t for t, _ in grid.TENSOR_TILES}


@pytest.fixture(params=KINDS, ids="-".join)
def kind(request):
    return request.param


def values(rng, shape, dtype, integers):
    return (rng.integers(-1, 2, shape) if integers else rng.standard_normal(shape)).astype(dtype)


class Problem:
    """Operands of a convolution, the transposed one and the weight's gradient, and what they
    should give in float64."""

    def __init__(self, name, real, integers=False):
        (batch, channels, filters), inputs, kernel, stride, padding, dilation, groups = PROBLEMS[name]
        self.device, rng, dtype = EmulatedDevice(real), np.random.default_rng(0), EmulatedDevice(real).dtype
        outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                        for i, k, s, p, d in zip(inputs, kernel, stride, padding, dilation))
        shapes = ((batch, groups * channels, *inputs), (groups * filters, channels, *kernel),
                  (groups * filters,), (batch, groups * filters, *outputs))
        self.x, self.weight, self.bias, self.dy = (values(rng, shape, dtype, integers) for shape in shapes)
        self.shift = values(rng, (groups * channels,), dtype, integers)
        lead = 3 - len(inputs)
        self.window = ((1,) * lead + stride, (0,) * lead + padding, (1,) * lead + dilation, groups)
        self.attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.inputs, self.outputs = inputs, outputs

    def run(self, name):
        y, dx, dw = (np.full_like(a, np.nan) for a in (self.dy, self.x, self.weight))
        with precision(name):
            launch.conv(self.device, self.x, self.weight, self.bias, *self.window, y)
            launch.conv_transpose(self.device, self.dy, self.weight, self.shift, *self.window, dx)
            launch.conv_weight_gradient(self.device, self.x, self.dy, *self.window, dw)
        return y, dx, dw

    def wanted(self, f=lambda a: a):
        x, weight, bias, dy, shift = (f(a.astype(np.float64))
                                      for a in (self.x, self.weight, self.bias, self.dy, self.shift))
        return (reference.conv(x, weight, bias, size=self.outputs, **self.attrs),
                reference.conv_transpose(dy, weight, shift, size=self.inputs, **self.attrs),
                reference.conv_weight_gradient(x, dy, kernel=self.weight.shape[2:], **self.attrs))

    def depths(self):
        taps = self.weight[0, 0].size
        return (self.weight.shape[1] * taps, self.weight.shape[0] // self.attrs["groups"] * taps,
                self.dy.shape[0] * self.dy[0, 0].size)

    def check(self, results, kind):
        """The error, relative to the sum of the products' magnitudes: of a product, of each
        addition, of the result's rounding."""
        each, at_once = KINDS[kind]
        for got, want, size, depth in zip(results, self.wanted(), self.wanted(np.abs), self.depths()):
            bound = each + (depth / at_once + 2) * 2 * ROUNDING["f32"] + ROUNDING[kind[0]]
            error = np.abs(got.astype(np.float64) - want)
            assert np.all(error <= bound * size), (error / np.maximum(size, 1e-30)).max() / bound


@pytest.fixture
def launched(monkeypatch):
    """The kernels that were launched."""
    found, launch_kernel = [], EmulatedDevice.launch
    monkeypatch.setattr(EmulatedDevice, "launch",
                        lambda self, file, kernel, *a, **k: (found.append(kernel),
                                                             launch_kernel(self, file, kernel, *a, **k))[1])
    return found


@pytest.mark.parametrize("name", PROBLEMS)
def test_any_problem_any_order(kind, name):
    """Checked: no access outside, no race. Unchecked: the same bits in ascending, descending and
    random order of threads and blocks."""
    problem, results = Problem(name, kind[0]), []
    for mode in (nullcontext(), fast(0), fast(1), fast(7)):
        with mode:
            results.append(problem.run(kind[1]))
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)
    problem.check(results[0], kind)


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("kind", [("f32", "tf32"), ("f16", "strict")], ids="-".join)
def test_every_tile(kind, tile, splits, monkeypatch, launched):
    # as many parts as there are slices of 32 at the most: a launch never asks for one without any
    monkeypatch.setattr(launch, "tensor_tile",
                        lambda processors, m, n, k, sets: (TILES[tile], min(splits, -(-k // 32))))
    with fast(1):
        for name in ("groups", "1x1_in_packets", "filters_beyond_a_tile"):
            problem = Problem(name, kind[0])
            problem.check(problem.run(kind[1]), kind)
    assert launched.count("conv_tensor") == 6 and launched.count("conv_weight_gradient_tensor") == 3
    assert launched.count("split_sum") == (8 if splits > 1 else 0)   # one product has 20 terms


def test_small_integers_are_exact(kind):
    problem = Problem("groups", kind[0], integers=True)
    for got, want in zip(problem.run(kind[1]), problem.wanted()):
        assert np.abs(want).max() <= 256   # what bfloat16 holds
        np.testing.assert_array_equal(got.astype(np.float64), want)


@pytest.mark.parametrize("kind", [*KINDS, ("f32", "strict")], ids="-".join)
def test_an_input_that_starts_anywhere(kind):
    """Planes of whole packets, at an address that is none's."""
    problem = Problem("1x1_in_packets", kind[0])
    with fast(0):
        whole = problem.run(kind[1])
        for name in ("x", "dy"):
            array = getattr(problem, name)
            moved = np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape)
            moved[...] = array
            setattr(problem, name, moved)
        for a, b in zip(whole, problem.run(kind[1])):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["groups", "1x1_in_packets", "3d"])
def test_float64(name, monkeypatch, launched):
    """Nothing asks for it yet, but the kernels have it: every bit of a double."""
    monkeypatch.setattr(launch, "tensor_precision", lambda *_: "f64")
    monkeypatch.setattr(launch, "tensor_tile", lambda *_: (TILES["64x64"], 2))
    problem = Problem(name, "f64")
    results = problem.run("strict")
    for got, want, size, depth in zip(results, problem.wanted(), problem.wanted(np.abs), problem.depths()):
        assert np.all(np.abs(got - want) <= (depth + 2) * 2**-52 * size)
    assert launched.count("conv_tensor") == 2 and launched.count("conv_weight_gradient_tensor") == 1


@pytest.mark.parametrize("real, name, capability, tensor", [
    ("f32", "strict", (9, 0), False), ("f32", "tf32", (9, 0), True), ("f32", "tf32", (7, 5), False),
    ("f64", "tf32", (9, 0), False), ("f16", "strict", (8, 0), True), ("bf16", "strict", (7, 5), False)])
def test_who_computes(real, name, capability, tensor, monkeypatch, launched):
    monkeypatch.setattr(EmulatedDevice, "capability", capability)
    with fast(0):
        Problem("1d", real).run(name)
    assert [k for k in launched
            if "prepare" not in k] == (["conv_tensor"] * 2 + ["conv_weight_gradient_tensor"] if tensor
                                       else ["conv_gemm"] * 2 + ["conv_weight_gradient"])


def test_large_problems_get_large_tiles():
    assert launch.tensor_tile(132, 512, 32 * 28 * 28, 512 * 9, 1) == (TILES["128x128"], 1)
    assert launch.tensor_tile(132, 512, 49, 512 * 9, 1)[1] > 1
