"""Norms in blocked layout, and images whose channels come last, against NumPy in float64."""
from math import erf

import numpy as np
import pytest
from maps import NONE, RELU, Image, MapOut, PlanarOut, Rows, check, per_channel

from pyops.core.backends import BACKENDS

SHAPES = [(1, 1, 1, 1), (2, 16, 3, 5), (1, 20, 9, 11), (3, 40, 7, 7), (1, 131, 2, 19), (2, 33, 1, 16)]


def random(shape, seed=0, offset=0.0):
    return (np.random.default_rng(seed).standard_normal(shape) + offset).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_channels_last(backend, shape):
    x = random(shape)
    n, c, h, w = shape
    rows = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(n, h * w, c)
    check(backend, "last_to_blocked", Rows(rows), MapOut(shape), want=x, tolerance=0)
    check(backend, "last_from_blocked", Image(x), PlanarOut((n, h * w, c)), want=rows, tolerance=0)


def normalised(x, axes, eps):
    x = x.astype(np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offset, affine, act", [(0, True, NONE), (30, True, RELU), (3, False, NONE),
                                                 (1, True, ("gelu", 0.0, 0.0))])
def test_layer_norm(backend, shape, offset, affine, act):
    x = random(shape, offset=offset)
    weight, bias = (random(shape[1], seed) if affine else None for seed in (1, 2))
    want = normalised(x, 1, 1e-5)
    check(backend, "layer_norm_blocked", Image(x), shape[1], per_channel(weight), per_channel(bias), 1e-5, act,
          MapOut(shape), want=finished(want, weight, bias, act), tolerance=64 * (1 + offset))


@pytest.mark.parametrize("shape, groups", [
    ((1, 1, 1, 1), 1), ((2, 16, 3, 5), 4), ((1, 20, 9, 11), 1), ((3, 40, 7, 7), 8), ((1, 132, 2, 19), 33),
    ((2, 33, 1, 16), 3), ((2, 64, 40, 40), 2),
    ((1, 24, 17, 31), 24)])
@pytest.mark.parametrize("offset, affine, act", [(0, True, NONE), (30, True, RELU), (3, False, NONE)])
def test_group_norm(backend, shape, groups, offset, affine, act):
    x = random(shape, offset=offset)
    weight, bias = (random(shape[1], seed) if affine else None for seed in (1, 2))
    n, c, h, w = shape
    want = normalised(x.reshape(n, groups, -1), 2, 1e-5).reshape(shape)
    check(backend, "group_norm_blocked", Image(x), c, groups, per_channel(weight), per_channel(bias), 1e-5, act,
          MapOut(shape), want=finished(want, weight, bias, act), tolerance=64 * (1 + offset))


def finished(y, weight, bias, act):
    if weight is not None:
        y = y * weight.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)
    if act == RELU:
        return np.maximum(y, 0)
    return y * 0.5 * (1 + np.vectorize(erf)(y / np.sqrt(2))) if act[0] == "gelu" else y


@pytest.mark.parametrize("shape, dims", [((5, 37), (1, 0)), ((3, 40, 16), (0, 2, 1)), ((2, 19, 3, 33), (1, 3, 2, 0)),
                                         ((4, 3, 50), (2, 0, 1)), ((7, 1, 20), (2, 1, 0)), ((64, 64), (1, 0)),
                                         ((2, 3, 4, 5, 6), (4, 2, 0, 3, 1))])
def test_copies_of_turned_views(backend, shape, dims):
    x = random(shape)
    view = x.transpose(dims)
    larger = np.full(x.size + 128, 77, np.float32)
    y = larger[64:-64].reshape(view.shape)
    BACKENDS[backend].sets["f32"].strided_copy(x, tuple(s // 4 for s in view.strides), y)
    np.testing.assert_array_equal(y, view)
    assert (larger[:64] == 77).all() and (larger[-64:] == 77).all()
