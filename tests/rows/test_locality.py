"""An output of a 3x3 convolution depends, to the error of a direct algorithm, on the
pixels that it sees only.

Winograd's algorithm mixes the pixels of a tile, so outliers, masks, infinities and NaN would spread
over outputs that do not see them. Each test puts such values into numbers around one and compares
with a float64 convolution: outputs that see none of them to the usual error of outputs of their
size, the others to that of the products they sum, infinities and NaN in the same places.
"""
import itertools

import numpy as np
import pytest
import test_winograd as blocked

import pyops
import pyops.functional as F
from pyops.core.backends import BACKENDS, use_backend
from pyops.core.registry import OPS

OUTLIERS = [1e2, 1e4, 1e5, 1e6, -1e9, 3e38, np.inf, -np.inf, np.nan]
# of the greatest output, as docs and compiled programs promise, where no outlier is taken for one
USUAL = 2e-5
# corners of tiles and of the map, the middle of a tile, its edge
PIXELS = [(0, 0), (5, 6), (7, 8), (12, 11)]


def drawn(c=32, k=32, h=13, w=12, n=1, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, c, h, w)).astype(np.float32),
            (rng.standard_normal((k, c, 3, 3)) * .06).astype(np.float32))


def float64(call, *arrays):
    with use_backend("reference"), np.errstate(all="ignore"):
        return call(*(a.astype(np.float64) for a in arrays))


def assert_local(got, want, seen, scale, usual=USUAL):
    """seen: outputs that see an outlier; scale: sums of magnitudes of the products of each
    output."""
    with np.errstate(all="ignore"):
        want32 = want.astype(np.float32)
    assert (np.array_equal(np.isnan(got), np.isnan(want32))
            and np.array_equal(got[np.isinf(got)], want32[np.isinf(want32)]))
    with np.errstate(all="ignore"):
        error = np.abs(got - want)
    # not finite: an infinity of dy meets the zeros of the padding, in any algorithm
    unseen = ~seen & np.isfinite(want)
    assert not unseen.any() or error[unseen].max() <= usual * np.abs(want[unseen]).max()
    finite = seen & np.isfinite(want32)
    assert (error[finite] <= 1.5 * usual * scale[finite]).all()


def check(call, x, w, poison, usual=USUAL, got=None):
    """call(x, w) where poison() marks the outliers in one of them (True)."""
    array, marks = poison
    want = float64(call, x, w)
    ones = [np.ones_like(a) for a in (x, w)]
    ones[array][...] = marks
    seen = float64(call, *ones) > 0
    with np.errstate(all="ignore"):
        scale = float64(call, np.abs(x), np.abs(w))
    assert_local(call(x, w) if got is None else got, want, seen, scale, usual)


def spike(array, at, value):
    array[at] = value
    marks = np.zeros_like(array)
    marks[at] = 1
    return marks


def conv(x, w):
    return F.conv2d(x, w, padding=1)


def input_gradient(dy, w):
    return OPS["conv_transpose"](dy, w, None, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1,
                                 size=dy.shape[-2:])


def weight_gradient(x, dy):
    return OPS["conv_weight_gradient"](x, dy, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1,
                                       kernel=(3, 3))


def uses_winograd(call, *arrays):
    got = call(*arrays)
    pyops.set_precision("strict")
    try:
        return not np.array_equal(got, call(*arrays), equal_nan=True)
    finally:
        pyops.set_precision("default")


def places(shape):
    for h, w in PIXELS:
        yield (slice(None), 3, h, w)           # one channel of a pixel
        yield (slice(None), slice(None), h, w)   # all of them


@pytest.mark.parametrize("value", OUTLIERS)
@pytest.mark.parametrize("call", [conv, input_gradient], ids=["forward", "input_gradient"])
def test_one_pixel(backend, call, value):
    n = 24   # enough outputs for Winograd's algorithm to be chosen
    with use_backend(backend):
        x, w = drawn(n=n)
        assert uses_winograd(call, x, w)
        for at in places(x.shape):
            x, w = drawn(n=n)
            marks = spike(x, (0, *at[1:]), value)
            check(call, x, w, (0, marks), usual=4 * USUAL if abs(value) < 1e3 else USUAL)


