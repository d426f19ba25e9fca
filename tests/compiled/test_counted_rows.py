"""Layers of rows of which a run says how many there are (graph/counted_rows.py, lowering/shortly.py): they
compute those alone, whatever lies behind them, in every layout."""


import numpy as np
import pytest
from poisoned import compiled, normal

import pyops
import pyops.functional as F
from pyops.graph.counted_rows import of_present, put_rows
from pyops.ops.places import NONZERO

F32 = np.float32


def regions(seed, k, images):
    draw = np.random.default_rng(seed)
    corner, size = draw.uniform(0, 12, (k, 2)), draw.uniform(1, 10, (k, 2))
    return np.concatenate([draw.integers(0, images, (k, 1)), corner, corner + size], 1).astype(F32)


W, B = normal(1, 40, 20, 3, 3) / 8, normal(2, 40)
WIDE, WIDER = normal(6, 40, 98) / 9, normal(7, 64, 32, 3, 3) / 12
DEEP, LINE, NARROW = normal(3, 40, 1, 3, 3), normal(4, 30, 40) / 4, normal(5, 24, 40, 4, 4) / 16


def halves(x):
    return F.conv2d(x, WIDER, None, 1, 1, 1, 2)


CHAINS = {
    "blocked convolutions": (lambda x: F.max_pool2d(F.relu(F.conv2d(x, W, B, padding=1)), 2), (20, 12, 12)),
    "winograd and residual": (lambda x: F.relu(F.add(F.conv2d(F.conv2d(x, W, B, padding=1), W[:, :1].repeat(40, 1),
                                                              None, padding=1), F.conv2d(x, W[..., 1:2, 1:2]))),
                              (20, 14, 14)),
    "groups": (lambda x: F.relu(F.add(F.conv2d(F.conv2d(x, W, B), W[:, :10], B, 1, 1, 1, 4), F.conv2d(x, W, B))),
               (20, 9, 8)),
    "wide groups": (lambda x: halves(halves(x)), (64, 13, 12)),
    "channels": (lambda x: F.cat([halves(x)[:, 5:25], F.conv2d(halves(x)[:, 32:], WIDER[:, :, :1, :1])], 1),
                 (64, 9, 8)),
    "branches": (lambda x: F.relu(halves(x) + F.conv2d(x, WIDER[:, :, 1:2, 1:2], None, 1, 0, 1, 2)), (64, 9, 8)),
    "strided": (lambda x: F.conv2d(F.conv2d(x, W, B, 2), NARROW, None, 2, 1), (20, 15, 13)),
    "depthwise": (lambda x: F.hardswish(F.conv2d(F.conv2d(x, W, B), DEEP, None, 1, 1, 1, 40)), (20, 9, 8)),
    "transposed": (lambda x: F.conv_transpose2d(F.conv2d(x, W, B), NARROW.transpose(1, 0, 2, 3).repeat(2, 0)[:40],
                                                None, 2, 1), (20, 7, 7)),
    "stem": (lambda x: F.conv2d(x, W[:, :3], B, 2, 1), (3, 18, 18)),
    "head": (lambda x: F.softmax(F.linear(F.relu(F.linear(F.flatten(x, 1), WIDE)), LINE), 1), (2, 7, 7)),
    "norms": (lambda x: F.layer_norm(F.group_norm(F.conv2d(x, W, B), 4), (6, 6)), (20, 8, 8)),
    "means": (lambda x: F.linear(F.flatten(F.adaptive_avg_pool2d(F.conv2d(x, W, B), 1), 1), LINE), (20, 6, 6)),
    "resized": (lambda x: F.interpolate(F.conv2d(x, W, B, padding=1), scale_factor=2, mode="nearest"), (20, 5, 5)),
    "gated": (lambda x: F.mul(F.conv2d(x, W, B), F.sigmoid(F.adaptive_avg_pool2d(F.conv2d(x, W, B), 1))), (20, 6, 7)),
    "values": (lambda x: F.log_softmax(F.mul(F.exp(x), 0.5) - F.gelu(x), -1), (11,)),
    "tokens": (lambda x: F.linear(F.layer_norm(x, (40,)), LINE), (9, 40)),
}
PRESENT = [[0] * 6, [1] * 6, [0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize("memory", ["fast", "lean"])
@pytest.mark.parametrize("name", CHAINS)
def test_layers_of_the_rows_that_are_there(name, memory):
    compute, shape = CHAINS[name]

    def model(x, present):
        return of_present(lambda rows: (compute(rows),), present, x)[0]

    programs = compiled(model, normal(0, 6, *shape), np.ones(6, bool), memory=memory)
    kernels = [s.kernel for s in programs[0].steps]
    # every call between those that take the rows and put them back
    first, last = kernels.index("take"), next(i for i, k in enumerate(kernels) if k.startswith("put_blocks"))
    whole = [k for i, k in enumerate(kernels) if first <= i <= last and k != "shorten" and kernels[i - 1] != "shorten"]
    assert set(whole) <= {"strided_move", "winograd_weights"}, whole   # which touch no rows
    for seed, present in enumerate(PRESENT):
        x, there = normal(seed, 6, *shape), np.array(present, bool)
        want = np.where(there.reshape(6, *[1] * (len(compute(x).shape) - 1)), compute(x), F32(0))
        for program in programs:
            np.testing.assert_allclose(program(x, there), want, rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(model(x, there), want, rtol=1e-4, atol=2e-5)


POOLS = {
    "align": lambda maps, r, level: F.roi_align(maps, r, 3, 0.5),
    "pool": lambda maps, r, level: F.roi_pool(maps, r, 3, 0.5),
    "position": lambda maps, r, level: F.ps_roi_align(maps, r, 2, 0.5),
    "position pool": lambda maps, r, level: F.ps_roi_pool(maps, r, 2, 0.5),
    "pyramid": lambda maps, r, level: F.pyramid_roi_align([maps, maps[:, :, 3:9, 3:9]], r, level, 3, [0.5, 0.25]),
}


@pytest.mark.parametrize("name", POOLS)
def test_regions_that_are_there(name):
    maps, whole, level = normal(0, 2, 8, 12, 12), regions(1, 7, 2), np.arange(7) % 2

    def model(maps, r, level, present):
        return of_present(lambda r, level: (POOLS[name](maps, r, level),), present, r, level)[0]

    for present in ([0] * 7, [1] * 7, [0, 1, 1, 0, 0, 0, 1]):
        there = np.array(present, bool)
        want = np.where(there[:, None, None, None], POOLS[name](maps, whole, level), F32(0))
        for program in compiled(model, maps, whole, level, np.ones(7, bool)):
            calls = [s.kernel for s in program.steps]
            assert all(calls[i - 1] == "shorten" for i, k in enumerate(calls) if k.startswith(("roi", "ps_roi")))
            np.testing.assert_allclose(program(maps, whole, level, there), want, rtol=1e-5, atol=1e-6)


def put_twice(x, present, a, b):
    """In two steps, into one memory."""
    places, count = NONZERO(present)
    places = F.reshape(places, (-1, 1))
    return put_rows(put_rows(F.exp(x), places, a, count), places, F.mul(b, 2.0), count, "add")


def put_and_kept(x, present, a, b):
    """What it is put into is read afterwards, as it was, directly and through a view."""
    places, count = NONZERO(present)
    start = F.exp(x)
    view = start[1:3]
    made = put_rows(start, F.reshape(places, (-1, 1)), a, count)
    return made + F.sum(start) + F.sum(view), F.sub(view, b[:2])


@pytest.mark.parametrize("model, in_place", [(put_twice, 2), (put_and_kept, 0)])
def test_rows_are_put_where_they_lie(model, in_place):
    def by_hand(x, present, a, b):
        made = np.exp(x)
        at = np.flatnonzero(present)
        if model is put_twice:
            made[at] = a[:len(at)] + 2 * b[:len(at)]
            return [made]
        start = np.exp(x)
        made[at] = a[:len(at)]
        return [made + start.sum() + start[1:3].sum(), start[1:3] - b[:2]]

    given = [normal(i, 5, 3) for i in range(3)]
    programs = compiled(model, given[0], np.ones(5, bool), *given[1:])
    kernels = [s.kernel for s in programs[0].steps]
    assert sum(k.startswith("put_blocks") for k in kernels) == (2 if in_place else 1)
    assert kernels.count("strided_move") == (0 if in_place else 1)
    for present in ([0] * 5, [1] * 5, [0, 1, 0, 0, 1]):
        x, a, b = (normal(10 + i, 5, 3) for i in range(3))
        for program in programs:
            results = program(x, np.array(present, bool), a, b)
            for got, want in zip(results if isinstance(results, tuple) else (results,), by_hand(x, present, a, b)):
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_place_outside_is_an_error_of_the_run():
    def model(x, places, values, count):
        return put_rows(x, places, values, count)

    program = pyops.compile(model, (normal(0, 4, 2), np.zeros((3, 1), np.int64), normal(1, 3, 2), np.int64(3)))
    values = normal(2, 3, 2)
    got = program(normal(0, 4, 2), np.array([[3], [99], [-1]]), values, np.int64(1))   # behind the count
    np.testing.assert_array_equal(got[3], values[0])
    for bad in (4, -1, 1 << 40):
        with pytest.raises(IndexError, match="4"):
            program(normal(0, 4, 2), np.array([[0], [bad], [1]]), values, np.int64(2))
        with pytest.raises(IndexError, match=rf"row 1 of places is \[{bad}\], outside the axes of x, .* size \[4\]"):
            model(normal(0, 4, 2), np.array([[0], [bad], [1]]), values, np.int64(2))


def test_volumes_are_computed_whole():
    """In their maps depth comes before samples: the first rows would be others."""
    weight = normal(1, 20, 20, 3, 3, 3) / 20

    def model(x, present):
        return of_present(lambda rows: (F.relu(F.conv3d(rows, weight, None, 1, 1)),), present, x)[0]

    x, there = normal(0, 4, 20, 4, 6, 6), np.array([0, 1, 0, 1], bool)
    for program in compiled(model, x, there):
        want = np.where(there.reshape(4, 1, 1, 1, 1), np.maximum(F.conv3d(x, weight, None, 1, 1), 0), F32(0))
        np.testing.assert_allclose(program(x, there), want, rtol=1e-4, atol=1e-5)


TURNED = normal(11, 6, 6)
CHANCES = {   # n rows of n values, beside what has n of something else
    "computed from others": lambda rows, other: F.matmul(rows, F.permute(F.exp(other), (1, 0))),
    "a sum over others": lambda rows, other: rows + F.sum(F.exp(other), 0, keepdim=True),
    "turned": lambda rows, other: F.permute(F.exp(F.permute(rows, (1, 0))), (1, 0)),
    "turned for a product": lambda rows, other: F.permute(
        F.exp(F.matmul(TURNED, F.permute(rows, (1, 0)))), (1, 0)),
}


@pytest.mark.parametrize("name", CHANCES)
def test_as_many_of_something_else_are_computed_whole(name):
    def model(x, other, present):
        return of_present(lambda rows: (CHANCES[name](rows, other),), present, x)[0]
    x, other = normal(0, 6, 6), normal(1, 6, 6)
    for program in compiled(model, x, other, np.ones(6, bool)):
        for present in PRESENT:
            want = np.where(np.array(present, bool)[:, None], CHANCES[name](x, other), F32(0))
            np.testing.assert_allclose(program(x, other, np.array(present, bool)), want, rtol=1e-4, atol=2e-5)
