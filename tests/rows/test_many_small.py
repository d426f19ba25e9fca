"""Convolutions of many small images have samples in lanes, volumes and transposed ones go in blocks: what is not
finite reaches the outputs that see it and no others, and results do not depend on threads."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend

CALLS = [   # x, weight, settings
    ("conv2d", (35, 3, 6, 5), (9, 3, 3, 3), {"padding": 1}),
    ("conv_transpose2d", (35, 9, 4, 5), (9, 5, 3, 3), {"stride": 2, "padding": 1}),
    ("conv3d", (1, 16, 6, 9, 9), (17, 16, 3, 3, 3), {"stride": 2, "padding": 1}),
    ("conv3d", (3, 16, 8, 8, 8), (16, 16, 3, 3, 3), {"padding": 4, "dilation": 4}),
    ("conv_transpose3d", (1, 16, 5, 4, 4), (16, 16, 4, 4, 4), {"stride": 2, "padding": 1}),
    ("conv_transpose2d", (3, 16, 9, 8), (16, 20, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv_transpose1d", (1, 16, 300), (16, 20, 8), {"stride": 4, "padding": 2}),
]


@pytest.mark.parametrize("call, x, weight, settings", CALLS)
@pytest.mark.parametrize("spiked", [None, "x", "weight"])
def test_what_is_not_finite(backend, call, x, weight, settings, spiked):
    rng = np.random.default_rng(4)
    x, weight = rng.standard_normal(x, np.float32), rng.standard_normal(weight, np.float32)
    if spiked:
        (x if spiked == "x" else weight).reshape(-1)[7] = np.inf
    with np.errstate(invalid="ignore"), use_backend(backend):
        got = getattr(F, call)(x, weight, **settings)
        with use_backend("reference"):
            want = getattr(F, call)(x.astype(np.float64), weight.astype(np.float64), **settings)
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.isfinite(got), finite)
    np.testing.assert_allclose(got[finite], want[finite], rtol=0, atol=1e-5 * np.abs(want[finite]).max())


@pytest.mark.parametrize("call, x, weight, settings", CALLS)
def test_threads(backend, call, x, weight, settings):
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal(x, np.float32), rng.standard_normal(weight, np.float32)
    results = []
    for threads in (1, 2, 3):
        with use_backend(backend), pyops.num_threads(threads):
            results.append(getattr(F, call)(x, weight, **settings))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])
