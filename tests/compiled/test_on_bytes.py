"""Layers on bytes: their kernels against sums of NumPy's whole numbers, on every instruction set; and
programs that use them against the same programs on floats.
"""

import itertools

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import BACKENDS
from pyops.core.threads import num_threads
from pyops.graph import packing
from pyops.graph.contracts import Refused, Spaces, check as contract
from pyops.graph.on_bytes import as_bytes
from pyops.graph.passes import bytes_products
from pyops.ops.cast import CAST

NATIVE = [name for name in ("avx512", "avx2", "neon", "scalar") if not BACKENDS[name].missing]
NONE = ("clamp", -np.inf, np.inf)
SILU = ("silu", 0.0, 0.0)


def rng_of(*key):
    return np.random.default_rng([abs(hash(k)) % 1000 if isinstance(k, str) else k for k in key])


def blocks(channels):
    return -(-channels // 16)


def to_map(planar, fill):
    """(n, c, h, w) as (n, blocks, h, w, 16), lanes of the padding hold `fill`."""
    n, c, h, w = planar.shape
    whole = np.full((n, blocks(c) * 16, h, w), fill, planar.dtype)
    whole[:, :c] = planar
    return np.ascontiguousarray(whole.reshape(n, blocks(c), 16, h, w).transpose(0, 1, 3, 4, 2))


def from_map(map_, channels):
    n, count, h, w, _ = map_.shape
    return map_.transpose(0, 1, 4, 2, 3).reshape(n, count * 16, h, w)[:, :channels]


def lanes(numbers):
    return np.pad(numbers, (0, -len(numbers) % 16))


def guarded(shape, dtype):
    """An array of this shape inside a larger one, and the larger one: 77 everywhere."""
    count = int(np.prod(shape))
    larger = np.full(count + 128, 77, dtype)
    return larger[64 : 64 + count].reshape(shape), larger


def total_of(x, zero, w, start, stride, padding, dilation):
    """start + sum (x - zero) w, by 64-bit whole numbers, tap by tap."""
    (n, _, h, width), (K, _, R, S) = x.shape, w.shape
    centred = np.pad(x.astype(np.int64) - zero, [(0, 0), (0, 0), *[(p, p) for p in padding]])
    oh, ow = (
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((h, width), padding, dilation, (R, S), stride)
    )
    y = np.zeros((n, K, oh, ow), np.int64) + start.reshape(-1, 1, 1)
    for r, s in itertools.product(range(R), range(S)):
        part = centred[:, :, r * dilation[0] :, s * dilation[1] :][:, :, :: stride[0], :: stride[1]]
        y += np.einsum("nchw,kc->nkhw", part[:, :, :oh, :ow], w[:, :, r, s].astype(np.int64))
    return y


GEOMETRIES = {  # x, filters, window (kernel, stride, padding, dilation)
    "1x1": ((2, 32, 5, 7), 48, ((1, 1), (1, 1), (0, 0), (1, 1))),
    "1x1 of single pixels": ((3, 20, 1, 1), 5, ((1, 1), (1, 1), (0, 0), (1, 1))),
    "1x1 stride 2": ((1, 17, 9, 6), 16, ((1, 1), (2, 2), (0, 0), (1, 1))),
    "3x3": ((2, 33, 9, 11), 70, ((3, 3), (1, 1), (1, 1), (1, 1))),
    "3x3 stride 2": ((1, 16, 10, 13), 33, ((3, 3), (2, 2), (1, 1), (1, 1))),
    "3x3 without padding": ((1, 6, 8, 31), 16, ((3, 3), (1, 1), (0, 0), (1, 1))),
    "7x7 stem": ((1, 3, 20, 23), 64, ((7, 7), (2, 2), (3, 3), (1, 1))),
    "dilated, uneven": ((1, 19, 12, 9), 17, ((3, 2), (1, 2), (4, 3), (3, 2))),
    "padding beyond the image": ((1, 4, 2, 2), 3, ((2, 2), (3, 3), (7, 5), (1, 1))),
    "many": ((1, 64, 28, 28), 128, ((3, 3), (1, 1), (1, 1), (1, 1))),
}


def layer_of(name):
    shape, filters, window = GEOMETRIES[name]
    rng = rng_of(name)
    x = rng.integers(0, 256, shape, np.uint8)
    w = rng.integers(-128, 128, (filters, shape[1], *window[0]), np.int8)
    start = rng.integers(-5000, 5000, filters).astype(np.int32)
    factor = rng.uniform(1e-4, 1e-3, filters).astype(np.float32)
    shift = rng.standard_normal(filters).astype(np.float32)
    return x, w, start, factor, shift, window


def arguments(x, w, start, zero, factor, offset=None):
    return (
        to_map(x, 201),
        x.shape[1],
        packing.bytes_filters(w),
        lanes(start),
        lanes(w.reshape(len(w), -1).sum(1, dtype=np.int32)),
        np.zeros(0, np.int32) if offset is None else lanes(offset),
        np.full(1, zero, np.float32),
        lanes(factor),
    )


@pytest.mark.parametrize("zero", [0, 131])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("backend", NATIVE)
def test_convolutions_are_exact(backend, name, zero):
    x, w, start, factor, shift, window = layer_of(name)
    kernels = BACKENDS[backend].sets["f32"]
    total = total_of(x, zero, w, start, *window[1:])
    scaled = total * factor.reshape(-1, 1, 1).astype(np.float64) + shift.reshape(-1, 1, 1)
    n, K, h, w_ = total.shape
    given = arguments(x, w, start, zero, factor)
    for threads in (1, 2, 3):
        with num_threads(threads):
            y, larger = guarded((n, blocks(K), h, w_, 16), np.float32)
            kernels.bytes_conv_real(*given, None, lanes(shift), window, NONE, y)
            np.testing.assert_allclose(from_map(y, K), scaled, rtol=3e-7, atol=3e-7 * np.abs(scaled).max())
            assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()
            # by a factor of one the sums themselves: exact as far as float32 goes
            ones = (*given[:-1], np.ones_like(given[-1]))
            kernels.bytes_conv_real(*ones, None, None, window, NONE, y)
            np.testing.assert_array_equal(from_map(y, K), total.astype(np.float32))
            q, larger = guarded((n, blocks(K), h, w_, 16), np.uint8)
            kernels.bytes_conv(*given, lanes(shift), window, 9.0, 3.0, 250.0, q)
            near = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-4  # ties, which float32 may round otherwise
            want = np.clip(np.rint(scaled) + 9, 3, 250)
            np.testing.assert_array_equal(from_map(q, K)[~near], want[~near])
            assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("backend", NATIVE)
def test_weights_that_are_no_int8(backend, name):
    """Those of uint8 with a zero point of their own: a filter's offset times what each pixel sees."""
    x, w, start, _, _, window = layer_of(name)
    offset = rng_of(name, 1).integers(-127, 128, len(w)).astype(np.int32)
    total = total_of(x, 55, w.astype(np.int64) + offset.reshape(-1, 1, 1, 1), start, *window[1:])
    given = arguments(x, w, start, 55, np.ones(len(w), np.float32), offset)
    n, K, h, w_ = total.shape
    for threads in (1, 3):
        with num_threads(threads):
            y, larger = guarded((n, blocks(K), h, w_, 16), np.float32)
            BACKENDS[backend].sets["f32"].bytes_conv_real(*given, None, None, window, NONE, y)
            np.testing.assert_array_equal(from_map(y, K), total.astype(np.float32))
            assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()


@pytest.mark.parametrize("rows, features, filters", [(1, 4, 1), (5, 36, 17), (64, 64, 80), (33, 100, 31)])
@pytest.mark.parametrize("backend", NATIVE)
def test_linear_layers_are_exact(backend, rows, features, filters):
    rng = rng_of(rows, features, filters)
    x = rng.integers(0, 256, (rows, features), np.uint8)
    w = rng.integers(-128, 128, (filters, features), np.int8)
    zero, start = 77, rng.integers(-99, 99, filters).astype(np.int32)
    offset = rng.integers(-9, 10, filters).astype(np.int32) if rows % 2 else None
    total = (x.astype(np.int64) - zero) @ (w.T.astype(np.int64) + (0 if offset is None else offset)) + start
    kernels = BACKENDS[backend].sets["f32"]
    _, _, *given = arguments(
        x[:, :, None, None], w[:, :, None, None], start, zero, np.ones(filters, np.float32), offset
    )
    for threads in (1, 2, 3):
        with num_threads(threads):
            y, larger = guarded((rows, filters), np.float32)
            kernels.bytes_linear_real(x, *given, np.full(1, 0.5, np.float32), None, NONE, y)
            np.testing.assert_array_equal(y, (total * 0.5).astype(np.float32))
            kernels.bytes_linear_real(x, *given, np.full(1, 1e-4, np.float32), None, SILU, y)
            v = total * np.float64(np.float32(1e-4))
            np.testing.assert_allclose(y, v / (1 + np.exp(-v)), rtol=1e-5, atol=1e-6)
            assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()
            q, larger = guarded((rows, filters), np.uint8)
            small = (*given[:-1], lanes(np.full(filters, 2.0**-9, np.float32)))
            kernels.bytes_linear(x, *small, None, 5.0, 0.0, 255.0, q)
            np.testing.assert_array_equal(q, np.clip(np.rint(total / 512) + 5, 0, 255))
            assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()


@pytest.mark.parametrize("backend", NATIVE)
def test_maps_of_bytes_and_back(backend):
    """Ties, both limits, infinities and NaN; sums of two."""
    rng, kernels = rng_of(3), BACKENDS[backend].sets["f32"]
    x = (rng.standard_normal((2, 19, 5, 7)) * 10).astype(np.float32)
    x.reshape(-1)[:8] = 0.125, 0.375, np.inf, -np.inf, np.nan, 1e30, -0.0, -1e30
    scale, zero = np.full(1, 0.25, np.float32), np.full(1, 30, np.float32)
    mapped = to_map(x, 5.0)
    q = np.zeros(mapped.shape, np.uint8)
    kernels.bytes_of_map(mapped, scale, zero, 2.0, 200.0, q)
    want = np.asarray(F.quantize_linear(x, 0.25, 30, "uint8", 2, 200))
    np.testing.assert_array_equal(from_map(q, 19), want)
    y = np.full(mapped.shape, np.nan, np.float32)
    kernels.map_of_bytes(q, scale, zero, y)
    np.testing.assert_array_equal(from_map(y, 19), np.asarray(F.dequantize_linear(want, 0.25, 30)))
    b = rng.integers(0, 256, q.shape, np.uint8)
    total = np.empty_like(q)
    kernels.bytes_add(q, 0.25, 30.0, b, 0.5, 7.0, 0.75, 11.0, 11.0, 255.0, total)
    real = (q.astype(np.float64) - 30) * 0.25 + (b.astype(np.float64) - 7) * 0.5
    near = np.abs(real / 0.75 - np.floor(real / 0.75) - 0.5) < 1e-4
    np.testing.assert_array_equal(total[~near], np.clip(np.rint(real / 0.75) + 11, 11, 255)[~near])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("shape", [(1, 16, 3, 5), (2, 19, 4, 7), (3, 1, 1, 1), (1, 40, 33, 31)])
@pytest.mark.parametrize("backend", NATIVE)
def test_planar_bytes_become_a_map(backend, shape, dtype):
    limits = np.iinfo(dtype)
    x = rng_of(*shape).integers(limits.min, limits.max + 1, shape, dtype)
    n, c, h, w = shape
    y, larger = guarded((n, blocks(c), h, w, 16), np.uint8)
    for threads in (1, 3):
        with num_threads(threads):
            BACKENDS[backend].sets["f32"].bytes_blocked(x, y)
        np.testing.assert_array_equal(from_map(y, c), x.astype(np.int16) - limits.min)
        assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()


@pytest.mark.parametrize("count", [1, 63, 64, 100_000])
@pytest.mark.parametrize("backend", NATIVE)
def test_tables(backend, count):
    rng, kernels = rng_of(count), BACKENDS[backend].sets["f32"]
    x = rng.integers(0, 256, (1, 1, count, 1, 16), np.uint8)
    table = rng.integers(0, 256, 256, np.uint8)
    y, larger = guarded(x.shape, np.uint8)
    kernels.bytes_table(x, table, y)
    np.testing.assert_array_equal(y, table[x])
    assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()
    numbers = rng.standard_normal(256).astype(np.float32)
    real, larger = guarded(x.shape, np.float32)
    kernels.map_by_table(x, numbers, real)
    np.testing.assert_array_equal(real, numbers[x])
    assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()


@pytest.mark.parametrize("shape", [(1, 16, 4, 4), (2, 19, 5, 7), (3, 3, 1, 1), (1, 40, 64, 64)])
@pytest.mark.parametrize("backend", NATIVE)
def test_extremes_of_a_map(backend, shape):
    """Lanes of the padding are none of them; NaN wins."""
    x, kernels = normal(*shape), BACKENDS[backend].sets["f32"]
    least, most = np.zeros(1, np.float32), np.zeros(1, np.float32)
    for fill in (1e4, -1e4, np.nan):
        kernels.extremes_of_map(to_map(x, fill), shape[1], least, most)
        assert (least[0], most[0]) == (x.min(), x.max())
    x[-1, -1, -1, -1] = np.nan
    kernels.extremes_of_map(to_map(x, 0.0), shape[1], least, most)
    assert np.isnan(least[0]) and np.isnan(most[0])


# ---- what weights are made of


@pytest.mark.parametrize("by_filter", [True, False])
@pytest.mark.parametrize("low, high", [(-127, 127), (-128, 127), (-61, 61), (-1, 1), (-20, 235), (-255, 0)])
def test_weights_show_what_they_were_made_of(by_filter, low, high):
    rng = rng_of(high)
    whole = rng.integers(low, high + 1, (40, 7, 3, 3))
    whole[:, 0, 0, 0] = low if -low > high else high
    whole[3] = 0
    scale = rng.uniform(1e-3, 1, (40, 1, 1, 1) if by_filter else ()).astype(np.float32)
    for weight in ((whole * scale).astype(np.float32), whole.astype(np.float32)):
        found = as_bytes(weight)
        assert found.whole.dtype == np.int8
        made = found.whole.astype(np.int32) + (0 if found.offset is None else found.offset.reshape(-1, 1, 1, 1))
        np.testing.assert_allclose(made * found.scale.reshape(-1, 1, 1, 1), weight, rtol=3e-7)
    assert (found.offset is None) == (low >= -128 and high <= 127) and (found.scale == 1).all()


def test_weights_that_were_made_of_nothing():
    weight = rng_of(1).standard_normal((8, 16, 3, 3)).astype(np.float32)
    assert as_bytes(weight) is None
    weight[0, 0, 0, 0] = np.nan
    assert as_bytes(weight) is None


# ---- programs


@pytest.fixture
def fast(monkeypatch):
    """Programs use bytes on every instruction set."""
    monkeypatch.setattr(bytes_products, "fast", lambda: True)


def kernels_of(model, *inputs, tolerance=0.0):
    """The kernels of the program on bytes, whose results are those of the program on floats."""
    program = pyops.compile(model, inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bytes_products, "fast", lambda: False)
        want = pyops.compile(model, inputs)
    assert not any(s.kernel.startswith("bytes") for s in want.steps)
    for got, expected in zip(*([r] if isinstance(r, np.ndarray) else r for r in (program(*inputs), want(*inputs)))):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=tolerance)
    return [s.kernel for s in program.steps]


