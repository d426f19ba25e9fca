"""Pooling of compiled programs against torch in float64; maxima are compared bit for bit."""
import numpy as np
import pytest
from maps import Image, MapOut, PlanarOut, check, run

torch = pytest.importorskip("torch")
TF = torch.nn.functional

# (name of what it catches, n, channels, (h, w), kernel, stride, padding, dilation, ceil_mode)
MAX_CASES = [
    ("3x3/2 of a stem", 1, 20, (30, 28), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ("3x3/2, windows over the end", 2, 16, (14, 15), (3, 3), (2, 2), (0, 0), (1, 1), True),
    ("3x3", 3, 33, (14, 17), (3, 3), (1, 1), (1, 1), (1, 1), False),
    ("2x2/2", 1, 16, (16, 34), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ("2x2/2 of odd sizes, windows over the end", 1, 16, (15, 9), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ("2x2/2 with padding", 1, 16, (7, 8), (2, 2), (2, 2), (1, 1), (1, 1), False),
    ("5x5 of SPP", 1, 40, (20, 13), (5, 5), (1, 1), (2, 2), (1, 1), False),
    ("13x9", 1, 16, (20, 17), (13, 9), (1, 1), (6, 4), (1, 1), False),
    ("a tile's width, another height", 1, 16, (12, 11), (5, 3), (3, 2), (2, 1), (1, 1), False),
    ("rows of 1 with stride 2", 1, 16, (9, 12), (1, 3), (2, 1), (0, 1), (1, 1), False),
    ("dilated columns", 1, 16, (12, 13), (3, 3), (1, 1), (1, 1), (1, 2), False),
    ("dilated rows", 2, 16, (12, 13), (3, 3), (2, 2), (1, 1), (3, 1), True),
    ("one window over all", 1, 16, (7, 7), (7, 7), (1, 1), (0, 0), (1, 1), False),
    ("a line", 2, 20, (1, 50), (1, 3), (1, 2), (0, 1), (1, 1), False),
    ("a single pixel", 1, 1, (1, 1), (3, 3), (2, 2), (1, 1), (1, 1), False),
]
# (name, n, channels, (h, w), kernel, stride, padding, ceil_mode, count_include_pad, divisor)
AVG_CASES = [
    ("3x3 of Inception, padding counted", 1, 20, (17, 19), (3, 3), (1, 1), (1, 1), False, True, 0),
    ("3x3, padding not counted", 2, 16, (17, 18), (3, 3), (1, 1), (1, 1), False, False, 0),
    ("2x2/2 of DenseNet", 3, 32, (14, 14), (2, 2), (2, 2), (0, 0), False, True, 0),
    ("2x2/2 over the end: the rest is not counted", 1, 16, (15, 13), (2, 2), (2, 2), (0, 0), True, True, 0),
    ("3x3/2 over padding and end", 1, 16, (14, 14), (3, 3), (2, 2), (1, 1), True, True, 0),
    ("3x3/2 over padding and end, padding not counted", 1, 16, (14, 15), (3, 3), (2, 2), (1, 1), True, False, 0),
    ("divisor", 1, 16, (14, 15), (3, 3), (2, 2), (1, 1), False, True, 5),
    ("7x4/3", 1, 35, (23, 22), (7, 4), (3, 3), (3, 2), True, False, 0),
    ("7x4, divisor", 1, 16, (23, 22), (7, 4), (3, 2), (3, 2), False, True, 3),
    ("5x5", 1, 16, (9, 30), (5, 5), (1, 1), (2, 2), False, True, 0),
    ("a line", 2, 20, (1, 50), (1, 4), (1, 2), (0, 2), True, True, 0),
]
ADAPTIVE = [(1, 20, (7, 7), (1, 1)), (2, 16, (13, 11), (6, 4)), (1, 16, (5, 3), (7, 7)),
            (1, 35, (14, 14), (7, 7)), (1, 16, (60, 61), (3, 2))]


def ids(cases):
    return [c[0] for c in cases]


def images(n, c, size, seed=0):
    return np.random.default_rng(seed).standard_normal((n, c, *size), np.float32)


@pytest.mark.parametrize("case", MAX_CASES, ids=ids(MAX_CASES))
@pytest.mark.parametrize("special", [0.0, np.nan, np.inf, -np.inf])
def test_max_pool(backend, case, special):
    _, n, c, size, kernel, stride, padding, dilation, ceil = case
    x = images(n, c, size)
    if special:   # in a corner, within, and both infinities side by side, whose sum is NaN
        x[:, 0, 0, 0] = x[-1, :, size[0] // 2, size[1] // 2] = special
        x[0, -1, -1, -1] = -special
        x[0, -1, -1, max(0, size[1] - 2)] = special
    want = max_pool(x, kernel, stride, padding, dilation, ceil)
    check(backend, "max_pool_blocked", Image(x), (kernel, stride, padding, dilation), MapOut(want.shape),
          want=want, tolerance=0)


def max_pool(x, kernel, stride, padding, dilation, ceil):
    """A maximum is one of the inputs: torch in single precision is exact."""
    return TF.max_pool2d(torch.from_numpy(x), kernel, stride, padding, dilation, ceil).numpy()


@pytest.mark.parametrize("case", AVG_CASES, ids=ids(AVG_CASES))
def test_avg_pool(backend, case):
    _, n, c, size, kernel, stride, padding, ceil, include, divisor = case
    x = images(n, c, size)
    want = TF.avg_pool2d(torch.from_numpy(x).double(), kernel, stride, padding, ceil, include,
                         divisor or None).numpy()
    check(backend, "avg_pool_blocked", Image(x), (kernel, stride, padding, (1, 1)),
          divisor or (0 if include else -1), MapOut(want.shape), want=want, tolerance=8)


@pytest.mark.parametrize("n, c, size, out", ADAPTIVE)
def test_adaptive_avg_pool(backend, n, c, size, out):
    x = images(n, c, size)
    want = TF.adaptive_avg_pool2d(torch.from_numpy(x).double(), out).numpy()
    check(backend, "adaptive_avg_pool_blocked", Image(x), MapOut(want.shape), want=want, tolerance=8)


@pytest.mark.parametrize("n, c, size", [(1, 40, (7, 7)), (3, 17, (1, 1)), (2, 16, (56, 57)), (1, 5, (3, 2))])
def test_global_avg_pool(backend, n, c, size):
    x = images(n, c, size)
    check(backend, "global_avg_pool", Image(x), PlanarOut((n, c)), want=x.astype(np.float64).mean((2, 3)),
          tolerance=8)


def test_nan_stays_in_its_sample_and_window(backend):
    x = images(2, 16, (40, 40))
    x[0, 5, 20, 20] = np.nan
    y, = run(backend, "max_pool_blocked", Image(x), ((3, 3), (1, 1), (1, 1), (1, 1)), MapOut(x.shape))
    seen = np.isnan(y)
    assert seen[0, 5, 19:22, 19:22].all() and seen.sum() == 9
