"""Winograd convolutions along one axis, on maps in blocked layout, against float64.

As in test_winograd.py maps lie inside larger arrays, outputs are NaN between guard bands, and the lanes that
pad the last block hold large numbers, which must reach no real channel.
"""
import numpy as np
import pytest
import test_locality as locality
import test_winograd as blocked

import pyops
import pyops.functional as F
from pyops import num_threads
from pyops.core.backends import BACKENDS, active

SIZES = [(tile, taps) for taps, tiles in ((3, (4, 6)), (5, (4, 6)), (7, (2, 4))) for tile in tiles]
# greatest error over the greatest output, He-scaled weights: what compiled programs promise by default
BOUND = 2e-5

# (name of what it catches, n, channels, filters, lines, pixels of a line, padding or None for half of the taps)
CASES = [
    ("whole tiles only, two blocks of filters", 1, 32, 32, 5, 24, None),
    ("filters end within the second block, channels within the third", 2, 35, 23, 13, 11, None),
    ("odd number of filter blocks, one a remainder", 1, 16, 33, 3, 12, None),
    ("a single channel and a single filter", 1, 1, 1, 9, 9, None),
    ("a single output", 1, 16, 16, 1, 7, 0),
    ("a tile wholly inside the padding's reach", 1, 16, 16, 2, 1, 6),
    ("no padding: tiles end beyond the image", 1, 20, 16, 15, 17, 0),
    ("padding one", 2, 20, 16, 3, 9, 1),
    ("one line", 3, 48, 40, 1, 50, None),
    ("lines of one pixel", 2, 20, 20, 40, 1, None),
    ("many batches of tiles", 2, 64, 48, 56, 57, None),
    ("filters that outweigh the cache", 1, 384, 288, 8, 8, None),
]


@pytest.fixture(params=SIZES, ids=[f"F({m}, {r})" for m, r in SIZES])
def size(request):
    return request.param


@pytest.fixture(params=[0, 1], ids=["columns", "rows"])
def axis(request):
    return request.param


def make(n, c, k, lines, pixels, taps, axis, seed=0):
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.standard_normal((n, c, lines, pixels) if axis else (n, c, pixels, lines), np.float32), 0)
    weight = (rng.standard_normal((k, c, taps)) * np.sqrt(2 / (taps * c))).astype(np.float32)
    return x, weight, rng.standard_normal(k, np.float32)


def shaped(weight, axis):
    return weight[:, :, None] if axis else weight[..., None]


def pads(padding, axis):
    return (0, padding) if axis else (padding, 0)