@pytest.mark.parametrize("value", OUTLIERS)
def test_one_pixel_of_every_tile_size(backend, value):
    for tile, padding, at in itertools.product((2, 4, 6), (0, 1, 2), places(None)):
        x, w = drawn(c=20, k=24)
        marks = spike(x, (0, *at[1:]), value)
        got = blocked.winograd(backend, x, w, tile, (padding, padding))
        usual = {2: 1, 4: 1, 6: 5}[tile] * (USUAL if abs(value) > 1e3 else 4 * USUAL)
        check(lambda x, w: F.conv2d(x, w, padding=padding), x, w, (0, marks), usual, got=got)   # noqa: B023


@pytest.mark.parametrize("value", [-1e9, 1e6, np.inf])
def test_a_mask_over_part_of_the_map(backend, value):
    for tile in (2, 4, 6):
        x, w = drawn(c=16, k=16)
        marks = spike(x, np.s_[:, :, :, 5:], value)
        check(conv, x, w, (0, marks), 5 * USUAL, got=blocked.winograd(backend, x, w, tile))


def test_outputs_that_see_zeros_only_are_zero(backend):
    for tile in (2, 4, 6):
        x, w = drawn(c=16, k=16)
        x[...] = 0
        x[0, 2, 6, 5] = 1e6
        got = blocked.winograd(backend, x, w, tile)
        got[:, :, 5:8, 4:7] = 0
        assert not got.any()


tile = blocked.tile   # a fixture: 2, 4, 6


@pytest.mark.parametrize("pool, activation",
                         [(False, blocked.RELU), (True, blocked.NONE), (True, ("silu", 0.0, 0.0))])
def test_epilogues_of_uneven_tiles(backend, tile, pool, activation):
    x, weight, bias = blocked.make(2, 35, 23, 13, 11)
    x[0, 20, 6, 5] = x[1, 2, 12, 0] = 1e8
    residual = None if pool else np.random.default_rng(1).standard_normal((2, 23, 13, 11), np.float32)
    got = blocked.winograd(backend, x, weight, tile, bias=bias, residual=residual, pool=pool,
                           activation=activation)
    want = float64(lambda x, w, b: F.conv2d(x, w, b, padding=1), x, weight, bias)
    want = want if residual is None else want + residual
    want = F.silu(want) if activation[0] == "silu" else want.clip(*activation[1:])
    want = F.max_pool2d(want, 2) if pool else want
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
    small = np.abs(want) < 1e3
    assert small.mean() > .8 and np.abs(got - want)[small].max() <= 1e-3


@pytest.mark.parametrize("value", OUTLIERS)
@pytest.mark.parametrize("of", [0, 1], ids=["x", "dy"])
def test_weight_gradient(backend, value, of):
    """A pair of channels whose values meet none of the outliers' is not touched; of the others
    only the taps that do."""
    with use_backend(backend):
        arrays = [drawn(c=24, n=12)[0], drawn(c=40, n=12, seed=1)[0]]
        assert uses_winograd(weight_gradient, *arrays)
        for at in places(None):
            x, dy = (a.copy() for a in arrays)
            # as after a ReLU: many products are with zeros
            x[np.random.default_rng(2).random(x.shape) < .5] = 0
            dy[np.random.default_rng(3).random(dy.shape) < .5] = 0
            target = (x, dy)[of]
            marks = spike(target, (0, *at[1:]), value)
            meets = [(x != 0).astype(np.float32), (dy != 0).astype(np.float32)]
            meets[of] = marks
            if not np.isfinite(value):
                meets[1 - of][...] = 1
            seen = float64(weight_gradient, *meets) > 0
            with np.errstate(all="ignore"):
                want, scale = float64(weight_gradient, x, dy), float64(weight_gradient, np.abs(x), np.abs(dy))
            assert_local(weight_gradient(x, dy), want, seen, scale, usual=4 * USUAL)


