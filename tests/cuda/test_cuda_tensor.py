"""Matrix products of the CUDA backend beyond the rows' cases: tensor core precisions, every shape
of tile, 16-bit types, any order of threads."""
import math
from contextlib import nullcontext

import numpy as np
import pytest

from pyops.cuda.backend import EMULATED
from pyops.cuda.emulated import fast, truncating
from pyops.kernels.gemm.launch import gemm_simt, gemm_tensor

# element type, precision (None: ordinary units), relative error of a product of two operands,
# products that are one rounded addition
KINDS = [("f32", None, 0, 1), ("f64", None, 0, 1),
         ("f32", "tf32", 2 * 2**-11 + 2**-22, 8),   # either operand rounded to 11 bits
         ("f32", "3xtf32", 3 * 2**-22, 8 / 3),      # either small part rounded, and small small left out
         ("f64", "f64", 0, 1), ("f16", "half", 0, 16), ("bf16", "half", 0, 16)]
IDS = [f"{real}-{precision or 'simt'}" for real, precision, *_ in KINDS]
ROUNDING = {"f32": 2**-24, "f64": 2**-53, "f16": 2**-11, "bf16": 2**-8}   # of a result
# batch, m, n, depth, batch of a and of b that is 1: the emulated device has 4 multiprocessors
SHAPES = {"one": (1, 1, 1, 1, ""), "aligned_batch": (2, 72, 80, 40, ""),
          "ragged_two_tiles": (1, 70, 130, 45, ""), "large_tile_shared_a": (5, 100, 136, 24, "a"),
          "large_tile_shared_b": (4, 65, 129, 33, "b"), "cut_reduction": (1, 64, 60, 1100, ""),
          "few_rows": (1, 3, 130, 600, ""), "few_columns": (1, 130, 3, 600, ""), "no_depth": (2, 3, 4, 0, "")}


@pytest.fixture(scope="module", params=KINDS, ids=IDS)
def kind(request):
    return request.param


def stored(rng, shape, transposed, dtype, integers=False):
    """A batch of matrices, with its axes as `transposed` says, and the same in float64 as it
    is to be multiplied."""
    shape = (shape[0], shape[2], shape[1]) if transposed else shape
    x = (rng.integers(-1, 2, shape) if integers else rng.standard_normal(shape)).astype(dtype)
    return x, (x.swapaxes(1, 2) if transposed else x).astype(np.float64)


def operands(rng, shape, dtype, transposed, integers=False):
    batch, m, n, depth, single = shape
    a = stored(rng, (1 if "a" in single else batch, m, depth), transposed[0], dtype, integers)
    b = stored(rng, (1 if "b" in single else batch, depth, n), transposed[1], dtype, integers)
    return a, b


def product(kernels, a, b, transposed, shape, precision, **epilogue):
    c = np.full(shape[:3], np.nan, kernels.dtype)
    if precision:
        gemm_tensor(kernels.device, a, b, *transposed, c, precision, **epilogue)
    else:
        gemm_simt(kernels.device, a, b, *transposed, c, **epilogue)
    return c


