"""Sums of stacked images, in programs (graph/passes/sums_of_stacks.py)."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import nn

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(2, 48, 5, 7)
LAYERS = [nn.Conv2d(48, 20, 3, padding=1) for _ in range(3)]


def gates(stack):
    """A number a sample, image and channel."""
    each = F.mean(F.sum(stack, dim=1), dim=(2, 3), keepdim=True)
    return F.softmax(F.mul(F.stack([each] * stack.shape[1], dim=1), np.arange(stack.shape[1], dtype=np.float32).reshape(
        1, -1, 1, 1, 1)), dim=1)


def stack(x, count):
    return F.stack([F.relu(layer(x)) for layer in LAYERS[:count]], dim=1)


def channels(x, count):
    return F.reshape(x, (2, count, 48 // count, 5, 7))


STACKS = {"two layers": lambda x: stack(x, 2), "three layers": lambda x: stack(x, 3),
          "halves of channels": lambda x: channels(x, 2), "sixths of channels": lambda x: channels(x, 6)}


def check(model, x=X):
    program = pyops.compile(model, x)
    with pyops.no_grad():
        want = np.asarray(model(pyops.Tensor(x)).data)
    np.testing.assert_allclose(program(x), want, rtol=1e-5, atol=1e-5)
    return program


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("chosen", [False, True])
def test_images_are_added_one_to_another(name, chosen):
    def model(x):
        s = STACKS[name](x)
        return F.relu(F.sum(F.mul(s, gates(s)) if chosen else s, dim=1))
    steps = check(model).steps
    assert not any(len(s.shape) == 5 and s.shape[3:] == (5, 7) for s in steps)


def test_numbers_first_and_an_axis_from_the_end():
    check(lambda x: F.sum(F.mul(gates(s := stack(x, 2)), s), dim=-4))


@pytest.mark.parametrize("model", [
    lambda x: F.sum(channels(x, 2), dim=1, keepdim=True),
    lambda x: F.sum(channels(x, 2), dim=(1, 2)),
    lambda x: F.sum(channels(x, 2), dim=2),
    lambda x: F.mean(channels(x, 2), dim=1),
    lambda x: F.sum(channels(x, 16), dim=1),
    lambda x: F.sum(F.mul(s := channels(x, 2), F.sigmoid(s)), dim=1),
    lambda x: F.add(F.sum(m := F.mul(s := channels(x, 2), gates(s)), dim=1), m[:, 0]),
    lambda x: F.sum(F.cat([channels(x, 2), F.relu(channels(x, 2))], dim=1), dim=1),
    lambda x: F.sum(F.reshape(F.permute(x, (0, 2, 3, 1)), (2, 5, 7, 6, 8)), dim=1),
])
def test_other_sums(model):
    check(model)


def test_whole_numbers_and_single_pixels():
    check(lambda x: F.sum(F.reshape(x, (2, 2, 24, 1, 1)), dim=1), normal(2, 48, 1, 1))
    x = RNG.integers(-9, 9, (2, 48, 5, 7))
    program = pyops.compile(lambda v: F.sum(F.reshape(v, (2, 2, 24, 5, 7)), dim=1), x)
    assert np.array_equal(program(x), x.reshape(2, 2, 24, 5, 7).sum(1))