@pytest.mark.parametrize("size, kernel", [(7, 3), (5, 5), (16, 3)])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weight_gradient_of_one_channel_a_group(backend, size, kernel, value):
    """Zeros of the padding times what is not finite are NaN, above and below an image as beside it."""
    rng = np.random.default_rng(5)
    x, dy = rng.standard_normal((2, 2, 20, size, size), np.float32)
    dy[0, 3, 0, 2], dy[1, 17, -1, 1] = value, value
    window = dict.fromkeys(("stride", "dilation"), (1, 1)) | {"padding": (kernel // 2,) * 2, "groups": 20}

    def gradient(x, dy):
        return OPS["conv_weight_gradient"](x, dy, kernel=(kernel, kernel), **window)
    with use_backend(backend):
        got, want = gradient(x, dy), float64(gradient, x, dy)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups, stride, size", [(1, 1, 9), (1, 2, 9), (1, 1, 28), (2, 1, 9)])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_weight_gradient_of_padding(backend, groups, stride, size, value):
    """As of one channel a group, of layers of many."""
    rng = np.random.default_rng(6)
    outputs = (size - 1) // stride + 1
    x = rng.standard_normal((2, 16 * groups, size, size), np.float32)
    dy = rng.standard_normal((2, 32 * groups, outputs, outputs), np.float32)
    dy[0, 3, 0, 2], dy[1, 17, -1, 1] = value, value
    window = {"stride": (stride, stride), "dilation": (1, 1), "padding": (1, 1), "groups": groups}

    def gradient(x, dy):
        return OPS["conv_weight_gradient"](x, dy, kernel=(3, 3), **window)
    with use_backend(backend):
        got, want = gradient(x, dy), float64(gradient, x, dy)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_weight_gradient_of_many_outliers(backend):
    """So many that all is done directly."""
    with use_backend(backend):
        x, dy = drawn(c=24, n=12)[0], drawn(c=40, n=12, seed=1)[0]
        x[:, :, ::5, ::5] = 1e7
        want, scale = float64(weight_gradient, x, dy), float64(weight_gradient, np.abs(x), np.abs(dy))
        assert not uses_winograd(weight_gradient, x, dy)
        assert (np.abs(weight_gradient(x, dy) - want) <= 1e-6 * scale).all()


@pytest.mark.parametrize("call", [conv, input_gradient], ids=["forward", "input_gradient"])
def test_filters_of_one_tap_and_filters_that_are_not_finite(backend, call):
    """Their outputs depend on one pixel each: such convolutions are direct, bit for bit."""
    with use_backend(backend):
        x, w = drawn(n=24)
        for value in (1e6, np.inf, np.nan):
            w = drawn(n=24)[1]
            w[7, 5, 1, 2] = value
            assert not uses_winograd(call, x, w)
        identity = np.zeros((32, 32, 3, 3), np.float32)
        identity[range(32), range(32), 1, 1] = 1
        assert np.array_equal(call(x, identity), x)


@pytest.mark.parametrize("precision", ["default", "fast"])
@pytest.mark.parametrize("value", [1e5, -1e9, np.inf, np.nan])
def test_compiled(monkeypatch, precision, value):
    for algorithm in ("winograd2", "winograd4", "winograd6", ""):
        monkeypatch.setenv("PYOPS_FORCE_ALGO", algorithm)
        x, w = drawn(c=48, k=40, h=28, w=28)
        program = pyops.compile(lambda v: F.conv2d(v, w, padding=1), x, precision=precision)   # noqa: B023
        for at in places(None):
            x, w = drawn(c=48, k=40, h=28, w=28)
            marks = spike(x, (0, *at[1:]), value)
            check(conv, x, w, (0, marks), 5 * USUAL, got=program(x))


def test_compiled_filters_of_one_tap_are_direct(monkeypatch):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "winograd4")
    x, w = drawn(c=48, k=40, h=28, w=28)
    w[3, 2, 0, 0] = 1e4
    program = pyops.compile(lambda v: F.conv2d(v, w, padding=1), x)
    assert all(step.kernel != "winograd_conv" for step in program.steps)


SPECIAL = [np.inf, -np.inf, np.nan, 1e30]


def assert_as_defined(got, want, usual):
    """NaN and infinity where the definition has them; elsewhere to the usual error of what is
    summed."""
    with np.errstate(all="ignore"):
        want32 = want.astype(np.float32)
        error = np.abs(got - want) / np.maximum(np.abs(want), usual)
    assert (np.array_equal(np.isnan(got), np.isnan(want32))
            and np.array_equal(got[np.isinf(want32)], want32[np.isinf(want32)]))
    assert not np.isinf(got[np.isfinite(want32)]).any() and (error[np.isfinite(want32)] <= USUAL).all()


@pytest.mark.parametrize("channels", range(1, 9))
def test_groups_see_their_own_channels_only(backend, channels):
    """Compiled, groups narrower than a block are joined with zeros between them: another group's
    infinities are not multiplied by these."""
    rng = np.random.default_rng(channels)
    for filters, (kernel, stride, padding), value in itertools.product(
            (1, 4), ((1, 1, 0), (3, 1, 1), (3, 2, 0)), SPECIAL):
        groups = 16 if channels % 2 else 8
        x = rng.standard_normal((2, groups * channels, 9, 7), np.float32)
        w = rng.standard_normal((groups * filters, channels, kernel, kernel), np.float32)
        bias = rng.standard_normal(len(w), np.float32)
        x[0, 2 * channels, 4, 3] = value
        call = lambda x, w, b: F.leaky_relu(F.conv2d(x, w, b, stride, padding, 1, groups), 0.1)   # noqa: B023, E731
        want = float64(call, x, w, bias)
        with use_backend(backend):
            assert_as_defined(call(x, w, bias), want, 10)
        if backend == "scalar":   # once: a program takes the best instruction set
            assert_as_defined(pyops.compile(lambda v: call(v, w, bias), np.ones_like(x), "strict")(x), want, 10)   # noqa: B023


WINDOWS = [   # kernel, stride, padding, dilation of each axis
    ((3, 3, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1)), ((3, 2, 5), (2, 3, 2), (1, 0, 2), (1, 1, 1)),
    ((2, 3, 3), (1, 2, 1), (0, 2, 2), (1, 1, 2)),
    ((1, 1, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1)), ((2, 2, 2), (2, 2, 2), (0, 0, 0), (1, 1, 1)),
    ((1, 2, 1), (3, 3, 3), (0, 1, 0), (1, 3, 1)),
]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "transposed"])
def test_filters_that_are_not_finite(backend, axes, transposed):
    """A convolution's padding is zeros, of which an infinite weight makes NaN; a transposed one has
    nothing beside its input."""
    rng = np.random.default_rng(axes)
    run = getattr(F, f"conv_transpose{axes}d" if transposed else f"conv{axes}d")
    for window, (groups, channels, filters), value in itertools.product(
            WINDOWS, ((1, 5, 3), (1, 20, 33), (6, 1, 1), (4, 4, 8)), SPECIAL[:3]):
        kernel, stride, padding, dilation = (along[-axes:] for along in window)
        x = rng.standard_normal((2, groups * channels, *(4, 7, 9)[-axes:]), np.float32)
        w = rng.standard_normal((groups * channels, filters, *kernel) if transposed
                                else (groups * filters, channels, *kernel), np.float32)
        w.reshape(-1)[rng.integers(w.size)] = value
        attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        want = float64(lambda x, w: run(x, w, **attrs), x, w)   # noqa: B023
        with use_backend(backend):
            assert_as_defined(run(x, w, **attrs), want, 10)
        if backend == "scalar" and axes < 3:
            assert_as_defined(pyops.compile(lambda v: run(v, w, **attrs), np.ones_like(x), "strict")(x), want, 10)   # noqa: B023