def bound(kind, depth):
    """Of the error, relative to the product of the operands' magnitudes: that of a product, of each
    addition, which a tensor core truncates, and of the result's rounding."""
    real, _, each, at_once = kind
    return each + (depth / at_once + 1) * 2 * ROUNDING["f64" if real == "f64" else "f32"] + ROUNDING[real]


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)],
                         ids=["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("name", SHAPES)
def test_any_size_any_order(kind, name, transposed):
    """Checked: no access outside, no race. Unchecked: the same bits in ascending, descending and
    random order of threads and blocks."""
    real, precision, *_ = kind
    kernels, shape = EMULATED.kernels(real), SHAPES[name]
    (a, left), (b, right) = operands(np.random.default_rng(0), shape, kernels.dtype, transposed)
    results = []
    for mode in (nullcontext(), fast(0), fast(1), fast(7)):
        with mode:
            results.append(product(kernels, a, b, transposed, shape, precision))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    error, magnitude = np.abs(results[0].astype(np.float64) - left @ right), np.abs(left) @ np.abs(right)
    assert np.all(error <= bound(kind, shape[3]) * magnitude)


@pytest.mark.parametrize("name", ["ragged_two_tiles", "cut_reduction"])
def test_small_integers_are_exact(kind, name):
    real, precision, *_ = kind
    kernels, shape = EMULATED.kernels(real), SHAPES[name]
    (a, left), (b, right) = operands(np.random.default_rng(1), shape, kernels.dtype, (True, False),
                                     integers=True)
    want = left @ right
    assert np.abs(want).max() <= 256   # what bfloat16 holds
    np.testing.assert_array_equal(product(kernels, a, b, (True, False), shape, precision).astype(np.float64),
                                  want)


def test_a_row_does_not_depend_on_its_batch(kind):
    real, precision, *_ = kind
    kernels = EMULATED.kernels(real)
    (a, _), (b, _) = operands(np.random.default_rng(2), (1, 300, 200, 700, ""), kernels.dtype, (False, True))
    with fast(0):
        whole = product(kernels, a, b, (False, True), (1, 300, 200), precision)
        for rows in (1, 9, 70):
            np.testing.assert_array_equal(
                product(kernels, a[:, :rows], b, (False, True), (1, rows, 200), precision), whole[:, :rows])


@pytest.mark.parametrize("real, precision, allowed", [
    # of the sum of the products' sizes: an addition a step of 8, each rounded
    ("f32", "3xtf32", 8192 / 8 * 2**-24),
    # operands of one sign rounded to 11 bits, and a step's sum cut off at 24: half its last place on average
    ("f32", "tf32", 2 * 2**-11 + 8192 / 8 * 2**-23), ("bf16", "half", 2**-8 + 8192 / 16 * 2**-23),
    ("f16", "half", 2**-11 + 8192 / 16 * 2**-23)])
def test_long_sums_on_units_that_cut_off(real, precision, allowed):
    """Of products of one sign what is cut off adds up; 3xtf32 keeps float32's accuracy all the same."""
    kernels, rng = EMULATED.kernels(real), np.random.default_rng(8)
    a, b = (np.abs(rng.standard_normal(shape)).astype(kernels.dtype) for shape in ((1, 16, 8192), (1, 8192, 8)))
    c, want = np.empty((1, 16, 8), kernels.dtype), a.astype(np.float64) @ b.astype(np.float64)
    with truncating(), fast(0):
        gemm_tensor(kernels.device, a, b, False, False, c, precision)
    error = np.abs(c.astype(np.float64) - want).max() / want.max()
    assert error <= allowed


@pytest.mark.parametrize("columns", [64, 61])
@pytest.mark.parametrize("real", ["f32", "f64"])
def test_chains_side_by_side_are_chains_one_after_another(real, columns):
    """Nine products fill the device, so a block runs all chains of a result; of one product each
    chain has its block."""
    kernels, shape = EMULATED.kernels(real), (9, 20, columns, 1100, "")
    (a, left), (b, right) = operands(np.random.default_rng(6), shape, kernels.dtype, (False, False))
    with fast(7):
        whole = product(kernels, a, b, (False, False), shape, None)
        one = product(kernels, a[3:4], b[3:4], (False, False), (1, 20, columns), None)
    np.testing.assert_array_equal(whole[3:4], one)
    assert np.all(
        np.abs(whole - left @ right) <= bound((real, None, 0, 1), 1100) * (np.abs(left) @ np.abs(right)))


def test_operands_that_start_anywhere(kind):
    """Rows whose length would allow packets, at an address that does not."""
    real, precision, *_ = kind
    kernels, shape = EMULATED.kernels(real), (1, 16, 32, 64)
    flat = np.random.default_rng(3).standard_normal(16 * 64 + 64 * 32 + 1).astype(kernels.dtype)
    a, b = flat[1:1 + 16 * 64].reshape(1, 16, 64), flat[1 + 16 * 64:].reshape(1, 64, 32)
    got = product(kernels, a, b, (False, False), shape, precision)
    np.testing.assert_array_equal(got, product(kernels, a.copy(), b.copy(), (False, False), shape, precision))


ACTIVATIONS = {None: lambda x: x, "relu": lambda x: np.maximum(x, 0), "silu": lambda x: x / (1 + np.exp(-x)),
               "gelu": lambda x: x * np.vectorize(lambda v: 0.5 * (1 + math.erf(v / 2**0.5)))(x)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("transposed", [(False, True), (True, False)], ids=["whole", "cut"])
def test_epilogue(activation, transposed):
    """Bias along the rows, then the activation, also where gemm_join applies them."""
    kernels, shape = EMULATED.kernels("f32"), (1, 20, 33, 600, "")
    (a, left), (b, right) = operands(np.random.default_rng(4), shape, kernels.dtype, transposed)
    bias = np.linspace(-9, 9, 33, dtype=np.float32)
    got = product(kernels, a, b, transposed, shape, "3xtf32", bias=bias, activation=activation)
    # absolute: that of a sum of 600 products of about 1
    np.testing.assert_allclose(got, ACTIVATIONS[activation](left @ right + bias), rtol=1e-6,
                               atol=600**0.5 * 1e-5)


@pytest.mark.parametrize("real", ["f16", "bf16"])
def test_rows_of_16_bit_types(real):
    """gemm and linear themselves, their sums in float."""
    kernels = EMULATED.kernels(real)
    rng = np.random.default_rng(5)
    x, weight, bias = (rng.standard_normal(s).astype(kernels.dtype) for s in ((3, 5, 33), (10, 33), (10,)))
    y, c = np.empty((3, 5, 10), kernels.dtype), np.empty((3, 5, 5), kernels.dtype)
    kernels.linear(x, weight, bias, y)
    kernels.gemm(x, x, False, True, c)
    wide = x.astype(np.float64)
    for got, want, size in ((y, wide @ weight.astype(np.float64).T + bias.astype(np.float64),
                             np.abs(wide) @ np.abs(weight.astype(np.float64)).T + 3),
                            (c, wide @ wide.swapaxes(1, 2), np.abs(wide) @ np.abs(wide).swapaxes(1, 2))):
        assert np.all(np.abs(got.astype(np.float64) - want) <= bound((real, "half", 0, 16), 33) * size)


def test_a_precision_of_another_type_is_refused():
    kernels = EMULATED.kernels("f64")
    a = np.ones((1, 2, 2))
    with pytest.raises(ValueError, match="'tf32' is for f32, the arrays are f64"):
        gemm_tensor(kernels.device, a, a, False, False, a.copy(), "tf32")


@pytest.mark.parametrize("name, allowed", [("strict", 1e-5), ("3xtf32", 1e-5), ("tf32", 4e-3)])
def test_precision_says_how_float32_rows_are_computed(name, allowed):
    """linear in float32: strict and 3xtf32 keep float32's accuracy, tf32 shows that its
    operands were rounded."""
    from pyops import functional as F, use_backend
    from pyops.cuda.precision import precision
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((70, 96)).astype(np.float32), rng.standard_normal((33, 96)).astype(np.float32)
    want = x.astype(np.float64) @ w.T.astype(np.float64)
    with use_backend("cuda-emulated"), precision(name):
        error = np.abs(F.linear(x, w) - want).max() / np.abs(want).max()
    assert error <= allowed and (name != "tf32" or error > 1e-5)


def test_a_precision_that_there_is_not_is_refused():
    from pyops.cuda.precision import precision
    with pytest.raises(ValueError, match="'bf32' is not one of strict, 3xtf32, tf32"), precision("bf32"):
        pass


@pytest.mark.parametrize("real", ["f16", "bf16", "f32"])
def test_devices_without_these_tensor_cores_use_ordinary_units(real, monkeypatch):
    """Before capability 8.0, whatever the precision."""
    from pyops.cuda.emulated import EmulatedDevice
    from pyops.cuda.precision import precision
    kernels, shape, transposed = EMULATED.kernels(real), (1, 20, 30, 40, ""), (False, True)
    (a, left), (b, right) = operands(np.random.default_rng(7), shape, kernels.dtype, transposed)
    c, files, launch = np.full(shape[:3], np.nan, kernels.dtype), [], EmulatedDevice.launch
    monkeypatch.setattr(EmulatedDevice, "capability", (7, 5))
    monkeypatch.setattr(EmulatedDevice, "launch",
                        lambda self, file, *a, **k: (files.append(file), launch(self, file, *a, **k))[1])
    with precision("tf32"):
        kernels.gemm(a, b, *transposed, c)
    assert set(files) == {"gemm/cuda.cu"}
    assert np.all(np.abs(c.astype(np.float64) - left @ right)
                  <= bound((real, None, 0, 1), 40) * (np.abs(left) @ np.abs(right)))