def line(backend, x, weight, tile, axis, padding, bias=None, residual=None, in_place=False, activation=blocked.NONE,
         dilation=1):
    kernels = BACKENDS[backend].sets["f32"]
    n, c, *image = x.shape
    k, _, taps = weight.shape
    blocks = -(-k // 16)
    image[axis] += 2 * padding - (taps - 1) * dilation
    larger = np.full((n, blocks + 2, *image, 16), 77, np.float32)
    y = larger[:, 1:-1]
    y[...] = np.nan
    add = None if residual is None else blocked.to_blocks(residual)
    if in_place:
        y[...] = add
    u = np.full((blocks, tile + taps - 1, c, 16), np.nan, np.float32)
    kernels.winograd_line_weights(weight, tile, u)
    padded = None if bias is None else np.concatenate([bias, np.zeros(blocks * 16 - k, np.float32)])
    kernels.winograd_line(blocked.to_blocks(x), weight, u, tile, axis, padded, y if in_place else add, padding,
                          dilation, activation, y)
    assert (larger[:, 0] == 77).all() and (larger[:, -1] == 77).all(), "stored outside the output"
    assert np.isfinite(y).all() or not np.isfinite(x).all()
    return blocked.from_blocks(y, k)


def depth(backend, x, weight, tile, padding, bias, residual=None, activation=blocked.NONE):
    """x: (n, c, depth, h, w), as a map of depth n images."""
    kernels = BACKENDS[backend].sets["f32"]
    n, c, d, *image = x.shape
    k, _, taps = weight.shape
    blocks, out = -(-k // 16), d + 2 * padding - taps + 1
    larger = np.full((out * n, blocks + 2, *image, 16), 77, np.float32)
    y = larger[:, 1:-1]
    y[...] = np.nan

    def images(v):
        return None if v is None else blocked.to_blocks(v.transpose(2, 0, 1, 3, 4).reshape(-1, v.shape[1], *image))
    u = np.full((blocks, tile + taps - 1, c, 16), np.nan, np.float32)
    kernels.winograd_line_weights(weight, tile, u)
    padded = np.concatenate([bias, np.zeros(blocks * 16 - k, np.float32)])
    kernels.winograd_depth(images(x), weight, u, tile, n, padded, images(residual), padding, activation, y)
    assert (larger[:, 0] == 77).all() and (larger[:, -1] == 77).all(), "stored outside the output"
    return blocked.from_blocks(y, k).reshape(out, n, k, *image).transpose(1, 2, 0, 3, 4)


@pytest.mark.parametrize("value", [0, 1e6, np.inf])
@pytest.mark.parametrize("dilation, phase", [(2, 9), (3, 1), (4, 7), (16, 4), (40, 2)])
def test_dilation(backend, size, axis, dilation, phase, value):
    """Pixels a dilation apart are lines of their own."""
    tile, taps = size
    x, weight, bias = make(2, 35, 23, 5, phase * dilation, taps, axis)
    if value:
        x[0, 3, 1, 1] = value
    padding = taps // 2
    residual = np.random.default_rng(1).standard_normal((2, 23, *x.shape[2:]), np.float32)
    for threads in (1, 3):
        with num_threads(threads):
            got = line(backend, x, weight, tile, axis, padding * dilation, bias, residual,
                       activation=("silu", 0.0, 0.0), dilation=dilation)
        for i in range(dilation):
            at = np.s_[..., i::dilation] if axis else np.s_[:, :, i::dilation]
            want = line(backend, x[at], weight, tile, axis, padding, bias, residual[at], activation=("silu", 0.0, 0.0))
            assert np.array_equal(got[at], want, equal_nan=True)


@pytest.mark.parametrize("image", [(1, 1), (3, 5), (15, 13)])
@pytest.mark.parametrize("value", [0, 1e6, np.inf])
def test_depth(backend, size, image, value):
    """A volume's pixels are those of columns as wide as an image."""
    tile, taps = size
    for n, c, k, d, padding in ((1, 20, 33, 9, taps // 2), (2, 35, 16, 7, 0), (3, 16, 16, 2, taps - 1)):
        x, weight, bias = make(n, c, k, np.prod(image), d, taps, 0)
        if value:
            x[0, 3, 1, 0] = value
        kept = np.random.default_rng(1).standard_normal((n, k, d + 2 * padding - taps + 1, *image), np.float32)
        columns = kept.reshape(*kept.shape[:3], -1)
        want = line(backend, x, weight, tile, 0, padding, bias, columns, activation=("silu", 0.0, 0.0))
        for threads in (1, 3):
            with num_threads(threads):
                got = depth(backend, x.reshape(n, c, d, *image), weight, tile, padding, bias, kept, ("silu", 0.0, 0.0))
            assert np.array_equal(got.reshape(want.shape), want, equal_nan=True)


def exact(x, weight, axis, padding, bias=None):
    return locality.float64(lambda *a: F.conv2d(*a, padding=pads(padding, axis)), x, shaped(weight, axis),
                            *([] if bias is None else [bias]))


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_convolution(backend, size, axis, case):
    _, n, c, k, lines, pixels, padding = case
    tile, taps = size
    padding = taps // 2 if padding is None else min(padding, taps - 1)
    pixels = max(pixels, taps - 2 * padding)
    x, weight, bias = make(n, c, k, lines, pixels, taps, axis)
    want = exact(x, weight, axis, padding, bias)
    got = line(backend, x, weight, tile, axis, padding, bias)
    assert got.shape == want.shape and np.abs(got - want).max() <= BOUND * np.abs(want).max()
    clamped = line(backend, x, weight, tile, axis, padding, bias, activation=blocked.RELU)
    assert np.array_equal(clamped, np.maximum(got, 0))
    for threads in (2, 3):
        with num_threads(threads):
            assert np.array_equal(got, line(backend, x, weight, tile, axis, padding, bias))
    if n > 1:
        assert np.array_equal(got[1:], line(backend, x[1:], weight, tile, axis, padding, bias))


@pytest.mark.parametrize("in_place", [False, True])
def test_residual(backend, size, axis, in_place):
    tile, taps = size
    x, weight, bias = make(2, 35, 23, 9, 11, taps, axis)
    residual = np.random.default_rng(1).standard_normal((2, 23, *x.shape[2:]), np.float32)
    got = line(backend, x, weight, tile, axis, taps // 2, bias, residual, in_place, blocked.RELU)
    want = (exact(x, weight, axis, taps // 2, bias) + residual).clip(0)
    assert np.abs(got - want).max() <= BOUND * np.abs(want).max()


@pytest.mark.parametrize("value", locality.OUTLIERS)
def test_one_pixel(backend, size, axis, value):
    """Outputs that do not see it are as if it were not there (test_locality.py)."""
    tile, taps = size
    for padding in (0, taps // 2, taps - 1):
        for at in locality.places(None):
            x, weight, bias = make(1, 20, 24, *((13, 12) if axis else (12, 13)), taps, axis)
            weight *= np.float32(.2)   # no sum of 3e38 times them is beyond float32
            marks = locality.spike(x, (0, *at[1:]), value)
            got = line(backend, x, weight, tile, axis, padding)
            usual = locality.USUAL if abs(value) > 1e3 else 4 * locality.USUAL
            locality.check(lambda x, w: F.conv2d(x, w, padding=pads(padding, axis)), x,   # noqa: B023
                           shaped(weight, axis), (0, marks), usual, got=got)


@pytest.mark.parametrize("activation", [blocked.RELU, ("silu", 0.0, 0.0)])
def test_epilogues_of_uneven_tiles(backend, size, axis, activation):
    tile, taps = size
    x, weight, bias = make(2, 35, 23, 13, 11, taps, axis)
    x[0, 20, 6, 5] = x[1, 2, -1, 0] = 1e8
    residual = np.random.default_rng(1).standard_normal((2, 23, *x.shape[2:]), np.float32)
    got = line(backend, x, weight, tile, axis, taps // 2, bias, residual, activation=activation)
    want = exact(x, weight, axis, taps // 2, bias) + residual
    want = F.silu(want) if activation[0] == "silu" else want.clip(*activation[1:])
    assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
    small = np.abs(want) < 1e3
    assert small.mean() > .8 and np.abs(got - want)[small].max() <= 1e-3


@pytest.mark.parametrize("channels", [16, 64, 512])
def test_the_bound(backend, size, channels):
    tile, taps = size
    x, weight, _ = make(1, channels, channels, 4, 36, taps, 1)
    want = exact(x, weight, 1, taps // 2)
    assert np.abs(line(backend, x, weight, tile, 1, taps // 2) - want).max() <= BOUND / 2 * np.abs(want).max()


def forced(algorithm, x, weight, monkeypatch, **options):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", algorithm)
    return pyops.compile(lambda v: F.conv2d(v, weight, padding=tuple(n // 2 for n in weight.shape[2:])), x, **options)


@pytest.mark.parametrize("value", [1e5, -1e9, np.inf, np.nan])
def test_compiled(monkeypatch, axis, value):
    x, weight, _ = make(1, 48, 40, 28, 28, 7, axis)
    weight = shaped(weight, axis)
    program = forced("line4", x, weight, monkeypatch)
    assert "winograd_line" in [s.kernel for s in program.steps]
    marks = locality.spike(x, (0, 3, 5, 6), value)
    locality.check(lambda x, w: F.conv2d(x, w, padding=pads(3, axis)), x, weight, (0, marks), got=program(x))


def test_what_declines(monkeypatch):
    """Filters of little more than one tap, few channels, strict precision where nothing is forced."""
    x, weight, _ = make(1, 48, 40, 8, 28, 7, 1)
    weight = shaped(weight, 1)
    one = weight.copy()
    one[3, 2, 0, 0] = 1e4
    few = forced("line4", x[:, :8], weight[:, :8].copy(), monkeypatch)
    strict = forced("", x, weight, monkeypatch, precision="strict")
    for program in (forced("line4", x, one, monkeypatch), few, strict):
        assert "winograd_line" not in [s.kernel for s in program.steps]


@pytest.mark.parametrize("taps", [3, 5, 7])
@pytest.mark.parametrize("axis", [0, 1])
def test_filters_that_are_made_in_the_run(monkeypatch, taps, axis):
    """memory="lean" keeps the plain filters alone, and makes the same of them."""
    x, weight, _ = make(2, 48, 40, 8, 28, taps, axis)
    weight = shaped(weight, axis)
    kept, lean = (forced("line4", x, weight, monkeypatch, memory=memory) for memory in ("fast", "lean"))
    assert [s.kernel for s in lean.steps if "line" in s.kernel] == ["winograd_line_weights", "winograd_line"]
    assert [s.kernel for s in kept.steps if "line" in s.kernel] == ["winograd_line"]
    assert lean.weight_bytes < kept.weight_bytes
    np.testing.assert_array_equal(np.asarray(lean(x)), np.asarray(kept(x)))


def test_a_network_of_few_weights_keeps_what_it_gains_by():
    x = np.random.default_rng(0).standard_normal((1, 64, 300)).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal((64, 64, 5)).astype(np.float32)
    steps = pyops.compile(lambda x: F.conv1d(x, weight, padding=2), x).steps
    assert "winograd_line" in [s.kernel for s in steps] and "winograd_line_weights" not in [s.kernel for s in steps]


def test_it_is_chosen_where_it_gains(monkeypatch):
    monkeypatch.delenv("PYOPS_FORCE_ALGO", raising=False)
    found = {}
    for channels in (16, 192):
        x, weight, _ = make(1, channels, channels, 17, 17, 7, 1)
        program = forced("", x, shaped(weight, 1), monkeypatch, memory="fast")
        found[channels] = next(s.algorithm for s in program.steps if s.op == "conv")
    # vectors that fill a block leave little to gain in one block of channels
    assert found == {16: "direct" if active.get().name == "avx512" else "line4", 192: "line4"}


@pytest.mark.parametrize("sizes", [(40,), (1, 40), (40, 1), (40, 1, 1), (16, 5, 4)])
def test_saved_and_loaded(tmp_path, sizes, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 32, *sizes), np.float32)
    weight = rng.standard_normal((48, 32, *((5, 1, 1) if len(sizes) == 3 else (5 if n > 1 else 1 for n in sizes))),
                                 np.float32)
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "line6")
    convolution = (F.conv1d, F.conv2d, F.conv3d)[len(sizes) - 1]
    program = pyops.compile(lambda v: convolution(v, weight, padding=tuple(n // 2 for n in weight.shape[2:])), x)
    assert {"winograd_line", "winograd_depth"} & {s.kernel for s in program.steps}
    program.save(tmp_path / "line.pyops")
    assert np.array_equal(pyops.Program.load(tmp_path / "line.pyops")(x), program(x))
