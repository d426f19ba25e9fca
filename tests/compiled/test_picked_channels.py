"""Channels put in another order stay in blocked layout, however that is written down; what is more than
such an order runs as ever."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph import contracts
from pyops.graph.passes import pick_channels

RNG = np.random.default_rng(5)
PLANAR = {"strided_copy", "take"}


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def conv(x, filters, size=1):
    weight = np.random.default_rng(filters).standard_normal((filters, x.shape[1], size, size), np.float32)
    return F.conv2d(x, weight, None, 1, size // 2)


def split_axes(x, groups):
    n, c, h, w = x.shape
    return F.reshape(F.permute(F.reshape(x, (n, groups, c // groups, h, w)), (0, 2, 1, 3, 4)), (n, c, h, w))


def of_rows(x, groups):
    """Pixels as one axis."""
    n, c, h, w = x.shape
    return F.reshape(F.transpose(F.reshape(x, (n, groups, c // groups, h * w)), 1, 2), (n, c, h, w))


def of_samples(x, groups):
    """Samples and channels as one axis, and halves as the first one."""
    n, c, h, w = x.shape
    y = F.reshape(F.permute(F.reshape(x, (n * c // 2, 2, h * w)), (1, 0, 2)), (2, n, c // 2, h, w))
    return F.cat([y[0], y[1]], 1)


WAYS = [F.channel_shuffle, split_axes, of_rows, of_samples]


def kernels(function, x):
    """Those of the program, which answers as single calls do."""
    program = pyops.compile(function, x)
    want, got = np.asarray(function(x)), program(x)
    assert got.shape == want.shape and np.abs(got - want).max(initial=0) <= 1e-4 * np.abs(want).max(initial=1)
    return [step.kernel for step in program.steps]


@pytest.mark.parametrize("way, groups, channels", [
    (way, groups, channels) for way in WAYS for groups, channels in [(2, 58), (2, 116), (4, 36), (3, 21)]
    if way is not of_samples or groups == 2])   # that one makes halves
@pytest.mark.parametrize("samples", [1, 2])
def test_shuffled_between_convolutions(way, groups, channels, samples):
    called = kernels(lambda x: conv(way(conv(x, channels), groups), 20), drawn(samples, 8, 6, 7))
    assert "pick_channels" in called and not PLANAR & set(called) and called.count("from_blocked") == 1


def test_two_parts_are_shuffled_where_they_lie():
    """Neither joined first nor cut afterwards: each half is picked from both."""
    def unit(x):
        y = split_axes(F.cat([conv(x, 29), conv(x, 29, 3)], 1), 2)
        return F.cat([y[:, :29], F.relu(conv(y[:, 29:], 29))], 1)
    called = kernels(lambda x: conv(unit(unit(x)), 16), drawn(2, 20, 5, 9))
    assert [called.count(name) for name in ("pick_channels", "copy_channels", "from_blocked")] == [4, 4, 1]
    assert not PLANAR & set(called)


def test_joined_parts_that_others_read_too():
    def function(x):
        y = F.cat([conv(x, 29), conv(x, 13, 3)], 1)
        return F.add(F.channel_shuffle(y, 7), y)
    assert kernels(function, drawn(1, 8, 5, 9)).count("pick_channels") == 1


def test_parts_of_whole_blocks_and_answers():
    kernels(lambda x: F.channel_shuffle(F.cat([conv(x, 32), conv(x, 16)], 1), 3), drawn(2, 8, 5, 9))
    kernels(lambda x: F.channel_shuffle(F.cat([conv(x, 5), x], 1), 13), drawn(2, 8, 5, 9))
    kernels(lambda x: F.channel_shuffle(F.cat([x, F.relu(x)], 1), 8), drawn(2, 8, 5, 9))


@pytest.mark.parametrize("function", [
    lambda y: y[:, ::3], lambda y: y[:, 5:29:4], lambda y: split_axes(split_axes(y, 2), 3)[:, 7:11],
    lambda y: F.reshape(y, (2, 6, 5, 4, 4))[:, :, 3],
    lambda y: F.reshape(y[:, 4:28], (2, 2, 12, 4, 4))[:, 1, 1::2],
    lambda y: F.cat([split_axes(y, 5), y], 1)[:, 20:50:2]])
def test_other_ways_to_pick(function):
    assert "pick_channels" in kernels(lambda x: conv(function(conv(x, 30)), 17), drawn(2, 8, 4, 4))


@pytest.mark.parametrize("function", [
    lambda y: F.permute(y, (0, 1, 3, 2)), lambda y: F.permute(y, (1, 0, 2, 3)),
    lambda y: F.permute(y, (0, 3, 2, 1)), lambda y: F.reshape(y, (4, 4, 2, 4)), lambda y: y[:, 1],
    lambda y: F.reshape(F.permute(F.reshape(y, (4, 2, 2, 2, 4)), (0, 2, 1, 3, 4)), (4, 4, 4, 2)),
    lambda y: F.reshape(F.transpose(F.reshape(y, (4, 2, 2, 8)), 2, 3), (4, 4, 2, 4)),
    lambda y: y[:, ::2, ::2], lambda y: y[::2, ::2], lambda y: y[:, 3:3], lambda y: y[..., None, ::2, :, :]])
def test_more_than_an_order_of_channels(function):
    assert "pick_channels" not in kernels(lambda x: F.relu(function(conv(x, 4))), drawn(4, 8, 2, 4))


def test_samples_that_there_are_none_of():
    x = drawn(0, 8, 3, 3)
    assert pyops.compile(lambda x: conv(F.channel_shuffle(conv(x, 20), 2), 8), x)(x).shape == (0, 8, 3, 3)


def test_sizes_as_they_come():
    program = pyops.compile(lambda x: conv(split_axes(conv(x, 20), 2), 8), drawn(2, 8, 3, 3),
                            dynamic={0: {0: None, 2: None, 3: None}})
    for shape in ((2, 8, 3, 3), (1, 8, 5, 7), (3, 8, 1, 1)):
        x = drawn(*shape)
        want = np.asarray(conv(split_axes(conv(x, 20), 2), 8))
        assert np.abs(program(x) - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("axes", [(2, 3), (3, 2), (6,), (1, 6, 1), (2, 1, 3)])
def test_axes_that_are_split_and_joined(axes):
    """As NumPy splits them, where their entries are such sums."""
    whole = np.add.outer(np.arange(2) * 3, np.arange(3) * 50).reshape(-1)
    found = pick_channels.reshaped([np.arange(2) * 3, np.arange(3) * 50], axes)
    if axes == (3, 2):
        assert found is None
        return
    for axis in found:
        assert axis[0] == 0
    sums = found[0]
    for axis in found[1:]:
        sums = np.add.outer(sums, axis)
    assert np.array_equal(sums.reshape(-1), whole) and sums.shape == axes


@pytest.mark.parametrize("lanes, count", [([0, 48], 2), ([-1, 3], 2), ([0, 1, 2], 17), ([], 0)])
def test_forged_tables_are_refused(lanes, count):
    x, y = ((0, 0, 0, (1, blocks, 2, 2, 16), blocks * 64) for blocks in (2, max(1, -(-count // 16))))
    z = (0, 0, 8192, (1, 1, 2, 2, 16), 64)
    table = np.array(lanes, np.int64)
    with pytest.raises(contracts.Refused):
        contracts.check("pick_channels", (x, z, table, y), contracts.Spaces(1 << 16, [], []))
