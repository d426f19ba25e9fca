"""Losses of two players beside torch's functions."""
import numpy as np
import pytest

from pyops import Tensor
from pyops.models.generative.adversarial import LOSSES

torch = pytest.importorskip("torch")


def bce(logits, target):
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


TORCHS = {"gan": (lambda r, m: bce(r, 1.0) + bce(m, 0.0), lambda m: bce(m, 1.0)),
          "lsgan": (lambda r, m: ((r - 1) ** 2).mean() / 2 + (m ** 2).mean() / 2, lambda m: ((m - 1) ** 2).mean() / 2),
          "hinge": (lambda r, m: torch.relu(1 - r).mean() + torch.relu(1 + m).mean(), lambda m: -m.mean()),
          "wgan": (lambda r, m: m.mean() - r.mean(), lambda m: -m.mean())}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    values = np.random.default_rng(0).standard_normal((2, 5, 1)) * 3
    mine, theirs = [Tensor(v, True) for v in values], [torch.from_numpy(v).requires_grad_() for v in values]
    for ours, other, picked in ((LOSSES[name].discriminator, TORCHS[name][0], slice(0, 2)),
                                (LOSSES[name].generator, TORCHS[name][1], slice(1, 2))):
        got, want = ours(*mine[picked]), other(*theirs[picked])
        assert abs(got.item() - want.item()) < 1e-8
        got.backward()
        want.backward()
        for a, b in zip(mine, theirs):
            if b.grad is not None:
                assert np.abs(a.grad - b.grad.numpy()).max() < 1e-8
            a.grad = b.grad = None
