"""Linear layers of compiled programs, with packed weights and with the model's own,
against float64 products."""
import numpy as np
import pytest
from maps import NONE, RELU, PlanarOut, Rows, check, per_channel, run

SIGMOID = ("sigmoid", 0.0, 0.0)
REFERENCE = {NONE: lambda v: v, RELU: lambda v: np.maximum(v, 0), SIGMOID: lambda v: 1 / (1 + np.exp(-v))}

# (name of what it catches, rows, features, filters, bias, activation)
CASES = [
    ("one row, several groups of blocks", 1, 300, 170, True, NONE),
    ("one row, chunks of features and a rest", 1, 1100, 64, True, RELU),
    ("one row of few features", 1, 3, 5, False, NONE),
    ("one feature", 7, 1, 33, True, NONE),
    ("two rows", 2, 129, 48, True, SIGMOID),
    ("rows of one tile", 6, 512, 49, True, NONE),
    ("tiles of unequal rows", 9, 513, 20, True, RELU),
    ("rows beyond a tile on every set", 17, 100, 65, True, NONE),
    ("features of whole vectors only", 5, 1024, 16, True, NONE),
    ("more rows than one task takes", 300, 40, 19, True, SIGMOID),
    ("one filter", 23, 77, 1, False, NONE),
    ("a panel in two pieces, blocks of unequal tiles", 31, 1100, 200, True, RELU),
    ("several panels, weights beyond a tile's", 300, 600, 130, True, NONE),
    ("all weights meet each tile, rows fetched ahead", 100, 120, 200, True, SIGMOID),
]


def arguments(case):
    _, rows, features, filters, bias, activation = case
    rng = np.random.default_rng(rows * 1000 + features)
    x = rng.standard_normal((rows, features), np.float32)
    weight = (rng.standard_normal((filters, features)) / np.sqrt(features)).astype(np.float32)
    b = rng.standard_normal(filters, np.float32) if bias else None
    want = x.astype(np.float64) @ weight.T.astype(np.float64) + (0 if b is None else b)
    return x, weight, b, activation, REFERENCE[activation](want)


def pack(weight):
    """(K, C) as (K / 16, C, 16)"""
    filters, features = weight.shape
    whole = np.zeros((-(-filters // 16) * 16, features), np.float32)
    whole[:filters] = weight
    return np.ascontiguousarray(whole.reshape(-1, 16, features).transpose(0, 2, 1))


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_linear_packed(backend, case):
    x, weight, b, activation, want = arguments(case)
    check(backend, "linear_packed", Rows(x), pack(weight), per_channel(b), activation, PlanarOut(want.shape),
          want=want, tolerance=16)


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_linear_rows(backend, case):
    x, weight, b, activation, want = arguments(case)
    check(backend, "linear_rows", Rows(x), weight, b, activation, PlanarOut(want.shape), want=want,
          tolerance=16)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 11, 24])
def test_a_row_is_the_same_in_any_company(backend, rows):
    rng = np.random.default_rng(rows)
    x, weight = rng.standard_normal((rows, 700), np.float32), rng.standard_normal((90, 700), np.float32)
    for kernel, w in (("linear_packed", pack(weight)), ("linear_rows", weight)):
        together, = run(backend, kernel, Rows(x), w, None, NONE, PlanarOut((rows, 90)))
        for i in range(rows):
            alone, = run(backend, kernel, Rows(x[i:i + 1].copy()), w, None, NONE, PlanarOut((1, 90)))
            assert np.array_equal(together[i], alone[0]), f"row {i} of {rows}, {kernel}"


def test_without_features_only_the_bias_is_left(backend):
    b = np.arange(20, dtype=np.float32) - 5
    want = np.maximum(b, 0)[None].repeat(3, 0)
    y, = run(backend, "linear_packed", Rows(np.empty((3, 0), np.float32)), np.empty((2, 0, 16), np.float32),
             per_channel(b), RELU, PlanarOut((3, 20)))
    assert np.array_equal(y, want)
