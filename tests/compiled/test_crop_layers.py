"""Convolutions of which a part is wanted (passes/crop_layers.py), and activations behind views
(passes/fuse_activation.py): held to float64, and to the steps that are left."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend

RNG = np.random.default_rng(9)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def checked(function, x, *constants):
    """The names of the program's steps, after its answer was held to the reference's in float64."""
    program = pyops.compile(lambda x: function(x, *constants), x)
    with use_backend("reference"):
        want = function(*(a.astype(np.float64) for a in (x, *constants)))
    got = np.asarray(program(x))
    assert got.shape == want.shape and np.abs(got - want).max(initial=0) <= 2e-5 * np.abs(want).max(initial=0)
    return [step.op for step in program.steps]


@pytest.mark.parametrize("samples", [0, 1, 3])
@pytest.mark.parametrize("dilation", [1, 4])
def test_causal_layers(samples, dilation):
    cut = 2 * dilation

    def network(x, w, b, v, *norm):
        y = F.relu(F.conv1d(x, w, b, 1, cut, dilation)[:, :, :-cut])
        return F.relu(x + F.relu(F.batch_norm(F.conv1d(y, v, b, 1, cut, dilation), *norm)[..., :-cut]))
    steps = checked(network, drawn(samples, 20, 50), drawn(20, 20, 3), drawn(20), drawn(20, 20, 3), drawn(20),
                    RNG.uniform(0.5, 2, 20).astype(np.float32), drawn(20), drawn(20))
    assert "getitem" not in steps and "relu" not in steps


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("index", [np.s_[:, :, 1:], np.s_[..., :3], np.s_[:, :, 1:4, 1:-2], np.s_[:, :, :, -3:],
                                   np.s_[:, :5, 1:], np.s_[..., ::2], np.s_[1:, :, 1:], np.s_[..., 3:3]])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_parts_of_images(stride, index, padding):
    checked(lambda x, w, b: F.silu(F.conv2d(x, w, b, stride, padding)[index]), drawn(2, 16, 12, 13),
            drawn(24, 16, 3, 3), drawn(24))


@pytest.mark.parametrize("stride", [1, (1, 2), 2])
@pytest.mark.parametrize("index", [np.s_[:, :, :3], np.s_[..., :5], np.s_[:, :, 1:-1, 1:], np.s_[..., 1:-1, 1:-2]])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("channels, groups", [(20, 1), (20, 2), (32, 1)])
def test_parts_of_single_taps(stride, index, padding, channels, groups):
    checked(lambda x, w: F.conv2d(x, w, None, stride, padding, 1, groups)[index], drawn(3, channels, 9, 11),
            drawn(24, channels // groups, 1, 1))


def test_parts_of_single_taps_of_sequences():
    checked(lambda x, w: F.conv1d(x, w, padding=1)[..., :-3], drawn(2, 20, 50), drawn(24, 20, 1))


def test_a_part_that_is_not_all_that_is_read():
    def network(x, w):
        y = F.conv2d(x, w, None, 1, 1)
        return F.mean(y) + y[..., 1:]
    assert "getitem" in checked(network, drawn(1, 16, 8, 8), drawn(16, 16, 3, 3))


def test_activations_behind_tokens():
    def network(x, taps, bias, wide):
        tokens = F.gelu(F.permute(F.reshape(F.conv2d(x, taps, bias, 1, 1, 1, 24), (2, 24, 54)), (0, 2, 1)))
        return F.linear(tokens, wide)
    assert "gelu" not in checked(network, drawn(2, 24, 9, 6), drawn(24, 1, 3, 3), drawn(24), drawn(10, 24))


def test_an_activation_behind_a_view_that_others_read():
    def network(x, weight):
        tokens = F.reshape(F.conv2d(x, weight), (2, 24, 54))
        return F.tanh(tokens) + tokens
    assert "tanh" in checked(network, drawn(2, 24, 9, 6), drawn(24, 24, 1, 1))


@pytest.mark.parametrize("length, padding, dilation, taps", [(2, 8, 2, 5), (9, 8, 2, 5), (20, 4, 2, 5), (6, 2, 1, 3)])
def test_single_outputs(length, padding, dilation, taps):
    """Of most of them all taps but one lie outside: what is left is no layer of one tap, whose image would be as
    long as its result."""
    x, w = drawn(2, 48, length), drawn(8, 48, taps)
    for at in range(length + 2 * padding - (taps - 1) * dilation):
        checked(lambda x, w, at=at: F.conv1d(x, w, None, 1, padding, dilation)[..., at:at + 1], x, w)
