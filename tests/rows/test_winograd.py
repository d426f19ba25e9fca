"""Winograd convolutions of compiled programs against float64 direct convolution.

Maps are put into blocked layout here, inside larger arrays: samples lie further apart than an
image, outputs are NaN between guard bands, and the lanes that pad the last block hold large
numbers, which must reach no real channel.
"""
import numpy as np
import pytest

from pyops.core.backends import BACKENDS
from pyops.core.threads import num_threads

torch = pytest.importorskip("torch")
TF = torch.nn.functional

# greatest error over the greatest output, He-scaled weights; measured: 4e-7, 3e-6, 2e-5
BOUND = {2: 2e-6, 4: 2e-5, 6: 1e-4}
GARBAGE = 1e4
NONE = ("clamp", -np.inf, np.inf)
RELU = ("clamp", 0.0, np.inf)

# (name of what it catches, n, channels, filters, height, width, padding)
CASES = [
    ("whole tiles only, two blocks of filters", 1, 32, 32, 24, 24, (1, 1)),
    ("filters end within the second block, channels within the third", 2, 35, 23, 13, 11, (1, 1)),
    ("odd number of filter blocks, one a remainder", 1, 16, 33, 12, 12, (1, 1)),
    ("a single channel and a single filter", 1, 1, 1, 9, 9, (1, 1)),
    ("a single output", 1, 16, 16, 3, 3, (0, 0)),
    ("a tile wholly inside the padding's reach", 1, 16, 16, 1, 1, (2, 2)),
    ("no padding: tiles end beyond the image", 1, 20, 16, 15, 17, (0, 0)),
    ("padding differs by axis", 1, 8, 16, 10, 9, (2, 0)),
    ("padding two", 1, 16, 16, 7, 7, (2, 2)),
    ("rows longer than a strip", 1, 4, 16, 6, 121, (1, 1)),
    ("7x7 maps of a batch share a batch of tiles", 5, 48, 64, 7, 7, (1, 1)),
    ("filters that outweigh the cache", 1, 256, 288, 10, 9, (1, 1)),
    ("filters outweigh the cache, more tiles than a batch", 2, 512, 160, 45, 46, (1, 1)),
    ("many batches of tiles", 1, 64, 48, 60, 61, (1, 1)),
]
IDS = [c[0] for c in CASES]


