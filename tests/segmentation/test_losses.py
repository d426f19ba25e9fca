"""Losses and measures of labelled pixels by their definitions, in plain float64 loops, and the
gradients by differences."""
import numpy as np
import pytest

from pyops import Tensor
from pyops.segmentation import dice_loss, focal_loss, jaccard_loss, lovasz_hinge, lovasz_softmax, tversky_loss
from pyops.train.segmentation import PixelConfusion, boundary_f


def case(n=2, classes=4, size=(5, 6), ignored=True, seed=0):
    rng = np.random.default_rng(seed)
    masks = rng.integers(0, classes, (n, *size))
    if ignored:
        masks[rng.random(masks.shape) < 0.2] = 255
    return rng.standard_normal((n, classes, *size)) * 2, masks


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def by_class(logits, masks):
    """Of each class: probabilities and truth of the labelled pixels."""
    p, known = softmax(logits), masks != 255
    return [(p[:, c][known], (masks == c)[known].astype(float)) for c in range(p.shape[1])]


DEFINITIONS = {
    "dice": (dice_loss, {}, lambda p, y: (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)),
    "squared": (dice_loss, {"squared": True, "smooth": 0.5},
                lambda p, y: (2 * (p * y).sum() + 0.5) / ((p * p).sum() + y.sum() + 0.5)),
    "jaccard": (jaccard_loss, {}, lambda p, y: ((p * y).sum() + 1) / (p.sum() + y.sum() - (p * y).sum() + 1)),
    "tversky": (tversky_loss, {"alpha": 0.3, "beta": 0.7}, lambda p, y: ((p * y).sum() + 1) / (
        (p * y).sum() + 0.3 * (p * (1 - y)).sum() + 0.7 * ((1 - p) * y).sum() + 1)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("classes", [None, [2, 0]])
def test_an_overlap_is_its_formula(name, classes):
    loss, settings, formula = DEFINITIONS[name]
    logits, masks = case()
    values = [formula(p, y) for p, y in by_class(logits, masks)]
    want = 1 - np.mean(values if classes is None else [values[c] for c in classes])
    assert loss(Tensor(logits), masks, classes=classes, **settings).item() == pytest.approx(want, rel=1e-12)
    single = loss(Tensor(logits.astype(np.float32)), masks, classes=classes, **settings)
    assert single.dtype == np.float32 and single.item() == pytest.approx(want, rel=1e-5)


def test_tversky_of_halves_is_dice_and_gamma_is_a_power():
    logits, masks = case()
    halves = tversky_loss(Tensor(logits), masks, smooth=0).item()
    assert halves == pytest.approx(dice_loss(Tensor(logits), masks, smooth=0).item(), rel=1e-12)
    missing = [1 - DEFINITIONS["tversky"][2](p, y) for p, y in by_class(logits, masks)]
    got = tversky_loss(Tensor(logits), masks, 0.3, 0.7, gamma=0.75).item()
    assert got == pytest.approx(np.mean(np.power(missing, 0.75)), rel=1e-12)


@pytest.mark.parametrize("gamma, weight", [(0, None), (2, None), (1.5, [1, 2, 0.5, 0.1])])
def test_focal_loss_is_its_formula(gamma, weight):
    logits, masks = case()
    p, total = softmax(logits), []
    for n, i, j in np.argwhere(masks != 255):
        c = masks[n, i, j]
        q = p[n, c, i, j]
        total.append(-(1 - q) ** gamma * np.log(q) * (1 if weight is None else weight[c]))
    assert focal_loss(Tensor(logits), masks, gamma, weight=weight).item() == pytest.approx(np.mean(total), rel=1e-12)


def lovasz(errors, there):
    """The extension's definition: by thresholds, sum of gaps times the loss of what exceeds them."""
    values = np.sort(np.unique(np.append(errors, 0)))
    total = 0
    for low, high in zip(values, values[1:]):
        wrong = errors > low
        union = (there | wrong).sum()
        total += (high - low) * (1 - (there & ~wrong).sum() / union)
    return total


@pytest.mark.parametrize("classes", ["present", "all", [1, 3]])
@pytest.mark.parametrize("per_image", [False, True])
def test_lovasz_softmax_is_the_extension(classes, per_image):
    logits, masks = case(classes=5, size=(4, 3))
    masks[masks == 4] = 255
    p = softmax(logits)
    images = [[0], [1]] if per_image else [[0, 1]]
    losses = []
    for image in images:
        known = masks[image] != 255
        of_class = []
        for c in range(5) if isinstance(classes, str) else classes:
            there = (masks[image] == c)[known]
            if classes == "present" and not there.any():
                continue
            of_class.append(lovasz(np.abs(there - p[image, c][known]), there))
        losses.append(np.mean(of_class))
    got = lovasz_softmax(Tensor(logits), masks, classes=classes, per_image=per_image).item()
    assert got == pytest.approx(np.mean(losses), rel=1e-12)


def test_lovasz_hinge_is_the_extension_of_hinges():
    rng = np.random.default_rng(0)
    logits, masks = rng.standard_normal((2, 4, 5)), rng.integers(0, 2, (2, 4, 5))
    want = [lovasz(np.maximum(1 - x * (2 * m - 1), 0).ravel(), m.ravel() == 1) for x, m in zip(logits, masks)]
    assert lovasz_hinge(Tensor(logits), masks).item() == pytest.approx(np.mean(want), rel=1e-12)


LOSSES = {"dice": dice_loss, "jaccard": jaccard_loss, "tversky": lambda x, m: tversky_loss(x, m, 0.3, 0.7, gamma=1.3),
          "focal": focal_loss, "lovasz": lovasz_softmax}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_differences(name):
    logits, masks = case(size=(3, 4))
    x = Tensor(logits, requires_grad=True)
    LOSSES[name](x, masks).backward()
    rng = np.random.default_rng(1)
    for _ in range(4):
        step = rng.standard_normal(logits.shape)
        up, down = (LOSSES[name](Tensor(logits + h * step), masks).item() for h in (1e-6, -1e-6))
        assert (x.grad * step).sum() == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_labelled_costs_nothing_and_moves_nothing(name):
    x = Tensor(np.ones((1, 4, 2, 2)), requires_grad=True)
    loss = LOSSES[name](x, np.full((1, 2, 2), 255))
    loss.backward()
    assert np.isfinite(loss.item()) and not x.grad.any()


@pytest.mark.parametrize("masks, match", [
    (np.zeros((2, 4, 4), int), r"whole numbers \(2, 3, 3\)"), (np.zeros((2, 3, 3)), "whole numbers"),
    (np.full((2, 3, 3), 4), "classes 4 to 4, the logits have 0 to 3"), (np.full((2, 3, 3), -1), "classes -1 to -1")])
def test_wrong_masks_are_refused(masks, match):
    for name in ("dice", "focal", "lovasz"):
        with pytest.raises(ValueError, match=match):
            LOSSES[name](Tensor(np.zeros((2, 4, 3, 3))), masks)


# ---- measures

def test_measures_are_sets_of_pixels():
    rng = np.random.default_rng(0)
    labels, masks = rng.integers(0, 4, (3, 6, 7)), rng.integers(0, 4, (3, 6, 7))
    masks[0, :2] = 255
    confusion = PixelConfusion(5)
    for one, mask in zip(labels, masks):
        confusion.add(one, mask)
    known = masks != 255
    for c in range(4):
        a, b = (labels == c) & known, (masks == c) & known
        assert confusion.iou[c] == (a & b).sum() / (a | b).sum()
        assert confusion.dice[c] == 2 * (a & b).sum() / (a.sum() + b.sum())
        assert confusion.class_accuracy[c] == (a & b).sum() / b.sum()
    assert np.isnan(confusion.iou[4]) and confusion.mean_iou == confusion.iou[:4].mean()
    assert confusion.accuracy == (labels == masks)[known].mean()
    assert PixelConfusion(3).mean_iou == 0 and "pixels right" in str(confusion)
    with pytest.raises(ValueError, match="labels must be 0 to 1, got 0 to 3"):
        PixelConfusion(2).add(labels, masks * 0)
    with pytest.raises(ValueError, match="one shape"):
        PixelConfusion(4).add(labels[0], masks)


def test_borders_within_reach_count():
    pytest.importorskip("scipy")
    masks = np.zeros((20, 20), int)
    masks[:, 10:] = 1
    assert boundary_f(masks, masks) == 1 and boundary_f(masks * 0, masks * 0) == 1
    assert boundary_f(np.roll(masks * 0, 1), masks) == 0
    near, far = np.zeros_like(masks), np.zeros_like(masks)
    near[:, 12:], far[:, 13:] = 1, 1
    assert boundary_f(near, masks) == 1 and boundary_f(far, masks) == 0
    half = masks.copy()
    half[10:] = 0     # half of the border, and a new one
    assert 0 < boundary_f(half, masks) < 1
