"""Convolutions of arrays whose channels lie last: the kernels against the definition, and how a
device array reaches them without a copy."""
import numpy as np
import pytest
from test_cuda_host import fake, on_gpu  # noqa: F401  (a fixture)

from pyops import functional as F
from pyops.core.backends import BACKENDS
from pyops.core.registry import OPS
from pyops.cuda import machine_code, nvrtc
from pyops.cuda.emulated import EmulatedDevice, fast, profiled
from pyops.cuda.source import kernel_source
from pyops.kernels.convolution import channels_last, launch, reference

EMULATED = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                              reason=BACKENDS["cuda-emulated"].missing or "can run")
# batch, channels and filters of a group, input, kernel, stride, padding, dilation, groups
PROBLEMS = {
    "3x3": ((2, 1, 1), (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 8),
    "channels_no_packet": ((2, 1, 1), (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 7),
    "stride2": ((1, 1, 1), (12, 11), (3, 3), (2, 2), (1, 1), (1, 1), 12),
    "stride_of_one_axis": ((1, 1, 1), (10, 9), (3, 4), (1, 3), (0, 2), (1, 1), 4),
    "5x5_dilated": ((1, 1, 1), (13, 12), (5, 5), (1, 1), (4, 2), (2, 1), 6),
    # more packets than a warp is wide
    "many_channels_7x7": ((1, 1, 1), (8, 9), (7, 7), (1, 1), (3, 3), (1, 1), 264),
    "higher_than_compiled": ((1, 1, 1), (13, 6), (9, 1), (1, 2), (4, 0), (1, 1), 8),
    "multiplier": ((2, 1, 3), (9, 10), (3, 2), (2, 1), (1, 0), (1, 2), 4),
    "few_channels_of_a_group": ((2, 2, 1), (9, 10), (3, 2), (1, 3), (1, 0), (1, 2), 5),
    "padding_beyond_the_filter": ((1, 1, 1), (3, 4), (2, 3), (1, 1), (4, 3), (1, 1), 4),
    "1d_causal": ((2, 1, 1), (41,), (4,), (1,), (3,), (1,), 12),
    "1d_stride_dilation": ((2, 1, 1), (41,), (4,), (3,), (3,), (2,), 10),
    "3d": ((1, 1, 1), (4, 5, 6), (2, 3, 3), (1, 2, 1), (1, 1, 0), (1, 1, 2), 8),
}
EPS = {"f32": 2**-23, "f64": 2**-52, "f16": 2**-10, "bf16": 2**-7}


def random(rng, device, shape, nhwc=True):
    array = channels_last.empty(device, shape) if nhwc else device.empty(shape)
    array[...] = rng.standard_normal(shape).astype(device.dtype)
    return array


def convolutions(name, real, seed=0):
    """(what, what the kernel gave, the definition in float64) of y, the input's
    gradient, the weight's."""
    (batch, channels, filters), inputs, kernel, stride, padding, dilation, groups = PROBLEMS[name]
    device, rng = EmulatedDevice(real), np.random.default_rng(seed)
    outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                    for i, k, s, p, d in zip(inputs, kernel, stride, padding, dilation))
    x, dy = random(rng, device, (batch, groups * channels,
                                 *inputs)), random(rng, device, (batch, groups * filters, *outputs))
    weight, bias = random(rng, device, (groups * filters, channels, *kernel),
                          nhwc=False), random(rng, device, (groups * filters,), nhwc=False)
    y, dx, dw = (channels_last.empty(device, dy.shape), channels_last.empty(device, x.shape),
                 device.empty(weight.shape))
    for result in (y, dx, dw):
        result[...] = np.nan
    lead = 3 - len(inputs)
    window = (1,) * lead + stride, (0,) * lead + padding, (1,) * lead + dilation, groups
    launch.conv(device, x, weight, bias, *window, y)
    launch.conv_transpose(device, dy, weight, None, *window, dx)
    launch.conv_weight_gradient(device, x, dy, *window, dw)
    x, dy, weight, bias = (a.astype(np.float64) for a in (x, dy, weight, bias))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return [("y", y, reference.conv(x, weight, bias, size=outputs, **attrs)),
            ("dx", dx, reference.conv_transpose(dy, weight, None, size=inputs, **attrs)),
            ("dw", dw, reference.conv_weight_gradient(x, dy, kernel=kernel, **attrs))]


def assert_right(found, real):
    for what, got, want in found:   # sums of at most some hundred terms, in float, then one rounding
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=0,
                                   atol=8 * EPS[real] * np.abs(want).max(), err_msg=what)