def to_blocks(planar):
    """(n, c, h, w) as a view (n, blocks, h, w, 16) into something larger."""
    n, c, h, w = planar.shape
    blocks = -(-c // 16)
    whole = np.full((n, blocks * 16, h, w), GARBAGE, np.float32)
    whole[:, :c] = planar
    larger = np.full((n, blocks + 1, h, w, 16), np.nan, np.float32)
    larger[:, :blocks] = whole.reshape(n, blocks, 16, h, w).transpose(0, 1, 3, 4, 2)
    return larger[:, :blocks]


def from_blocks(blocked, channels):
    n, blocks, h, w, _ = blocked.shape
    return blocked.transpose(0, 1, 4, 2, 3).reshape(n, blocks * 16, h, w)[:, :channels]


def transformed(kernels, weight, tile):
    k, c, side = weight.shape[:3]
    u = np.full((k if weight.ndim == 5 else -(-k // 16), (tile + side - 1) ** 2, c, 16), np.nan, np.float32)
    kernels.winograd_weights(weight, tile, u)
    return u


def packed(weight):
    """(K, C, R, R) as (K/16, C, R, R, 16), zeros where filters do not fill a block."""
    k, c, *taps = weight.shape
    whole = np.zeros((-(-k // 16) * 16, c, *taps), np.float32)
    whole[:k] = weight
    return np.ascontiguousarray(whole.reshape(-1, 16, c, *taps).transpose(0, 2, 3, 4, 1))


def winograd(backend, x, weight, tile, padding=(1, 1), bias=None, residual=None, in_place=False, pool=False,
             activation=NONE, met=False, packs=False):
    """met: filters are transformed within the call; packs: from blocks of 16."""
    kernels = BACKENDS[backend].sets["f32"]
    n, c, h, w = x.shape
    k, reach = len(weight), weight.shape[2] - 1
    blocks, scale = -(-k // 16), 2 if pool else 1
    shape = (n, blocks, (h + 2 * padding[0] - reach) // scale, (w + 2 * padding[1] - reach) // scale, 16)
    larger = np.full((n, blocks + 2, *shape[2:]), 77, np.float32)
    y = larger[:, 1:-1]
    y[...] = np.nan
    padded = None if bias is None else np.concatenate([bias, np.zeros(blocks * 16 - k, np.float32)])
    add = None if residual is None else to_blocks(residual)
    if in_place:
        y[...] = add
    u = None if met else transformed(kernels, weight, tile)
    kernels.winograd_conv(to_blocks(x), packed(weight) if packs else weight, u, tile, padded,
                          y if in_place else add, padding, 2 if pool else 1, activation, y)
    assert (larger[:, 0] == 77).all() and (larger[:, -1] == 77).all(), "stored outside the output"
    assert np.isfinite(y).all() or not np.isfinite(x).all()
    return from_blocks(y, k)


def make(n, c, k, h, w, seed=0, side=3):
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.standard_normal((n, c, h, w), np.float32), 0)
    weight = (rng.standard_normal((k, c, side, side)) * np.sqrt(2 / (side * side * c))).astype(np.float32)
    return x, weight, rng.standard_normal(k, np.float32)


def direct(x, weight, padding, bias=None):
    f64 = [None if a is None else torch.from_numpy(a).double() for a in (x, weight, bias)]
    return TF.conv2d(*f64, padding=padding)


def assert_within(got, want, tile):
    want = want.numpy()
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= BOUND[tile] * np.abs(want).max()


@pytest.fixture(params=[2, 4, 6])
def tile(request):
    return request.param


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_convolution(backend, tile, case):
    _, n, c, k, h, w, padding = case
    x, weight, bias = make(n, c, k, h, w)
    assert_within(winograd(backend, x, weight, tile, padding), direct(x, weight, padding), tile)
    want = direct(x, weight, padding, bias)
    assert_within(winograd(backend, x, weight, tile, padding, bias, activation=RELU), want.relu(), tile)


# channels in several lots, the last one smaller; more tiles than meet filters together
MET_CASES = [CASES[1], CASES[9], CASES[13], ("several lots of channels", 1, 180, 40, 9, 14, (1, 1)),
             ("of many tiles", 2, 200, 33, 31, 30, (1, 1))]


@pytest.mark.parametrize("case", MET_CASES, ids=[c[0] for c in MET_CASES])
def test_filters_met_are_filters_made_beforehand(backend, case, tile):
    _, n, c, k, h, w, padding = case
    x, weight, bias = make(n, c, k, h, w)
    x[0, :, h // 2, w // 2] *= 1e4   # uneven tiles, which take filters as they are
    want = winograd(backend, x, weight, tile, padding, bias)
    for packs in (False, True):
        for threads in (1, 3):
            with num_threads(threads):
                assert np.array_equal(winograd(backend, x, weight, tile, padding, bias, met=True, packs=packs), want)
    kernels = BACKENDS[backend].sets["f32"]
    assert np.array_equal(transformed(kernels, packed(weight), tile), transformed(kernels, weight, tile))


@pytest.mark.parametrize("met", [False, True])
@pytest.mark.parametrize("n, c, k, h, w, padding", [
    (1, 32, 32, 24, 24, (2, 2)), (2, 35, 23, 13, 11, (2, 1)), (1, 1, 1, 5, 5, (0, 0)), (1, 16, 16, 1, 1, (4, 4)),
    (1, 4, 16, 6, 121, (2, 3)), (5, 48, 64, 7, 7, (2, 2)), (1, 64, 48, 60, 61, (4, 0)), (2, 256, 170, 9, 10, (2, 2)),
])
def test_five_by_five(backend, n, c, k, h, w, padding, met):
    x, weight, bias = make(n, c, k, h, w, side=5)
    want = direct(x, weight, padding, bias)
    assert_within(winograd(backend, x, weight, 2, padding, bias, met=met), want, 4)   # whose points it shares
    residual = np.random.default_rng(1).standard_normal(want.shape).astype(np.float32)
    got = winograd(backend, x, weight, 2, padding, bias, residual, met=met, activation=RELU)
    assert_within(got, (want + torch.from_numpy(residual)).relu(), 4)
    if min(want.shape[2:]) > 1:
        assert_within(winograd(backend, x, weight, 2, padding, bias, pool=True, met=met), TF.max_pool2d(want, 2), 4)


@pytest.mark.parametrize("case", CASES[1:10], ids=IDS[1:10])
def test_residual(backend, tile, case):
    _, n, c, k, h, w, padding = case
    x, weight, bias = make(n, c, k, h, w)
    want = direct(x, weight, padding, bias)
    residual = np.random.default_rng(1).standard_normal(want.shape, np.float32)
    want = (want + torch.from_numpy(residual)).relu()
    got = winograd(backend, x, weight, tile, padding, bias, residual, activation=RELU)
    assert_within(got, want, tile)
    np.testing.assert_array_equal(got, winograd(backend, x, weight, tile, padding, bias, residual,
                                                in_place=True, activation=RELU))


@pytest.mark.parametrize("dilation, padding, height, width", [
    ((2, 2), (2, 2), 24, 24), ((3, 1), (3, 1), 13, 11), ((2, 5), (0, 7), 9, 17), ((12, 12), (12, 12), 14, 15),
    ((2, 2), (4, 4), 5, 1)])
def test_dilation(backend, tile, dilation, padding, height, width):
    """Stored between guards, with a residual that lies where the result goes."""
    kernels = BACKENDS[backend].sets["f32"]
    x, weight, bias = make(2, 21, 35, height, width)
    f64 = [torch.from_numpy(a).double() for a in (x, weight, bias)]
    want = TF.conv2d(*f64, padding=padding, dilation=dilation)
    residual = np.random.default_rng(1).standard_normal(want.shape, np.float32)
    padded = np.concatenate([bias, np.zeros(13, np.float32)])
    for add in (None, residual):
        larger = np.full((2, 5, *want.shape[2:], 16), 77, np.float32)
        y = larger[:, 1:-1]
        y[...] = np.nan if add is None else to_blocks(add)
        kernels.winograd_dilated(to_blocks(x), weight, transformed(kernels, weight, tile), tile, padded,
                                 None if add is None else y, padding, dilation, RELU, y)
        assert (larger[:, 0] == 77).all() and (larger[:, -1] == 77).all(), "stored outside the output"
        both = want if add is None else want + torch.from_numpy(add)
        assert_within(from_blocks(y, 35), both.relu(), tile)


@pytest.mark.parametrize("height, width", [(24, 24), (13, 11), (7, 7), (14, 15), (2, 2), (3, 61)])
def test_pooling(backend, tile, height, width):
    x, weight, bias = make(2, 19, 37, height, width)
    want = TF.max_pool2d(direct(x, weight, 1, bias), 2)
    assert_within(winograd(backend, x, weight, tile, bias=bias, pool=True), want, tile)
    assert_within(winograd(backend, x, weight, tile, bias=bias, pool=True, activation=RELU), want.relu(),
                  tile)


def test_pooling_follows_an_activation_that_is_not_monotone(backend, tile):
    x, weight, bias = make(1, 16, 16, 13, 12)
    weight[...] *= 3
    want = TF.max_pool2d(TF.silu(direct(x, weight, 1, bias)), 2)
    assert_within(winograd(backend, x, weight, tile, bias=bias, pool=True, activation=("silu", 0.0, 0.0)),
                  want, tile)


@pytest.mark.parametrize("activation, function", [
    (("clamp", 0.0, 6.0), TF.relu6),
    (("clamp", -1.0, 0.5), lambda v: v.clip(-1, 0.5)),
    (("leaky_relu", 0.1, 0.0), lambda v: TF.leaky_relu(v, 0.1)),
    (("sigmoid", 0.0, 0.0), torch.sigmoid),
    (("tanh", 0.0, 0.0), torch.tanh),
    (("silu", 0.0, 0.0), TF.silu),
    (("hardsigmoid", 0.0, 0.0), TF.hardsigmoid),
    (("hardswish", 0.0, 0.0), TF.hardswish),
    (("gelu", 0.0, 0.0), TF.gelu),
    (("gelu_tanh", 0.0, 0.0), lambda v: TF.gelu(v, approximate="tanh")),
    (("elu", 0.7, 0.0), lambda v: TF.elu(v, 0.7)),
], ids=["relu6", "clamp", "leaky_relu", "sigmoid", "tanh", "silu", "hardsigmoid", "hardswish", "gelu",
        "gelu_tanh", "elu"])
def test_activation(backend, tile, activation, function):
    x, weight, bias = make(1, 16, 20, 13, 14)
    residual = np.random.default_rng(1).standard_normal((1, 20, 13, 14), np.float32)
    want = function(direct(x, weight, 1, bias) + torch.from_numpy(residual))
    assert_within(winograd(backend, x, weight, tile, bias=bias, residual=residual, activation=activation),
                  want, tile)


@pytest.mark.parametrize("case", CASES[-4:] + CASES[1:3], ids=IDS[-4:] + IDS[1:3])
def test_threads_and_batch_change_no_bit(backend, tile, case):
    _, n, c, k, h, w, padding = case
    x, weight, bias = make(max(n, 2), c, k, h, w)
    results = []
    for threads in (1, 2, 3):
        with num_threads(threads):
            results.append(winograd(backend, x, weight, tile, padding, bias, activation=RELU))
            alone = [winograd(backend, x[i:i + 1], weight, tile, padding, bias, activation=RELU)
                     for i in range(len(x))]
            np.testing.assert_array_equal(results[-1], np.concatenate(alone))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_place_at_the_border_changes_no_bit(backend, tile):
    """The same values give the same bits in the middle of a map and at its edge, where the window
    hangs over into the padding."""
    x, weight, _ = make(1, 16, 16, 4 * tile, 4 * tile)
    x[..., :tile, :] = x[..., -tile:, :] = x[..., :, :tile] = x[..., :, -tile:] = 0
    inner = np.ascontiguousarray(x[..., tile:-tile, tile:-tile])
    np.testing.assert_array_equal(winograd(backend, x, weight, tile)[..., tile:-tile, tile:-tile],
                                  winograd(backend, inner, weight, tile))


def test_nan_stays(backend, tile):
    """A NaN reaches at least the outputs whose window holds it, through clamping and pooling."""
    x, weight, _ = make(1, 1, 1, 12, 12)
    for at in np.ndindex(12, 12):
        poisoned = x.copy()
        poisoned[0, 0][at] = np.nan
        kernels = BACKENDS[backend].sets["f32"]
        y = np.zeros((1, 1, 6, 6, 16), np.float32)
        kernels.winograd_conv(to_blocks(poisoned), weight, transformed(kernels, weight, tile), tile, None,
                              None, (1, 1), 2, RELU, y)
        want = TF.max_pool2d(direct(poisoned, weight, 1).relu(), 2).numpy()[0, 0]
        assert np.isnan(y[0, 0, :, :, 0][np.isnan(want)]).all()


def test_transformed_filters(backend, tile):
    """Padding of the last block is zeros; a filter of all zeros but its centre
    convolves to the input."""
    kernels = BACKENDS[backend].sets["f32"]
    u = transformed(kernels, make(1, 5, 18, 1, 1)[1], tile)
    assert np.isfinite(u).all() and (u[1, ..., 2:] == 0).all()
    x = make(1, 1, 1, 9, 10)[0]
    centre = np.zeros((1, 1, 3, 3), np.float32)
    centre[..., 1, 1] = 1
    assert_within(winograd(backend, x, centre, tile), torch.from_numpy(x).double(), tile)
