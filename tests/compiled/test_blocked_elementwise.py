"""Maps value by value and channel by channel, against NumPy in float64."""
import numpy as np
import pytest
from maps import NONE, RELU, RELU6, Image, MapOut, Rows, check, per_channel, run, to_map

from pyops.core.backends import BACKENDS

SILU = ("silu", 0.0, 0.0)
SHAPES = [(1, 16, 5, 7), (2, 35, 9, 3), (3, 20, 1, 1), (1, 40, 30, 31), (1, 16, 1, 600)]


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


ACTIVATIONS = [(NONE, lambda v: v), (RELU, lambda v: np.maximum(v, 0)), (RELU6, lambda v: v.clip(0, 6)),
               (SILU, lambda v: v * sigmoid(v))]


def draw(*shapes):
    rng = np.random.default_rng(sum(shapes[0]))
    return [2 * rng.standard_normal(s, np.float32) for s in shapes]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation, reference", ACTIVATIONS)
def test_add_maps(backend, shape, activation, reference):
    a, b = draw(shape, shape)
    check(backend, "add_maps", Image(a), Image(b), activation, MapOut(shape),
          want=reference(a.astype(np.float64) + b), tolerance=8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation, reference", ACTIVATIONS)
def test_affine_channels(backend, shape, activation, reference):
    x, scale, shift = draw(shape, shape[1:2], shape[1:2])
    want = reference(x.astype(np.float64) * scale[:, None, None] + shift[:, None, None])
    check(backend, "affine_channels", Image(x), per_channel(scale), per_channel(shift), activation,
          MapOut(shape), want=want, tolerance=8)


@pytest.mark.parametrize("shape", SHAPES)
def test_slope_channels(backend, shape):
    x, slope = draw(shape, shape[1:2])
    x[0, 0, 0, 0] = np.nan
    wide = x.astype(np.float64)
    check(backend, "slope_channels", Image(x), per_channel(slope), MapOut(shape),
          want=np.where(wide > 0, wide, wide * slope[:, None, None]), tolerance=8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation, reference", ACTIVATIONS[:2])
@pytest.mark.parametrize("kernel, join", [("scale_channels", np.multiply), ("shift_channels", np.add)])
def test_numbers_of_samples(backend, shape, activation, reference, kernel, join):
    x, g = draw(shape, shape[:2])
    want = reference(join(x, g.astype(np.float64)[..., None, None]))
    check(backend, kernel, Image(x), Rows(g), activation, MapOut(shape), want=want, tolerance=8)


@pytest.mark.parametrize("pieces", [(16, 32), (5, 3, 8), (5, 30, 17, 1), (20, 16, 16), (1,) * 20, (48,)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7)])
def test_copy_channels_side_by_side(backend, pieces, size):
    """As a concatenation: each copy leaves what others wrote."""
    n, total = 2, sum(pieces)
    parts = draw(*((n, c, *size) for c in pieces))
    y, larger = MapOut((n, total, *size)).make()
    for i in reversed(range(len(pieces))):
        BACKENDS[backend].sets["f32"].copy_channels(to_map(parts[i]), pieces[i], sum(pieces[:i]), y)
    assert np.array_equal(MapOut((n, total, *size)).take(y, larger), np.concatenate(parts, 1))


@pytest.mark.parametrize("channels, first, count", [(40, 0, 7), (40, 16, 20), (37, 5, 32), (58, 29, 29), (20, 19, 1),
                                                    (130, 33, 90), (16, 9, 7)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 30)])
def test_slice_channels(backend, channels, first, count, size):
    x, = draw((2, channels, *size))
    y, = run(backend, "slice_channels", Image(x), channels, first, count, MapOut((2, count, *size)))
    assert np.array_equal(y, x[:, first:first + count])


TABLES = {"shuffled": lambda n: np.arange(n // 2 * 2).reshape(2, -1).T.reshape(-1),
          "backwards": lambda n: np.arange(n)[::-1], "every_fourth": lambda n: np.arange(0, n, 4),
          "drawn": lambda n: np.random.default_rng(n).integers(0, n, n + 5), "one": lambda n: np.array([n - 1])}


@pytest.mark.parametrize("channels, more", [(40, 0), (7, 0), (29, 29), (58, 58), (20, 3), (16, 130)])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (13, 15)])
@pytest.mark.parametrize("table", TABLES)
def test_pick_channels(backend, channels, more, size, table):
    """Of one image or of two side by side; lanes that fill the first one's last block are no channels."""
    a, b = draw((2, channels, *size), (2, more, *size))
    picked = TABLES[table](channels + more)
    lanes = np.where(picked < channels, picked, picked - channels + -(-channels // 16) * 16)
    want = np.concatenate([a, b], 1)[:, picked].astype(np.float64)
    check(backend, "pick_channels", Image(a), Image(b) if more else None, lanes.astype(np.int64), MapOut(want.shape),
          want=want, tolerance=0)


def test_nan_of_one_channel_stays_there(backend):
    x, = draw((1, 16, 4, 4))
    x[0, 3] = np.nan
    y, = run(backend, "affine_channels", Image(x), np.ones(16, np.float32), np.zeros(16, np.float32), RELU,
             MapOut(x.shape))
    assert np.isnan(y[0, 3]).all() and np.isfinite(np.delete(y, 3, 1)).all()


def test_silu_from_end_to_end(backend):
    """As exact as epilogue.h says, and whole where exponentials overflow."""
    x = np.concatenate([np.linspace(-90, 90, 20000), np.geomspace(1e-30, 1e38, 3000),
                        -np.geomspace(1e-30, 1e38, 3000), [np.inf, 0.0, -0.0]])
    x = np.resize(x.astype(np.float32), (1, 16, 1, 2000))
    one, zero = np.ones(16, np.float32), np.zeros(16, np.float32)
    (got,) = run(backend, "affine_channels", Image(x), one, zero, SILU, MapOut(x.shape))
    with np.errstate(over="ignore"):
        want = x / (1 + np.exp(-x.astype(np.float64)))
    within = np.isfinite(want)
    allowed = (3e-7 + 1e-7 * np.maximum(-x, 0)) * np.abs(want) + 1e-34
    assert (np.abs(got[within] - want[within]) <= allowed[within]).all()
    assert (got[~within] == np.inf).all()
    assert np.isnan(run(backend, "affine_channels", Image(np.full_like(x, np.nan)), one, zero, SILU,
                        MapOut(x.shape))[0]).all()


FUSED = {"sigmoid": (1, 0), "tanh": (1, -1), "silu": (np.inf, np.nan), "hardsigmoid": (1, 0),
         "hardswish": (np.inf, np.nan), "gelu": (np.inf, np.nan),
         "elu": (np.inf, -1), "leaky_relu": (np.inf, -np.inf),}


@pytest.mark.parametrize("name", FUSED)
def test_fused_activations_of_what_is_not_finite(backend, name):
    """NaN stays NaN; infinities come to what the definition has: 0 times infinity, where it
    multiplies them, is NaN."""
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30] + [0.0] * 11, np.float32).reshape(1, 16, 1, 1)
    (got,) = run(backend, "add_maps", Image(x), Image(np.zeros_like(x)),
                 (name, 1.0 if name == "elu" else 0.1, 0.0), MapOut(x.shape))
    got = got.reshape(-1)
    above, below = FUSED[name]
    np.testing.assert_array_equal(got[:3], np.float32([np.nan, above, below]))
    large, small = min(above, np.float32(1e30)), 0 if np.isnan(below) else max(below, np.float32(-1e29))
    np.testing.assert_allclose(got[3:5], [large, small], rtol=1e-6, atol=1e-6)
