"""What is asked of weights before they are packed, wherever they lie, against what NumPy says."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import _C
from pyops.graph import line, packing
from pyops.graph.passes import fold_batch_norm

RNG = np.random.default_rng(0)


def unaligned(array):
    """The same numbers at an odd address."""
    room = np.zeros(array.nbytes + 1, np.uint8)
    room[1:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return room[1:].view(array.dtype).reshape(array.shape)


@pytest.mark.parametrize("size", [0, 1, 7, 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("lie", [np.array, unaligned])
def test_finite(size, lie):
    values = RNG.standard_normal(size).astype(np.float32)
    assert packing.finite(lie(values))
    for odd in (np.inf, -np.inf, np.nan):
        for at in {0, size // 2, size - 1} if size else ():
            changed = values.copy()
            changed[at] = odd
            assert not packing.finite(lie(changed))


@pytest.mark.parametrize("shape", [(3, 5, 3, 3), (17, 64, 3, 3), (2, 200, 5, 5), (1, 1, 3, 3)])
@pytest.mark.parametrize("lie", [np.array, unaligned])
def test_even_filters(shape, lie):
    w = RNG.standard_normal(shape).astype(np.float32)
    squares = np.square(w.reshape(shape[0], -1), dtype=np.float64)
    peak = squares.max(1)
    assert packing.even_filters(lie(w)) == bool((peak <= 64 * (squares.sum(1) - peak)).all())
    uneven = w.copy()
    uneven[-1] = 0
    assert packing.even_filters(lie(uneven)) == packing.even_filters(lie(w[:-1]))   # a filter of zeros is even
    uneven[-1, -1, -1, -1] = 1
    assert not packing.even_filters(lie(uneven))
    for odd in (np.inf, np.nan):
        uneven = w.copy()
        uneven[0, 0, 1, 1] = odd
        assert not packing.even_filters(lie(uneven))


@pytest.mark.parametrize("shape", [(3, 5, 3, 3), (70, 131, 1, 1), (4, 9000), (1, 1), (33, 31)])
@pytest.mark.parametrize("lie", [np.array, unaligned])
def test_squares_and_scaled_weights(shape, lie, backend):
    sizes = 10 ** RNG.uniform(-25, 25, (shape[0],) + (1,) * (len(shape) - 1))
    w = (RNG.standard_normal(shape) * sizes).astype(np.float32)
    kernels, found = getattr(_C, backend).f32, np.full((shape[0], 2), np.nan)
    kernels.weight_squares(packing.as_bytes(lie(w)), found)
    squares = np.square(w.reshape(shape[0], -1), dtype=np.float64)
    assert np.allclose(found[:, 0], squares.sum(1), rtol=1e-13, atol=0)
    assert np.array_equal(found[:, 1], squares.max(1))
    for axis in (0, 1):
        factors = RNG.standard_normal(shape[axis])
        made = lie(np.full_like(w, np.nan))
        inner = w[(0,) * (axis + 1)].size if w.size else 1
        kernels.scale_weights(packing.as_bytes(lie(w)), factors, inner, packing.as_bytes(made))
        by = factors.reshape([-1 if a == axis else 1 for a in range(w.ndim)])
        assert np.array_equal(made, (w.astype(np.float64) * by).astype(np.float32))


@pytest.mark.parametrize("filters,features", [(16, 3), (33, 20), (5, 64), (48, 1)])
def test_turned_rows_are_packed_as_others(filters, features, backend):
    w = RNG.standard_normal((filters, features)).astype(np.float32)
    kernels = getattr(_C, backend).f32
    want = packing.linear(kernels, w)
    for turned in (np.ascontiguousarray(w.T).T, unaligned(np.ascontiguousarray(w.T)).T, unaligned(w)):
        assert np.array_equal(packing.linear(kernels, turned), want)
        image = turned[:, :, None, None]
        assert np.array_equal(packing.direct(kernels, image), packing.direct(kernels, w[:, :, None, None]))
        assert packing.finite(image) and packing.finite(turned)
    factors = RNG.standard_normal((filters, 1))
    made = fold_batch_norm.scaled(np.ascontiguousarray(w.T).T, factors.shape, factors.tobytes())
    assert np.array_equal(made, (w.astype(np.float64) * factors).astype(np.float32))
    broken = np.array(np.broadcast_to(w, (300, *w.shape)))   # more numbers than are looked at one by one
    broken[-1, -1, -1] = np.nan
    assert not packing.finite(broken.T)


@pytest.mark.parametrize("shape", [(16, 16, 9), (33, 20, 9), (5, 40, 1), (48, 3, 25), (17, 1, 49), (16, 31, 3)])
def test_packed_weights(shape, backend):
    w, kernels = RNG.standard_normal(shape).astype(np.float32), getattr(_C, backend).f32
    filters, channels, taps = shape
    whole = np.zeros((packing.rounded(filters), packing.rounded(channels), taps), np.float32)
    whole[:filters, :channels] = w
    want = whole.reshape(-1, 16, whole.shape[1] // 16, 16, taps).transpose(0, 2, 4, 3, 1)
    made = np.full((len(want), want[0].size // 16, 16), np.nan, np.float32)
    kernels.pack_weights(w, made)
    assert np.array_equal(made, want.reshape(made.shape))
    rows = w.reshape(filters, -1, 1)   # no channels are added
    made = np.full((len(want), channels * taps, 16), np.nan, np.float32)
    kernels.pack_weights(rows, made)
    assert np.array_equal(made, whole[:, :channels].reshape(-1, 16, channels * taps).transpose(0, 2, 1))


@pytest.mark.parametrize("taps,tile", [(3, 4), (3, 6), (5, 4), (5, 6), (7, 2), (7, 4)])
@pytest.mark.parametrize("filters,channels", [(16, 16), (33, 37), (5, 1)])
def test_filters_along_a_line(filters, channels, taps, tile, backend):
    """Sums of exact products in double, as exact ones round."""
    w, kernels = RNG.standard_normal((filters, channels, taps)).astype(np.float32), getattr(_C, backend).f32
    u = line.transformed(kernels, w, tile)
    unit = np.zeros((packing.rounded(taps), 1, taps), np.float32)
    unit[:taps, 0] = np.eye(taps)
    g = line.transformed(kernels, unit, tile)[0, :, 0, :taps].astype(np.float64)
    want = np.einsum("it,kct->kic", g, w.astype(np.float64))
    found = u.transpose(0, 3, 1, 2).reshape(-1, tile + taps - 1, channels)
    scale = np.abs(g).sum(1).max() * np.abs(w).max()
    assert np.abs(found[:filters] - want).max() <= 2 * np.finfo(np.float32).eps * scale
    assert not found[filters:].any()


def test_filters_at_odd_addresses_are_packed_as_others(backend):
    w, kernels = RNG.standard_normal((20, 18, 3, 3)).astype(np.float32), getattr(_C, backend).f32
    assert np.array_equal(packing.direct(kernels, unaligned(w)), packing.direct(kernels, w))
    assert np.array_equal(packing.winograd(kernels, unaligned(w), 4), packing.winograd(kernels, w, 4))
    assert np.array_equal(packing.contiguous(unaligned(w)), w) and packing.contiguous(unaligned(w)).flags.carray


@pytest.mark.parametrize("shape", [(3, 5), (16, 16), (33, 40), (1, 1), (70, 131)])
@pytest.mark.parametrize("lie", [np.array, unaligned])
def test_parities_of_transposed_filters(shape, lie, backend):
    w = RNG.standard_normal((*shape, 4, 4)).astype(np.float32)
    kernels, found = getattr(_C, backend).f32, np.full((shape[1], 4, 2), np.nan)
    kernels.parity_squares(packing.as_bytes(lie(w)), found)
    parts = packing.transposed_parities(w, (0, 0))
    squares = np.square(parts.reshape(4, shape[1], -1), dtype=np.float64).swapaxes(0, 1)
    assert np.allclose(found[..., 0], squares.sum(2), rtol=1e-13, atol=0)
    assert np.array_equal(found[..., 1], squares.max(2))
    assert packing.even_parities(lie(w)) == all(map(packing.even_filters, parts))
    for padding in [(0, 0), (1, 1), (1, 2), (2, 3)]:
        want = packing.square(kernels, packing.transposed_parities(w, padding))
        assert np.array_equal(packing.transposed_square(kernels, lie(w), padding), want)


@pytest.mark.parametrize("padding", [0, 1])
def test_transposed_filters_that_are_made_in_the_run(padding, monkeypatch):
    monkeypatch.setenv("PYOPS_FORCE_ALGO", "stride_two")
    x = RNG.standard_normal((2, 17, 9, 11)).astype(np.float32)
    w = RNG.standard_normal((17, 21, 4, 4)).astype(np.float32)
    lean, fast = (pyops.compile(lambda x: F.conv_transpose2d(x, w, stride=2, padding=padding), x, memory=way)
                  for way in ("lean", "fast"))
    assert [s.algorithm for s in lean.steps if s.kernel == "winograd_transposed"] == ["stride_two"]
    want = F.conv_transpose2d(x.astype(np.float64), w.astype(np.float64), stride=2, padding=padding)
    for program in (lean, fast):
        assert np.abs(program(x) - want).max() < 2e-5 * np.abs(want).max()
