"""Taps that no output sees within the image are taken from filters, and nothing else changes."""
import numpy as np
import pytest

import pyops
from pyops import functional as F
from pyops.core.backends import use_backend
from pyops.graph.compile import simplified
from pyops.graph.passes import trim_taps


def kernel_of(layer, x):
    graph, _ = simplified(layer, (x,))
    trim_taps.run(graph)
    return [node.inputs[1].shape[2:] for node in graph.nodes if node.op == "conv"]


@pytest.mark.parametrize("shape, kernel, settings, left", [
    ((1, 32, 9, 11), (3, 3), {"padding": 12, "dilation": 12}, (1, 1)),
    ((2, 20, 9, 30), (3, 3), {"padding": 10, "dilation": 10}, (1, 3)),
    ((1, 16, 9, 9), (5, 3), {"padding": (10, 1), "dilation": (5, 1)}, (3, 3)),
    ((1, 16, 9, 9), (3, 3), {"padding": 8, "dilation": 8}, (3, 3)),
    ((1, 16, 9, 9), (3, 3), {"padding": 9, "dilation": 9, "stride": 2}, (1, 1)),
    ((1, 16, 5, 5), (3, 3), {"padding": 2, "stride": 4}, (3, 3)),
    ((1, 16, 4, 4), (4, 4), {"padding": 6, "dilation": 3}, (4, 4)),
    ((1, 16, 3, 3), (1, 2), {"padding": (0, 4), "dilation": 5}, (1, 2)),
    ((1, 24, 7), (3,), {"padding": 7, "dilation": 7}, (1, 1)),   # a line is an image of one row
    ((1, 24, 7), (2,), {"padding": 0, "dilation": 3}, (1, 2)),
])
def test_the_same_answer(shape, kernel, settings, left):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    w, b = rng.standard_normal((24, shape[1], *kernel)).astype(np.float32), rng.standard_normal(24).astype(np.float32)
    conv = F.conv1d if len(kernel) == 1 else F.conv2d

    def layer(x, w=w, b=b):
        return conv(x, w, b, **settings)
    with use_backend("reference"):
        want = conv(*(a.astype(np.float64) for a in (x, w, b)), **settings)
    got = pyops.compile(layer, x)(x)
    assert got.shape == want.shape and np.abs(got - want).max() <= 2e-5 * np.abs(want).max()
    assert kernel_of(layer, x) == [left]


def test_filters_that_are_not_finite_keep_theirs():
    x, w = np.ones((1, 16, 5, 5), np.float32), np.ones((16, 16, 3, 3), np.float32)
    w[3, 2, 0, 0] = np.inf

    def layer(x):
        return F.conv2d(x, w, padding=9, dilation=9)
    assert kernel_of(layer, x) == [(3, 3)]
    with np.errstate(invalid="ignore"):
        assert np.isnan(pyops.compile(layer, x)(x)[:, 3]).all()
