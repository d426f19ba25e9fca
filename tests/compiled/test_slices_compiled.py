"""Some channels of an image in blocked layout are read where they lie, or copied where they begin within a
block; other indices run as ever."""
import numpy as np
import pytest

import pyops
import pyops.functional as F

RNG = np.random.default_rng(3)


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def compiled(function, x):
    program = pyops.compile(function, x)
    want, got = function(pyops.Tensor(x)), program(x)
    assert np.abs(np.asarray(got) - np.asarray(want)).max() <= 1e-4 * np.abs(np.asarray(want)).max()
    return [step.kernel for step in program.steps]


@pytest.mark.parametrize("first, last, copies", [(0, 16, 0), (32, 48, 0), (16, 40, 0), (7, 31, 1), (-9, None, 1)])
def test_channels_between_convolutions(first, last, copies):
    a, b = drawn(48, 8, 3, 3), drawn(24, len(range(48)[first:last]), 3, 3)
    kernels = compiled(lambda x: F.conv2d(F.conv2d(x, a, None, 1, 1)[:, first:last], b, None, 1, 1), drawn(2, 8, 9, 11))
    assert kernels.count("slice_channels") == copies
    assert "strided_copy" not in kernels and kernels.count("from_blocked") == 1


def test_halves_that_are_changed_added_and_joined_again():
    """Neither half sees what the other becomes."""
    a, b, c = drawn(64, 16, 1, 1), drawn(32, 32, 3, 3), drawn(16, 96, 1, 1)

    def block(x):
        y = F.relu(F.conv2d(x, a))
        left, right = y[:, :32], y[:, 32:]
        grown = F.relu(F.conv2d(right, b, None, 1, 1) + right)
        return F.conv2d(F.cat([left + grown, right, grown], 1), c)
    assert "strided_copy" not in compiled(block, drawn(2, 16, 10, 7))


def test_a_half_that_is_an_answer_and_one_that_is_pooled():
    a = drawn(40, 16, 3, 3)

    def block(x):
        y = F.conv2d(x, a, None, 1, 1)
        return F.max_pool2d(y[:, :16], 2) + F.avg_pool2d(y[..., 24:, :, :], 2)
    compiled(block, drawn(1, 16, 8, 8))
    compiled(lambda x: F.conv2d(x, a, None, 1, 1)[:, 16:32], drawn(2, 16, 8, 8))


@pytest.mark.parametrize("index", [(slice(None), slice(0, 32, 2)), (slice(None), slice(16, 32), slice(1, None)), 1,
                                   (slice(0, 1), slice(16, 32)), (slice(None), 3), (slice(None), slice(5, 5)),
                                   (Ellipsis, slice(2, 5)), (slice(None), None)])
def test_other_indices(index):
    a = drawn(48, 8, 3, 3)
    program = pyops.compile(lambda x: F.conv2d(x, a, None, 1, 1)[index], x := drawn(2, 8, 9, 11))
    want = np.asarray(F.conv2d(x, a, None, 1, 1))[index]
    assert np.asarray(program(x)).shape == want.shape
    assert np.abs(np.asarray(program(x)) - want).max(initial=0) <= 1e-4


@pytest.mark.parametrize("samples", [0, 1])
def test_parts_of_maps_of_no_samples(samples):
    """A block of channels begins nowhere beyond a buffer of no bytes."""
    a, b = drawn(64, 8, 3, 3), drawn(64, 32, 3, 3)

    def joined(x):
        y = F.relu(F.conv2d(x, a, None, 1, 1))
        return F.conv2d(F.cat([y[:, 32:48], F.relu(F.conv2d(x, a[:16], None, 1, 1))], 1), b[:, :, :1, :1])
    for net in (joined, lambda x: F.conv2d(F.conv2d(x, a, None, 1, 1), b, None, 1, 1, groups=2)):
        x = drawn(samples, 8, 9, 11)
        assert pyops.compile(net, x)(x).shape == (samples, 64, 9, 11)
