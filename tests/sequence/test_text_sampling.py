"""Temperature, top-k and top-p: the probabilities by which tokens are drawn are transformers'."""
import numpy as np
import pytest

from pyops.text import draw


class Grid:
    """A generator whose draws are the middles of equal parts of [0, 1): how often a class comes is its
    probability."""

    def __init__(self, count):
        self.left = iter((np.arange(count) + 0.5) / count)

    def random(self):
        return next(self.left)


@pytest.mark.parametrize("temperature, top_k, top_p", [
    (1.0, None, 0.5), (1.0, None, 0.9), (0.7, 4, None), (1.6, 5, 0.7), (1.0, None, 1.0), (1.0, None, 0.01)])
def test_probabilities_are_transformers(temperature, top_k, top_p):
    peers = pytest.importorskip("transformers_peers")
    from transformers.generation import logits_process as limits
    scores = np.random.default_rng(0).standard_normal(9) * 2
    wanted = peers.torch.tensor(scores)[None]
    steps = [limits.TemperatureLogitsWarper(temperature)]
    steps += [limits.TopKLogitsWarper(top_k)] if top_k else []
    steps += [limits.TopPLogitsWarper(top_p)] if top_p else []
    for step in steps:
        wanted = step(None, wanted)
    count, grid = 4000, Grid(4000)
    drawn = np.bincount([draw(scores, grid, temperature, top_k, top_p) for _ in range(count)], minlength=9)
    assert np.abs(drawn / count - wanted.softmax(-1)[0].numpy()).max() <= 1 / count


@pytest.mark.parametrize("top_k, top_p", [(50, None), (None, 0.9), (None, 0.999), (70, 0.8), (3000, None), (None, 1.0)])
def test_a_large_vocabulary_is_drawn_from_as_if_it_were_sorted(top_k, top_p):
    scores = np.random.default_rng(1).integers(-40, 40, 3000) / 8   # many are equal
    p = np.exp(scores - scores.max())
    order = np.argsort(-scores, kind="stable")[:top_k]
    if top_p is not None:
        order = order[np.cumsum(p[order]) - p[order] < top_p * p[order].sum()]
    wanted = np.zeros(3000)
    wanted[order] = p[order] / p[order].sum()
    grid = Grid(2000)
    drawn = [draw(scores, grid, 1.0, top_k, top_p) for _ in range(2000)]
    middles = np.searchsorted(np.cumsum(wanted), (np.arange(2000) + 0.5) / 2000, side="right")
    assert np.array_equal(drawn, middles)


def test_equal_scores_are_kept_from_the_first():
    assert {draw(np.zeros(4), Grid(1), top_p=0.3) for _ in range(1)} == {1}
    with pytest.raises(ValueError, match=r"top_p must be in \(0, 1\], got 1.5"):
        draw(np.zeros(4), Grid(1), top_p=1.5)
