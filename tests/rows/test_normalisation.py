"""What rows cannot say: running statistics change in the caller's arrays, and random masks are
those of their seed."""
import numpy as np
import pytest

import pyops
from pyops import functional as F
from pyops.core.backends import use_backend
from pyops.kernels.dropout import reference


def statistics():
    return np.array([1, -2, 0.5], np.float32), np.array([1, 4, 0.25], np.float32)


@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (6, 3)])
def test_batch_norm_moves_running_statistics_in_place(shape, backend):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (mean, var), axes = statistics(), (0, *range(2, len(shape)))
    want = [0.7 * s + 0.3 * b for s, b in zip(statistics(), (x.mean(axes), x.var(axes, ddof=1)))]
    with use_backend(backend):
        F.batch_norm(x, mean, var, training=True, momentum=0.3)
    assert np.allclose(mean, want[0], atol=1e-6) and np.allclose(var, want[1], atol=1e-6)


def test_instance_norm_moves_them_towards_the_average_sample(backend):
    x = np.random.default_rng(0).standard_normal((4, 3, 5, 7)).astype(np.float32)
    mean, var = statistics()
    want = [0.9 * s + 0.1 * b
            for s, b in zip(statistics(), (x.mean((2, 3)).mean(0), x.var((2, 3), ddof=1).mean(0)))]
    with use_backend(backend):
        F.instance_norm(x, mean, var)
    assert np.allclose(mean, want[0], atol=1e-6) and np.allclose(var, want[1], atol=1e-6)
    F.instance_norm(x, mean, var, use_input_stats=False)
    assert np.allclose(mean, want[0], atol=1e-6), "evaluation must not move them"


@pytest.mark.parametrize("norm", [lambda *a: F.batch_norm(*a, training=True), F.instance_norm])
def test_running_statistics_that_cannot_be_written_are_refused(norm):
    x = np.ones((2, 3, 4), np.float32)
    mean, var = statistics()
    var.flags.writeable = False
    with pytest.raises(ValueError, match="running_var is read-only"):
        norm(x, mean, var)
    with pytest.raises(TypeError, match="running_mean is float64"):
        norm(x, mean.astype(np.float64), var)
    assert np.array_equal(mean, statistics()[0]), "a refused call must not write"


def test_an_empty_batch_teaches_nothing():
    mean, var = statistics()
    F.batch_norm(np.ones((0, 3, 4), np.float32), mean, var, training=True)
    assert np.array_equal(mean, statistics()[0]) and np.array_equal(var, statistics()[1])


def test_philox_gives_the_published_numbers():
    """The known-answer test of Random123 for philox4x32-10."""
    words = reference.philox(np.zeros(1, np.uint64), 0)
    assert [int(w[0]) for w in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_a_seed_gives_one_mask_for_every_backend_and_type(backend):
    with use_backend("reference"):
        want = F.dropout(np.ones(1000), 0.3, seed=11)
    with use_backend(backend):
        for real in (np.float32, np.float64):
            assert np.array_equal(F.dropout(np.ones(1000, real), 0.3, seed=11) == 0, want == 0)


def test_the_share_of_zeros_is_p():
    zeros = (F.dropout(np.ones(1 << 18, np.float32), 0.3, seed=5) == 0).mean()
    assert abs(zeros - 0.3) < 5 * np.sqrt(0.3 * 0.7 / (1 << 18))


def test_manual_seed_repeats_masks_and_calls_differ():
    x = np.ones(200, np.float32)
    pyops.manual_seed(3)
    first, second = F.dropout(x), F.dropout(x)
    pyops.manual_seed(3)
    assert np.array_equal(F.dropout(x), first) and not np.array_equal(first, second)


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).standard_normal(1 << 18).astype(np.float32)
    y = F.alpha_dropout(x, 0.2, True, seed=1)
    assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.02


def test_inplace_writes_into_the_array():
    x = np.ones(100, np.float32)
    y = F.dropout(x, 0.5, inplace=True, seed=1)
    assert y is x and set(x) == {0, 2}


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_of_infinities(dim, backend):
    """A masked value gets no share; a line of nothing else, or with +inf, is NaN."""
    inf = np.inf
    lines = np.array([[0, -inf, 0, -inf], [-inf] * 4, [0, inf, 0, 0], [0, np.nan, 0, 0]], np.float32)
    want = np.array([[0.5, 0, 0.5, 0]] + [[np.nan] * 4] * 3, np.float32)
    x = lines if dim == 1 else np.ascontiguousarray(lines.T)
    with use_backend(backend):
        y, log_y = F.softmax(x, dim), F.log_softmax(x, dim)
    y, log_y = (v if dim == 1 else v.T for v in (y, log_y))
    assert np.array_equal(y, want, equal_nan=True)
    with np.errstate(divide="ignore"):
        assert np.allclose(log_y, np.log(want), equal_nan=True)
