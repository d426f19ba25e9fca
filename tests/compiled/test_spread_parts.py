"""Parts of a concatenation that are the same at all pixels (passes/spread_parts.py), and reductions and
numbers over pixels in blocked layout: held to float64, and to the steps that are left."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend

RNG = np.random.default_rng(7)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def checked(function, x, *constants):
    """The program's steps, after its answer was held to the reference's in float64."""
    program = pyops.compile(lambda x: function(x, *constants), x)
    with use_backend("reference"):
        want = function(*(a.astype(np.float64) for a in (x, *constants)))
    got = np.asarray(program(x))
    assert got.shape == want.shape and np.abs(got - want).max(initial=0) <= 1e-5 * np.abs(want).max(initial=0)
    return [step.op for step in program.steps]




@pytest.mark.parametrize("samples", [0, 1, 3])
def test_what_points_are_told_about_all(samples):
    def points(x, narrow, wide, bias):
        found = F.amax(F.relu(F.conv1d(x, narrow)), 2, True)
        told = F.broadcast_to(found, (*found.shape[:2], x.shape[2]))
        return F.relu(F.conv1d(F.cat([x, told, x], 1), wide, bias))
    if samples:
        steps = checked(points, drawn(samples, 20, 90), drawn(48, 20, 1), drawn(40, 88, 1), drawn(40))
        assert steps.count("broadcast_to") == 0 and sum("conv" in step for step in steps) == 3
    else:
        assert pyops.compile(lambda x: points(x, drawn(48, 20, 1), drawn(40, 88, 1), drawn(40)),
                             drawn(0, 20, 90))(drawn(0, 20, 90)).shape == (0, 40, 90)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("first", [True, False])
def test_a_mean_that_is_resized(mode, stride, first):
    def pooled(x, narrow, wide, bias):
        spread = F.interpolate(F.relu(F.conv2d(F.adaptive_avg_pool2d(x, 1), narrow)), x.shape[2:], mode=mode)
        return F.silu(F.conv2d(F.cat([spread, x] if first else [x, spread], 1), wide, bias, stride))
    steps = checked(pooled, drawn(2, 24, 9, 11), drawn(32, 24, 1, 1), drawn(20, 56, 1, 1), drawn(20))
    assert "resample" not in steps and "cat" not in steps


@pytest.mark.parametrize("left", ["few channels", "taps", "padding", "another reader", "all of it"])
def test_what_stays_as_it_is(left):
    def network(x, narrow, wide):
        told = F.broadcast_to(F.adaptive_avg_pool2d(F.conv2d(x, narrow), 1), (2, len(narrow), 9, 8))
        joined = F.cat([told] if left == "all of it" else [x, told], 1)
        y = F.conv2d(joined, wide, None, 1, 1 if left in ("taps", "padding") else 0)
        return F.cat([F.tanh(joined), y], 1) if left == "another reader" else y
    channels = 24 if left == "few channels" else 40
    taps = (3, 3) if left == "taps" else (1, 1)
    steps = checked(network, drawn(2, 16, 9, 8), drawn(channels, 16, 1, 1),
                    drawn(12, channels + (0 if left == "all of it" else 16), *taps))
    assert sum("conv" in step for step in steps) == 2


@pytest.mark.parametrize("pixels", [(90,), (9, 11), (1, 1)])
@pytest.mark.parametrize("channels", [20, 32])
@pytest.mark.parametrize("keepdim", [True, False])
def test_over_all_pixels(pixels, channels, keepdim):
    def network(x, weight):
        y = (F.conv1d if len(pixels) == 1 else F.conv2d)(x, weight)
        dims = tuple(range(2, y.ndim))
        return F.amax(y, dims, keepdim) - F.mean(y, dims, keepdim) + F.reshape(
            F.global_max_pool(y), (3, channels, *(1,) * (len(pixels) if keepdim else 0)))
    steps = checked(network, drawn(3, 16, *pixels), drawn(channels, 16, *(1,) * len(pixels)))
    assert "amax" in steps


def test_a_maximum_that_is_no_number():
    x, weight = drawn(2, 16, 30), drawn(16, 16, 1)
    x[1, 3, 7] = np.nan
    got = np.asarray(pyops.compile(lambda x: F.amax(F.conv1d(x, weight), 2), x)(x))
    assert np.isnan(got[1]).all() and not np.isnan(got[0]).any()


@pytest.mark.parametrize("pixels", [(90,), (9, 11)])
@pytest.mark.parametrize("op", [F.add, F.mul])
@pytest.mark.parametrize("order", [1, -1])
def test_a_number_a_sample_and_channel(pixels, op, order):
    def network(x, weight):
        y = (F.conv1d if len(pixels) == 1 else F.conv2d)(x, weight)
        return F.relu(op(*(y, F.mean(x, tuple(range(2, x.ndim)), True))[::order]))
    steps = checked(network, drawn(2, 20, *pixels), drawn(20, 20, *(1,) * len(pixels)))
    assert not any(step in ("cat", "copy") for step in steps)


@pytest.mark.parametrize("channels", [16, 20])
def test_sequences_side_by_side(channels):
    def network(x, one, other, last):
        return F.conv1d(F.cat([F.relu(F.conv1d(x, one)), F.conv1d(x, other)], -2), last, None, 1, 1)
    steps = checked(network, drawn(2, 16, 50), drawn(channels, 16, 1), drawn(24, 16, 1), drawn(8, channels + 24, 3))
    assert steps.count("to_blocked") <= 1