@EMULATED
@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem(name):
    with profiled() as launched:
        assert_right(convolutions(name, "f32"), "f32")
    assert {file for file, *_ in launched} <= {channels_last.KERNEL, channels_last.WEIGHT_GRADIENT,
                                               launch.SUMS}


@EMULATED
@pytest.mark.parametrize("real", ["f64", "f16", "bf16"])
@pytest.mark.parametrize("name", ["3x3", "multiplier"])
def test_every_type(name, real):
    assert_right(convolutions(name, real), real)


@EMULATED
@pytest.mark.parametrize("name", ["stride2", "5x5_dilated", "few_channels_of_a_group"])
def test_strips_in_any_order_of_threads(name, monkeypatch):
    """Large problems give each thread several outputs; what one order of threads computes every
    other does, to the last bit."""
    monkeypatch.setattr(channels_last, "rows_of", lambda *_: launch.STRIP)
    assert_right(convolutions(name, "f32"), "f32")
    results = []
    for order in (0, 1, 7):
        with fast(order):
            results.append([got for _, got, _ in convolutions(name, "f32")])
    assert all(np.array_equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


def test_large_problems_get_strips():
    device = EmulatedDevice("f32")
    large, small = np.empty((8, 16, 16, 64)), np.empty((1, 16, 16, 8))
    assert (channels_last.rows_of(device, 16, large, 4) == launch.STRIP
            and channels_last.rows_of(device, 16, small, 4) == 1)
    assert channels_last.rows_of(device, 3, large, 4) == 1


@EMULATED
def test_a_reduction_over_many_outputs_is_cut_into_parts():
    device, rng = EmulatedDevice("f32"), np.random.default_rng(1)
    x, dy = random(rng, device, (4, 8, 40, 40)), random(rng, device, (4, 8, 40, 40))
    dw = np.full((8, 1, 3, 3), np.nan, np.float32)
    with fast(0), profiled() as launched:
        launch.conv_weight_gradient(device, x, dy, (1, 1, 1), (0, 1, 1), (1, 1, 1), 8, dw)
    assert [kernel for _, kernel, _ in launched] == ["channels_last_gradient", "split_sum"]
    attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 8, "kernel": (3, 3)}
    want = reference.conv_weight_gradient(x.astype(np.float64), dy.astype(np.float64), **attrs)
    np.testing.assert_allclose(dw, want, rtol=0, atol=40 * EPS["f32"] * np.abs(want).max())   # 6400 terms


@EMULATED
def test_arrays_that_start_anywhere():
    """A slice of channels is not dense and is copied; an address that is no multiple of 16 bytes
    means narrower accesses."""
    device, rng = EmulatedDevice("f32"), np.random.default_rng(2)
    memory = device.empty((5 * 6 * 8 + 1,))
    x = memory[1:].reshape(1, 5, 6, 8).transpose(0, 3, 1, 2)
    x[...] = rng.standard_normal(x.shape)
    weight, y = random(rng, device, (8, 1, 3, 3), nhwc=False), channels_last.empty(device, (1, 8, 3, 4))
    launch.conv(device, x, weight, None, (1, 1, 1), (0, 0, 0), (1, 1, 1), 8, y)
    attrs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 8, "size": (3, 4)}
    want = reference.conv(x.astype(np.float64), weight.astype(np.float64), None, **attrs)
    np.testing.assert_allclose(y, want, rtol=0, atol=8 * EPS["f32"] * np.abs(want).max())