def test_layers_that_are_fused_have_finite_filters():
    """Kernels that take layers together leave out the zeros beside a map: where that shows,
    layers stay apart."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape, np.float32)   # noqa: E731
    x, expand, depth, project = draw(1, 16, 64, 64), draw(128, 16, 1,
                                                          1), draw(128, 1, 3, 3), draw(24, 128, 1, 1)
    depth[5, 0, 0, 1] = np.inf

    def block(v):
        v = F.relu6(F.conv2d(F.relu6(F.conv2d(v, expand.astype(v.dtype))), depth.astype(v.dtype), padding=1,
                             groups=128))
        return F.conv2d(v, project.astype(v.dtype)), F.adaptive_avg_pool2d(v, 1)

    for got, want in zip(pyops.compile(block, x, "strict")(x), float64(block, x), strict=True):
        assert_as_defined(got, want, 100)


def test_natural_differences_are_left_to_winograd(backend):
    """Maps whose parts differ by 4, as images and their features do, cost nothing."""
    kernels = BACKENDS[backend].sets["f32"]
    x, weight, _ = blocked.make(1, 32, 32, 24, 24)
    x[..., 12:] *= 4
    u = blocked.transformed(kernels, weight, 4)
    changed = blocked.winograd(backend, x, weight, 4)
    wrong = weight.copy()
    wrong[...] = 0   # what uneven tiles would be computed with
    y = np.zeros((1, 2, 24, 24, 16), np.float32)
    kernels.winograd_conv(blocked.to_blocks(x), wrong, u, 4, None, None, (1, 1), 1, blocked.NONE, y)
    assert np.array_equal(blocked.from_blocks(y, 32), changed)
