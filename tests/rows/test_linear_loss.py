"""linear_cross_entropy takes some positions at a time: the same numbers, and memory that does not grow
with their scores."""
import numpy as np
import pytest

from pyops import functional as F
from pyops.core.tensor import Tensor
from pyops.ops import linear_loss


def head(one: bool, reduction: str, positions=23, classes=31, features=6):
    """Loss and gradients, by one call or by two."""
    rng = np.random.default_rng(0)
    x, matrix, bias = (Tensor(rng.standard_normal(s), requires_grad=True)
                       for s in ((positions, features), (classes, features), (classes,)))
    target = np.where(rng.random(positions) < 0.3, -100, rng.integers(0, classes, positions))
    weight, how = rng.random(classes), dict(reduction=reduction, label_smoothing=0.1)
    loss = (F.linear_cross_entropy(x, matrix, target, linear_bias=bias, weight=weight, **how) if one
            else F.cross_entropy(F.linear(x, matrix, bias), target, weight, **how))
    F.sum(F.mul(loss, np.arange(1.0, 1 + loss.size).reshape(loss.shape))).backward()
    return [np.asarray(getattr(a, "data", a)) for a in (loss, x.grad, matrix.grad, bias.grad)]


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("some", [1, 4, 22, 23])
def test_pieces_join(monkeypatch, some, reduction):
    monkeypatch.setattr(linear_loss, "SCORES", 1)
    monkeypatch.setattr(linear_loss, "FEWEST", some)
    linear_loss.plan.cache_clear()
    try:
        found = head(True, reduction)
    finally:
        linear_loss.plan.cache_clear()
    for got, want in zip(found, head(False, reduction)):
        assert np.abs(got - want).max() <= 1e-13 * np.abs(want).max()


def test_scores_are_never_whole():
    """No array that a kernel writes is as large as the scores."""
    from pyops.core.backends import get_backend
    kernels, sizes = get_backend(None).sets["f32"], []

    class Watched:
        def __getattr__(self, name):
            return getattr(kernels, name)

        def empty(self, shape, dtype=None):
            sizes.append(int(np.prod(shape)))
            return kernels.empty(shape, dtype)
    positions, classes, features = 1024, 2048, 4
    rng = np.random.default_rng(0)
    x, matrix = (rng.standard_normal((n, features), np.float32) for n in (positions, classes))
    target, how = rng.integers(0, classes, positions), dict(ignore=-100, smoothing=0.1)
    _, *kept = linear_loss.forward(Watched(), x, matrix, target, None, None, reduction="mean", **how)
    linear_loss.backward(Watched(), np.ones((), np.float32), x, matrix, target, None, None, *kept,
                         needs=(True, True, False), **how)
    assert max(sizes) == 128 * classes
