"""argmax over channels in a Program: which kernel makes the labels, ties and NaN, and files."""
import numpy as np
import pytest

import pyops
from pyops import functional as F

X = np.random.default_rng(0).standard_normal((2, 20, 9, 11)).astype(np.float32)


def weights(filters, size=1, seed=1):
    return np.random.default_rng(seed).standard_normal((filters, 20, size, size)).astype(np.float32)


def kernels(program):
    return [step.kernel for step in program.plan.steps]


def labels(scores):
    return lambda x: F.argmax(scores(x), 1).astype("uint8")


@pytest.mark.parametrize("scores, last", [
    (lambda x: F.conv2d(x, weights(21)), "direct_conv_labels"),
    (lambda x: F.interpolate(F.conv2d(x, weights(21)), (27, 33), mode="bilinear"), "resample_labels"),
    (lambda x: F.max_pool2d(F.conv2d(x, weights(21)), 2), "map_labels")])
def test_the_last_layer_makes_the_labels(scores, last):
    program = pyops.compile(labels(scores), X)
    assert kernels(program)[-1] == last and not {"from_blocked", "arg_max", "cast"} & set(kernels(program))
    found = program(X)
    assert found.dtype == np.uint8 and (found == scores(X).argmax(1)).all()


def test_scores_are_never_whole():
    """1.4 MB of them, of which the arena has room for nothing."""
    x = np.zeros((1, 16, 128, 128), np.float32)
    w = np.zeros((21, 16, 1, 1), np.float32)
    program = pyops.compile(labels(lambda x: F.conv2d(x, w)), x)
    assert program.plan.arena < 21 * 128 * 128 * 4


def test_the_first_of_equals_and_nan_above_all():
    """Filters 3 and 20 are one, and so are 5 and 9; some pixels are NaN, which all scores are then."""
    w = weights(21)
    w[20], w[9] = w[3], w[5]
    x = X.copy()
    x[0, 4, 2:4, 3:9] = np.nan
    scores = F.conv2d(x, w)
    found = pyops.compile(labels(lambda x: F.conv2d(x, w)), X)(x)
    assert not (found == 20).any() and not (found == 9).any() and (found[0, 2:4, 3:9] == 0).all()
    assert (found == np.argmax(scores, 1)).all()


def test_one_nan_is_larger_than_all():
    scores = np.random.default_rng(0).standard_normal((1, 21, 5, 33)).astype(np.float32)
    scores[0, 17, :, 3] = scores[0, 4, 2, 7] = scores[0, 18, 2, 7] = np.nan
    ones = np.ones((21, 1, 1, 1), np.float32)
    program = pyops.compile(lambda x: F.argmax(F.conv2d(x, ones, padding=0, groups=21), 1), scores)
    assert "map_labels" in kernels(program)
    assert (program(scores) == scores.argmax(1)).all()   # NumPy's NaN is the largest, too


def test_files_of_such_programs(tmp_path):
    program = pyops.compile(lambda x: (labels(lambda x: F.conv2d(x, weights(21)))(x),
                                       labels(lambda x: F.interpolate(F.conv2d(x, weights(21)), (27, 33)))(x)), X)
    program.save(tmp_path / "labels.safetensors")
    again = pyops.Program.load(tmp_path / "labels.safetensors")
    assert all((a == b).all() for a, b in zip(again(X), program(X), strict=True))


def test_softmax_is_computed_where_its_scores_lie():
    program = pyops.compile(lambda x: F.softmax(F.conv2d(x, weights(21)), 1), X)
    step = program.plan.steps[-1]
    assert step.kernel == "softmax" and step.args[0] == step.args[2]
    assert np.abs(program(X) - F.softmax(F.conv2d(X, weights(21)), 1)).max() <= 1e-6


def test_scores_that_are_returned_are_kept():
    def function(x):
        scores = F.conv2d(x, weights(21))
        return scores, F.softmax(scores, 1), F.argmax(scores, 1)
    for got, want in zip(pyops.compile(function, X)(X), function(X), strict=True):
        assert got.dtype == want.dtype and np.abs(got - want).max() <= 1e-5