# ---- device arrays

def nhwc(shape, seed=0, dtype=np.float32):
    return channels_last.first(
        np.random.default_rng(seed).standard_normal((shape[0], *shape[2:], shape[1])).astype(dtype))


def test_what_counts_as_channels_last():
    assert (channels_last.is_channels_last(nhwc((2, 3, 4, 5)))
            and channels_last.is_channels_last(nhwc((2, 3, 4))))
    dense = np.zeros((2, 3, 4, 5))
    assert (not channels_last.is_channels_last(dense)
            and not channels_last.is_channels_last(dense.transpose(0, 1, 3, 2)))
    # both at once
    assert (not channels_last.is_channels_last(nhwc((2, 1, 4, 5)))
            and not channels_last.is_channels_last(nhwc((2, 3, 1, 1))))
    assert not channels_last.is_channels_last(nhwc((2, 8, 4, 5))[:, :4])   # not dense


@EMULATED
@pytest.mark.parametrize("call, files", [
    (lambda x: F.conv2d(x, w(8, 1, 3, 3), b(8), padding=1, groups=8), [channels_last.KERNEL] * 2),
    (lambda x: F.conv_transpose2d(x, w(8, 1, 3, 3), None, stride=2, groups=8), [channels_last.KERNEL] * 2),
    (lambda x: F.conv2d(x, w(20, 8, 1, 1), b(20)), ["gemm/cuda.cu"]),
    (lambda x: F.conv2d(x, w(20, 8, 3, 3), b(20)), [launch.PRODUCT] * 2),
    (lambda x: F.conv_transpose2d(x, w(8, 20, 3, 3), None), [launch.PRODUCT] * 2),
], ids=["depthwise", "transposed", "pointwise", "dense", "dense_transposed"])
def test_the_result_lies_as_the_input_does(on_gpu, call, files):   # noqa: F811
    x = nhwc((2, 8, 6, 7))
    with profiled() as launched:
        y = call(fake(x))
    assert channels_last.is_channels_last(y) and [file for file, *_ in launched] == files
    np.testing.assert_allclose(y, call(fake(np.ascontiguousarray(x))), rtol=0, atol=1e-5)


