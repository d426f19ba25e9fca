"""What embedding does that is neither a function of its arguments nor its derivative: rows without
gradient, averaged gradients, norms limited in place; one_hot."""
import numpy as np
import pytest

import pyops
from pyops import functional as F

INDEX = np.random.default_rng(0).integers(0, 5, (6, 5))


def table():
    return np.random.default_rng(1).standard_normal((7, 19)).astype(np.float32)


@pytest.mark.parametrize("options", [{"padding_idx": 2}, {"padding_idx": -4}, {"scale_grad_by_freq": True},
                                     {"padding_idx": 0, "scale_grad_by_freq": True}])
@pytest.mark.parametrize("threads", [1, 3])
def test_gradient_options_as_torch(options, threads, backend):
    torch = pytest.importorskip("torch")
    g = np.random.default_rng(2).standard_normal((*INDEX.shape, 19)).astype(np.float32)
    ours, theirs = pyops.Tensor(table(), requires_grad=True), torch.from_numpy(table()).requires_grad_()
    with pyops.use_backend(backend), pyops.num_threads(threads):
        F.embedding(INDEX, ours, **options).backward(g)
    torch.nn.functional.embedding(torch.from_numpy(INDEX), theirs, **options).backward(torch.from_numpy(g))
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm_type", [1.0, 2.0])
def test_max_norm_scales_the_rows_looked_up_in_place(norm_type):
    torch = pytest.importorskip("torch")
    ours, theirs = table(), torch.from_numpy(table())
    got = F.embedding(INDEX, ours, max_norm=2.0, norm_type=norm_type)
    want = torch.nn.functional.embedding(torch.from_numpy(INDEX), theirs, max_norm=2.0, norm_type=norm_type)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-6)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
    assert np.array_equal(ours[5:], table()[5:])


def test_one_hot():
    assert np.array_equal(F.one_hot(np.array([[0, 2], [1, 1]])), np.eye(3, dtype=np.int64)[[[0, 2], [1, 1]]])
    assert F.one_hot(np.zeros((0, 2), np.int64), 4).shape == (0, 2, 4)
    with pytest.raises(ValueError, match="got 5"):
        F.one_hot(np.array([5]), 5)
    with pytest.raises(ValueError, match="got -1"):
        F.one_hot(np.array([-1]), 5)
    with pytest.raises(TypeError, match="float"):
        F.one_hot(np.array([1.0]))


def test_a_bags_gradient_by_frequency_is_the_mean_over_a_rows_uses(backend):
    """By the definition: torch divides the gradients of rows otherwise than it says."""
    rng = np.random.default_rng(0)
    index, g = rng.integers(0, 3, (4, 5)), rng.standard_normal((4, 6))
    weight = pyops.Tensor(rng.standard_normal((4, 6)), requires_grad=True)
    with pyops.use_backend(backend):
        F.embedding_bag(index, weight, mode="sum", scale_grad_by_freq=True).backward(g)
    want = np.zeros((4, 6))
    for (bag, _), row in np.ndenumerate(index):
        want[row] += g[bag] / np.count_nonzero(index == row)
    np.testing.assert_allclose(weight.grad, want, rtol=1e-12)


def test_tables_are_summed_by_the_same_shapes_on_every_backend(backend):
    """Where other rows are composed they would broadcast what has no meaning here."""
    words, kinds = table(), table()[:3]
    with pyops.use_backend(backend):
        got = F.embedding_sum(INDEX[0], words, INDEX[None, None, 1] % 3, kinds)
        np.testing.assert_allclose(got, words[INDEX[0]] + kinds[INDEX[1] % 3], rtol=1e-6)
        with pytest.raises(ValueError, match=r"embedding_sum: second \(6, 1\) must be input's shape \(6, 5\)"):
            F.embedding_sum(INDEX, words, INDEX[:, :1] % 3, kinds)
        with pytest.raises(ValueError, match="embedding_sum: second_weight has 3 rows, fewer than the 5 places"):
            F.embedding_sum(INDEX, words, None, kinds)