def back(x, scale, zero=0, dtype="uint8"):
    return F.dequantize_linear(F.quantize_linear(x, scale, zero, dtype), scale, zero)


def weights(*shape, seed=0):
    """Whole numbers, times a scale a filter."""
    rng = np.random.default_rng(seed)
    whole, scale = rng.integers(-127, 128, shape), rng.uniform(1e-3, 2e-3, shape[0]).astype(np.float32)
    return (whole * scale.reshape(-1, *[1] * (len(shape) - 1))).astype(np.float32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed + len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtype, zero", [("uint8", 128), ("uint8", 0), ("int8", 0), ("int8", -128), ("int8", 7)])
def test_quantised_layers_one_after_the_other(fast, dtype, zero):
    """A residual block as files have it: every value is quantised and made real again."""
    w1, w2, b = weights(24, 20, 3, 3), weights(24, 24, 1, 1, seed=1), normal(24)

    def model(x):
        x = back(x, 0.05, zero, dtype)
        y = back(F.relu(F.conv2d(x, w1, b, padding=1)), 0.1, zero, dtype)
        z = back(F.conv2d(y, w2), 0.08, zero, dtype)
        return back(F.relu(F.add(y, z)), 0.11, zero, dtype)

    found = kernels_of(model, normal(2, 20, 9, 11), tolerance=0.12)   # a flip of a rounding, or two
    assert [k for k in found if "bytes" in k] == [
        "bytes_of_map", "bytes_conv", "bytes_conv", "bytes_add", "map_of_bytes",
    ]


def test_whole_sums_by_a_factor_are_the_same_bits(fast):
    """QLinearConv as the ONNX door spells it."""
    rng = np.random.default_rng(0)
    w = rng.integers(-127, 128, (33, 20, 3, 3)).astype(np.float32)
    b, factor = rng.integers(-500, 500, 33).astype(np.float32), rng.uniform(1e-4, 2e-4, (33, 1, 1)).astype(np.float32)

    def model(x):
        q = F.quantize_linear(x, 0.02, 100, "uint8")
        y = F.mul(F.conv2d(F.dequantize_linear(q, 1.0, 100), w, b, stride=2), factor)
        return F.dequantize_linear(F.quantize_linear(y, 1.0, 3, "uint8"), 1.0, 3)

    assert [k for k in kernels_of(model, normal(2, 20, 9, 11)) if "bytes" in k] == [
        "bytes_of_map", "bytes_conv", "map_of_bytes",
    ]


def test_a_scale_and_a_zero_point_of_the_run(fast):
    """Dynamic quantisation, with a bias and an activation behind it."""
    w, b = np.random.default_rng(2).integers(-127, 128, (20, 12)).astype(np.float32), normal(20)

    def model(x, s):
        scale = F.mul(s, 0.5)
        zero = F.round(F.mul(s, 1000.0))
        q = F.quantize_linear(x, scale, zero, "uint8")
        by = F.mul(scale, 0.25)   # computed after the layer reads q
        return F.silu(F.add(F.mul(F.linear(F.dequantize_linear(q, 1.0, zero), w), by), b))

    found = kernels_of(model, normal(3, 7, 12), np.full((), 0.04, np.float32), tolerance=1e-4)
    assert "bytes_linear_real" in found and found[-1] == "bytes_linear_real"


def test_a_sum_in_parts_is_one_layer(fast):
    """Parts that are exact in float32, joined as int32, with a constant: as the ONNX door spells what
    would not be exact at once."""
    rng = np.random.default_rng(5)
    w = rng.integers(-127, 128, (20, 48, 3, 3)).astype(np.float32)
    b = rng.integers(-500, 500, (20, 1, 1)).astype(np.int32)

    def model(x):
        v = F.dequantize_linear(F.quantize_linear(x, 0.05, 9, "uint8"), 1.0, 9)
        parts = [CAST(F.conv2d(F.getitem(v, (slice(None), slice(k, k + 16), slice(None), slice(None))),
                               w[:, k : k + 16], padding=1), dtype=np.dtype(np.int32)) for k in (0, 16, 32)]
        total = F.add(F.add(F.add(parts[0], parts[1]), parts[2]), b)
        return F.mul(CAST(total, dtype=np.dtype(np.float32)), np.float32(1e-4))

    found = kernels_of(model, normal(2, 48, 9, 11))
    assert [k for k in found if k not in ("to_blocked", "from_blocked")] == ["bytes_of_map", "bytes_conv_real"]


def test_functions_of_bytes_are_tables(fast):
    """SiLU of a quantised value, each step of it quantised, for a layer and for what knows no bytes."""
    w1, w2 = weights(20, 20, 3, 3), weights(8, 20, 1, 1, seed=3)

    def model(x):
        y = back(F.conv2d(back(x, 0.05, 9), w1), 0.1, 128)
        z = back(F.mul(y, back(F.sigmoid(y), 1 / 255)), 0.05, 6)
        return F.conv2d(z, w2), F.max_pool2d(F.exp(F.neg(F.abs(y))), 2)

    found = kernels_of(model, normal(2, 20, 6, 8), tolerance=0.02)
    assert {"bytes_table", "map_by_table"} <= set(found)
    assert not {"sigmoid", "mul", "fake_quantise", "exp", "map_of_bytes"} & set(found), found


def test_dynamic_quantisation_of_a_map(fast):
    w, b = np.random.default_rng(2).integers(-20, 236, (20, 20, 3, 3)).astype(np.float32), normal(20, 1, 1)

    def dynamic(x):
        least, most = F.minimum(F.amin(x), 0.0), F.maximum(F.amax(x), 0.0)
        scale = F.div(F.sub(most, least), 255.0)
        zero = F.clamp(F.round(F.div(F.neg(least), scale)), 0.0, 255.0)
        real = F.dequantize_linear(F.quantize_linear(x, scale, zero, "uint8"), 1.0, zero)
        return F.relu(F.add(F.mul(F.conv2d(real, w, padding=1), F.mul(scale, 1e-2)), b))

    found = kernels_of(lambda x: dynamic(dynamic(x)), normal(2, 20, 9, 11), tolerance=0.05)
    assert found.count("extremes_of_map") == found.count("bytes_conv_real") == 2
    assert not {"reduce_min", "reduce_max", "relu", "from_blocked"} & set(found[:-1]), found


@pytest.mark.parametrize(
    "layer",
    [
        lambda x, w: F.conv2d(x, w * np.float32(1.37) + np.float32(1e-4)),  # no whole numbers
        lambda x, w: F.conv2d(x, w[:, :5], groups=4),
        lambda x, w: F.conv2d(F.pad(x, (1, 0), value=0.5), w),  # something between
    ],
)
def test_what_is_left_to_floats(fast, layer):
    w = weights(24, 20, 1, 1)
    assert not any(k.startswith("bytes") for k in kernels_of(lambda x: layer(back(x, 0.05, 9), w), normal(2, 20, 6, 5)))


def test_values_that_are_read_otherwise(fast):
    """What else is made of a map of bytes: real numbers, by an operator that knows no bytes, and a result."""
    w1, w2 = weights(20, 20, 3, 3), weights(8, 20, 1, 1, seed=3)

    def model(x):
        y = back(F.conv2d(back(x, 0.05, 9), w1), 0.1, 128)
        return F.conv2d(y, w2), F.sigmoid(y), F.max_pool2d(y, 2)

    found = kernels_of(model, normal(2, 20, 6, 8), tolerance=0.02)
    assert "bytes_conv" in found and "bytes_conv_real" in found


@pytest.mark.parametrize("dtype, zero", [("uint8", 9), ("int8", -5)])
def test_bytes_that_others_move(fast, dtype, zero):
    """Parts of a quantised value, and an input of bytes, are copied to maps once for all that convolve them."""
    w1, w2 = weights(8, 20, 3, 3), weights(8, 20, 1, 1, seed=3)

    def model(x, given):
        q = F.getitem(F.quantize_linear(x, 0.05, zero, dtype), (slice(None), slice(3, 23)))
        y = F.add(F.conv2d(F.dequantize_linear(q, 0.05, zero), w1, padding=1),
                  F.conv2d(F.dequantize_linear(q, 0.05, zero), w2))
        return F.add(y, F.conv2d(F.dequantize_linear(given, 0.1, zero), w2)), q

    given = np.random.default_rng(0).integers(0, 100, (2, 20, 6, 8)).astype(dtype)
    found = kernels_of(model, normal(2, 24, 6, 8), given, tolerance=1e-4)
    assert found.count("bytes_blocked") == 2 and found.count("bytes_conv_real") == 3, found


def test_a_saved_program_is_checked_and_runs(fast, tmp_path):
    w1, w2 = weights(20, 20, 3, 3), weights(8, 20, seed=4)

    def model(x):
        y = back(F.conv2d(back(x, 0.05, 9), w1), 0.1, 128)
        return F.linear(back(F.mean(y, (2, 3)), 0.1, 4), w2)

    x = normal(2, 20, 6, 8)
    program = pyops.compile(model, x)
    program.save(tmp_path / "p.npz")
    np.testing.assert_array_equal(pyops.Program.load(tmp_path / "p.npz")(x), program(x))


def test_forged_calls_are_refused():
    """Each argument of a call that keeps its contract, changed so that it would leave its arrays."""
    x, w, start, factor, _, window = layer_of("3x3")
    given = (*arguments(x, w, start, 3, factor), None, window, 3.0, 0.0, 255.0)
    shape = (2, 5, 9, 11, 16)
    spaces = Spaces(1 << 20, [], [(shape, np.dtype(np.uint8))])
    y = (2, 0, 0, shape, 0, "uint8")
    contract("bytes_conv", (*given, y), spaces)
    wrong = {
        0: given[0][..., :8], 1: 49, 2: given[2][:, :2], 3: given[3][:16], 4: given[4].astype(np.int64),
        5: np.zeros(3, np.int32), 6: np.zeros(2, np.float32), 7: given[7][:16], 8: np.zeros(3, np.float32),
        9: ((3, 3), (2, 2), (1, 1), (1, 1)), 10: 256.0, 11: -1.0, 12: 400.0,
    }
    for place, value in wrong.items():
        forged = [*given[:place], value, *given[place + 1 :], y]
        with pytest.raises(Refused):
            contract("bytes_conv", tuple(forged), spaces)
    with pytest.raises(Refused, match="inside its space"):
        contract("bytes_conv", (*given, (2, 0, 0, (2, 5, 9, 12, 16), 0, "uint8")), spaces)
