"""Sums of layers of one input become one layer (passes/merge_branches.py): held to float64, and to how
many convolutions are left."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend

RNG = np.random.default_rng(5)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def numbers(channels):
    """Of a batch norm: mean, variance, weight, bias."""
    return drawn(channels), RNG.uniform(0.5, 2, channels).astype(np.float32), drawn(channels), drawn(channels)


def checked(function, x, *constants):
    """The program's convolutions and the names of all steps, after its answer was held to the reference's in
    float64."""
    program = pyops.compile(lambda x: function(x, *constants), x)
    with use_backend("reference"):
        want = function(*(a.astype(np.float64) for a in (x, *constants)))
    got = np.asarray(program(x))
    assert got.shape == want.shape and np.abs(got - want).max() <= 2e-5 * np.abs(want).max()
    steps = [step for step in program.steps if step.kernel != "winograd_weights"]   # filters made in the run
    return [step.op for step in steps if "conv" in step.op], [step.op for step in steps]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 4, 32])
def test_branches_of_a_block_in_training_form(groups, stride):
    def block(x, three, one, bias, *norm):
        y = F.conv2d(x, three, bias, stride, 1, 1, groups) + F.conv2d(x, one, None, stride, 0, 1, groups)
        return F.relu(y + F.batch_norm(x, *norm) if stride == 1 else y)
    convolutions, steps = checked(block, drawn(2, 32, 11, 9), drawn(32, 32 // groups, 3, 3),
                                  drawn(32, 32 // groups, 1, 1), drawn(32), *numbers(32))
    assert convolutions == ["conv+act"] and "batch_norm" not in steps


def test_an_order_that_does_not_matter():
    def block(x, u, v, w):
        a, b, c = (F.conv2d(x, each, None, 1, 1) for each in (u, v, w))
        return F.relu((F.tanh(x) + a) + (b + (c + F.exp(x))))
    assert len(checked(block, drawn(1, 16, 8, 8), *(drawn(16, 16, 3, 3) for _ in range(3)))[0]) == 1


def test_the_input_itself_beside_a_depthwise_layer():
    def block(x, taps, bias):
        x = F.relu(x)
        return F.relu(F.conv2d(x, taps, bias, 1, (2, 1), 1, 24) + x)
    assert checked(block, drawn(2, 24, 9, 10), drawn(24, 1, 5, 3), drawn(24))[0] == ["conv+act"]


def test_smaller_filters_of_one_axis_and_a_batch_norm_behind_the_sum():
    def block(x, square, row, column, *norm):
        return F.batch_norm(F.conv2d(x, square, None, 1, 1) + F.conv2d(x, row, None, 1, (0, 1))
                            + F.conv2d(x, column, None, 1, (1, 0)), *norm)
    assert checked(block, drawn(1, 8, 12, 12), drawn(16, 8, 3, 3), drawn(16, 8, 1, 3), drawn(16, 8, 3, 1),
                   *numbers(16))[0] == ["conv"]


def test_one_axis():
    def block(x, three, one):
        return F.conv1d(x, three, None, 1, 1) + F.conv1d(x, one)
    assert len(checked(block, drawn(2, 16, 30), drawn(16, 16, 3), drawn(16, 16, 1))[0]) == 1


@pytest.mark.parametrize("size, padding, left", [(1, 0, 1), (3, 1, 2)])
def test_dilated_taps(size, padding, left):
    def block(x, wide, other):
        return F.conv2d(x, wide, None, 1, 2, 2) + F.conv2d(x, other, None, 1, padding)
    assert len(checked(block, drawn(1, 8, 12, 12), drawn(8, 8, 3, 3), drawn(8, 8, size, size))[0]) == left


@pytest.mark.parametrize("left", ["read again", "an output", "a factor", "another stride", "another input", "wider",
                                  "one is not finite"])
def test_what_stays_as_it_is(left):
    x = drawn(1, 16, 10, 10)
    w, v = drawn(16, 16, 3, 3), drawn(16, 16, 3, 3)
    if left == "one is not finite":
        v[0, 0, 1, 1] = np.inf

    def block(x):
        a = F.conv2d(x, w, None, 1, 1)
        if left == "another stride":
            return a[:, :, ::2, ::2] + F.conv2d(x, v, None, 2, 1)
        if left == "wider":   # neither lies within the other
            return F.conv2d(x, w[:, :, :1], None, 1, (0, 1)) + F.conv2d(x, v[:, :, :, :1], None, 1, (1, 0))
        b = F.conv2d(F.relu(x) if left == "another input" else x, v, None, 1, 1)
        if left == "read again":
            return (a + b) * F.sigmoid(b)
        if left == "an output":
            return a + b, b
        return F.add(a, b, alpha=0.5) if left == "a factor" else a + b
    program = pyops.compile(block, x)
    assert len({step.value for step in program.steps if "conv" in step.op}) == 2


@pytest.mark.parametrize("filters, channels", [(0, 8), (8, 0), (0, 0)])
def test_filters_of_which_there_are_none(filters, channels):
    w, x = np.zeros((filters, channels, 3, 3), np.float32), np.zeros((2, channels, 6, 5), np.float32)

    def block(x):
        return F.conv2d(x, w, None, 1, 1) + F.conv2d(x, w[:, :, 1:2, 1:2])
    got = np.asarray(pyops.compile(block, x)(x))
    assert got.shape == (2, filters, 6, 5) and not got.any()