def w(*shape):
    return fake(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


b = w


CALLS = {"clamp": lambda x: F.clamp(x, -0.5, 0.5), "threshold": lambda x: F.threshold(x, 0.1, 20.0),
         "gelu_tanh": lambda x: F.gelu(x, "tanh"), "shrink": lambda x: F.softshrink(x),
         **{name: lambda x, name=name: getattr(F, name)(x, fake(x * x))
            for name in ("add", "mul", "div", "maximum", "minimum")},
         "pow": lambda x: F.pow(fake(x * x), x), "where": lambda x: F.where(fake(x * x), x, fake(x * x))}


@EMULATED
@pytest.mark.parametrize("name", sorted(name for name, op in OPS.items()
                                        if op.pointwise and op.cases and "cuda" not in op.todo))
def test_elementwise_ops_keep_the_layout(on_gpu, name):   # noqa: F811
    call = CALLS.get(name, getattr(F, name, None))
    x = nhwc((2, 8, 5, 7))
    if name in ("sqrt", "rsqrt", "reciprocal", "log", "log1p"):
        x = np.abs(x)
    with fast(0):
        y, want = call(fake(x)), call(fake(np.ascontiguousarray(x)))
    assert channels_last.is_channels_last(y) and np.array_equal(y, want) and want.flags.c_contiguous


@EMULATED
def test_one_value_joins_either_layout_and_layouts_that_differ_are_copied(on_gpu):   # noqa: F811
    x = nhwc((2, 8, 5, 7))
    y = F.add(fake(x), fake(np.float32(2)))
    assert channels_last.is_channels_last(y) and np.array_equal(y, x + np.float32(2))
    for other in (np.ascontiguousarray(x), nhwc((2, 8, 1, 7)), x[:, :1]):
        y = F.mul(fake(x), fake(other))
        assert y.flags.c_contiguous and np.array_equal(y, x * other)


@EMULATED
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_keeps_the_layout(on_gpu, training):   # noqa: F811
    x, weight, bias = nhwc((3, 8, 5, 7)), w(8), w(8)
    found = []
    for array in (x, np.ascontiguousarray(x)):
        mean, var = w(8), fake(np.abs(w(8)) + 1)
        found.append((F.batch_norm(fake(array), mean, var, weight, bias, training), mean, var))
    (y, *statistics), (want, *other) = found
    assert channels_last.is_channels_last(y) and want.flags.c_contiguous
    for a, b in zip((y, *statistics), (want, *other)):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    with pytest.raises(ValueError,
                       match=r"weight \(7,\) must be \(8,\), one value a channel of input \(3, 8, 5, 7\)"):
        F.batch_norm(fake(x), w(8), w(8), w(7), bias, training)


@EMULATED
@pytest.mark.parametrize("call", [
    lambda x: F.softmax(x, 1), lambda x: F.conv2d(x[0], w(8, 1, 3, 3), groups=8),
    lambda x: F.conv2d(x[:, :4], w(4, 1, 3, 3), groups=4), lambda x: F.max_pool2d(x, 2),
], ids=["another_op", "no_batch_axis", "not_dense", "pooling"])
def test_all_else_is_copied(on_gpu, call):   # noqa: F811
    x = nhwc((2, 8, 6, 7))
    y = call(fake(x))
    assert y.flags.c_contiguous
    assert np.array_equal(y, call(fake(np.ascontiguousarray(x))))


@EMULATED
def test_one_of_two_inputs_is_channels_last():
    device, rng = EmulatedDevice("f32"), np.random.default_rng(3)
    x, dy = random(rng, device, (2, 8, 6, 7)), random(rng, device, (2, 8, 6, 7))
    found = []
    for left, right in ((x, dy), (x, dy.copy("C")), (x.copy("C"), dy)):
        dw = np.full((8, 1, 3, 3), np.nan, np.float32)
        launch.conv_weight_gradient(device, left, right, (1, 1, 1), (0, 1, 1), (1, 1, 1), 8, dw)
        found.append(dw)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


# ---- machine code

HOT = [(channels_last.KERNEL, "conv_channels_last", {"KH": 3, "SH": 1, "ROWS": 4}),
       (channels_last.KERNEL, "conv_channels_last", {"KH": 7, "SH": 2, "ROWS": 4}),
       (channels_last.KERNEL, "conv_channels_last", {"ROWS": 4}),
       (channels_last.KERNEL, "conv_channels_last_transposed", {"ROWS": 4}),
       (channels_last.WEIGHT_GRADIENT, "channels_last_gradient", {"KH": 3, "SH": 1, "COLS": 3})]


@pytest.mark.skipif(bool(nvrtc.missing() or machine_code.missing()),
                    reason=nvrtc.missing() or machine_code.missing() or "can run")
@pytest.mark.parametrize("real, pack, rows", [("f32", 4, 4), ("bf16", 8, 2)])
@pytest.mark.parametrize("file, kernel, shape", HOT)
def test_packets_are_one_access_and_nothing_spills(file, kernel, shape, real, pack, rows):
    shape = {"ROWS": rows} | shape | {"PACK": pack}
    found = machine_code.instructions(file, real, "sm_90", **shape)[kernel]
    assert nvrtc.resources(nvrtc.compile_cubin(kernel_source(file, real, **shape),
                                               "sm_90")[1])[kernel].spills == 0
    loads = sum(n for name, n in found.items() if name.startswith("LDG"))
    assert sum(n for name, n in found.items() if name.startswith("LDG.E.128")) == loads > 0
