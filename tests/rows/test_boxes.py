"""Boxes beside torchvision.ops, whose Python needs none of its kernels for these."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import Tensor

torch = pytest.importorskip("torch")
ops = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision.ops
EPS = np.finfo(np.float64).eps


def boxes(seed, *shape):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 10, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(1, 9, low.shape)], -1)


def beside(function, theirs, *arrays, **how):
    """Values and gradients of both are equal to a few roundings of float64."""
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    leaves = [torch.from_numpy(a).requires_grad_() for a in arrays]
    got, want = function(*tensors, **how), theirs(*leaves, **how)
    np.testing.assert_allclose(got.data, want.detach().numpy(), rtol=0, atol=64 * EPS)
    weight = np.random.default_rng(9).standard_normal(got.shape)
    got.backward(weight)
    want.backward(torch.from_numpy(np.asarray(weight)))
    for mine, other in zip(tensors, leaves):
        np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=0, atol=1024 * EPS)


@pytest.mark.parametrize("name", ("box_iou", "generalized_box_iou", "distance_box_iou", "complete_box_iou"))
@pytest.mark.parametrize("lead", ((), (2, 3)))
def test_of_every_two(name, lead):
    beside(getattr(F, name), getattr(ops, name), boxes(1, *lead, 6), boxes(2, *lead, 9))


@pytest.mark.parametrize("name", ("generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss"))
@pytest.mark.parametrize("reduction", ("none", "mean", "sum"))
def test_of_one_beside_the_other(name, reduction):
    beside(getattr(F, name), getattr(ops, name), boxes(3, 2, 20), boxes(4, 2, 20), reduction=reduction, eps=1e-3)
    same = boxes(5, 4)   # where ends are equal the gradient is shared
    beside(getattr(F, name), getattr(ops, name), same, same.copy(), reduction=reduction)


@pytest.mark.parametrize("first", ("xyxy", "xywh", "cxcywh"))
@pytest.mark.parametrize("second", ("xyxy", "xywh", "cxcywh"))
def test_forms(first, second):
    given = boxes(6, 3, 5)
    np.testing.assert_allclose(F.box_convert(given, first, second),
                               ops.box_convert(torch.from_numpy(given), first, second).numpy(), rtol=1e-15, atol=1e-14)
    beside(lambda a: F.box_area(a, first), lambda a: ops.box_area(a, first), given[0])


def test_clipped_and_small():
    given = boxes(7, 30) - 4
    beside(lambda a: F.clip_boxes_to_image(a, (7, 9)), lambda a: ops.clip_boxes_to_image(a, (7, 9)), given)
    kept = ops.remove_small_boxes(torch.from_numpy(given), 4.5)
    assert np.array_equal(F.remove_small_boxes(given, 4.5), kept.numpy())
    assert F.remove_small_boxes(given, np.inf).shape == (0,)


def test_a_program_holds_them():
    one, other = boxes(8, 5).astype(np.float32), boxes(9, 7).astype(np.float32)

    def model(a, b):
        clipped = F.clip_boxes_to_image(F.box_convert(a, "xywh", "xyxy"), (8, 8))
        return F.complete_box_iou(clipped, b), F.remove_small_boxes(clipped, 3.0)

    for got, want in zip(pyops.compile(model, (one, other))(one, other), model(one, other)):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_nothing_overlaps_nothing():
    point = np.array([[2, 2, 2, 2.0]])
    assert F.box_iou(point, point) == F.generalized_box_iou(point, point) == 0
    a, b = Tensor(point, requires_grad=True), Tensor(point, requires_grad=True)
    F.complete_box_iou_loss(a, b, eps=0.0, reduction="sum").backward()
    assert not a.grad.any() and not b.grad.any()


@pytest.mark.parametrize("beta", (0.0, 1.0, 1.5, 2.0))
def test_the_loss_of_a_quality(beta):
    rng = np.random.default_rng(10)
    x, t = rng.standard_normal((3, 7)) * 3, rng.uniform(0.05, 0.95, (3, 7))

    def theirs(x, t, **_):
        p = torch.sigmoid(x)
        return -(p - t).abs() ** beta * ((1 - t) * torch.log(1 - p) + t * torch.log(p))

    beside(lambda x, t: F.quality_focal_loss(x, t, beta), theirs, x, t)
    assert np.isclose(F.quality_focal_loss(x, t, beta, "mean"), F.quality_focal_loss(x, t, beta).mean())
    assert np.isfinite(F.quality_focal_loss(np.array([1e4, -1e4]), np.array([0.0, 1.0]), beta)).all()


def test_the_loss_of_a_distribution():
    rng = np.random.default_rng(11)
    x, t = rng.standard_normal((5, 4, 9)), rng.uniform(0, 8, (5, 4))

    def theirs(x, t):
        low = t.detach().long().clamp(max=7)
        entropy = [torch.nn.functional.cross_entropy(x.reshape(-1, 9), n.reshape(-1), reduction="none").reshape(5, 4)
                   for n in (low, low + 1)]
        return entropy[0] * (low + 1 - t) + entropy[1] * (t - low)

    beside(F.distribution_focal_loss, theirs, x, t)
    whole = np.full((5, 4), 8.0)
    want = theirs(*map(torch.from_numpy, (x, whole))).sum().numpy()
    np.testing.assert_allclose(F.distribution_focal_loss(x, whole, "sum"), want, rtol=1e-14)


@pytest.mark.parametrize("call, match", (
    (lambda: F.quality_focal_loss(np.ones(3), np.ones(4)), "of one shape"),
    (lambda: F.quality_focal_loss(np.ones(3), np.ones(3), -1.0), "beta must be"),
    (lambda: F.distribution_focal_loss(np.ones((3, 4)), np.ones((3, 4))), "targets"),
    (lambda: F.distribution_focal_loss(np.ones((3, 4)), np.ones(3), "max"), "reduction must be")))
def test_losses_refuse(call, match):
    with pytest.raises(ValueError, match=match):
        call()
