"""torchvision's detectors beside ours: its operators in NumPy where its extension does not load, and
both networks with one set of numbers, as if they had been trained."""
import numpy as np
import pytest

import pyops
from pyops import nn, no_grad

torch = pytest.importorskip("torch")
torchvision = pytest.importorskip("pyops.bench.torchvision_schemas").torchvision

theirs = torchvision.models.detection


def nms(boxes, scores, threshold):
    """torchvision's greedy suppression: of equal scores the first is the better."""
    order, b = scores.argsort(descending=True, stable=True).numpy(), boxes.detach().numpy()
    area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    gone, kept = np.zeros(len(b), bool), []
    for i in order:
        if not gone[i]:
            kept.append(i)
            extent = (np.minimum(b[i, 2:], b[:, 2:]) - np.maximum(b[i, :2], b[:, :2])).clip(min=0)
            shared = extent.prod(1)
            gone |= shared > threshold * (area[i] + area - shared)
    return torch.tensor(np.array(kept, np.int64))


def roi_align(input, rois, scale, height, width, ratio, aligned):
    """Samples by torch's grid_sample, whose border mode is what regions within the image need; what a
    region of less than a pixel reaches beyond the map is 0."""
    assert ratio > 0 and not aligned
    found = []
    for roi in rois:
        x1, y1, x2, y2 = roi[1:] * scale
        places, inside = [], []
        for low, high, bins, n in ((x1, x2, width, input.shape[3]), (y1, y2, height, input.shape[2])):
            extent = (high - low).clamp(min=1)
            at = low + (torch.arange(bins * ratio, dtype=input.dtype) + 0.5) * extent / (bins * ratio)
            places.append(2 * at / max(n - 1, 1) - 1)
            inside.append(at <= n)
        y, x = torch.meshgrid(places[1], places[0], indexing="ij")
        image = input[int(roi[0])][None]
        sampled = torch.nn.functional.grid_sample(image, torch.stack([x, y], -1)[None], padding_mode="border",
                                                  align_corners=True)
        sampled = sampled * (inside[1][:, None] & inside[0])
        found.append(torch.nn.functional.avg_pool2d(sampled, ratio)[0])
    return torch.stack(found) if found else input.new_zeros(0, input.shape[1], height, width)


def register():
    """The operators, where no extension has them."""
    import sys
    if torchvision.extension._has_ops():
        return
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("torchvision"):
            for name, value in (("_assert_has_ops", lambda: None), ("_has_ops", lambda: True)):
                if hasattr(module, name):
                    setattr(module, name, value)
    for name, function, key in (("nms", nms, "CPU"), ("roi_align", roi_align, "CompositeImplicitAutograd")):
        torch.library.impl(f"torchvision::{name}", key, function)


register()


def as_if_trained(reference, scale):
    """Heads that say something, and a trunk whose batch norms have the statistics of its maps: their
    values stay near one, and depend on the image."""
    for name, layer in reference.backbone.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    norms = [m for m in reference.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.uniform_(norm.bias, -0.1, 0.1)
        norm.train().momentum, before = 1.0, norm.momentum
    with torch.no_grad():
        reference.backbone(torch.from_numpy(images(2, 96, 160, np.float32, 9)) * 4 - 2)
    for norm in norms:
        norm.eval().momentum = before
    for name, layer in reference.named_modules():
        if name.rpartition(".")[2] in ("cls_logits", "bbox_reg", "bbox_pred", "cls_score"):
            torch.nn.init.normal_(layer.weight, 0, scale)


def pair(name, reference, dtype=np.float64, scale=0.02, **settings):
    """(theirs, ours) in evaluation mode with the same numbers; the names of all arrays are the same."""
    as_if_trained(reference, scale)
    with nn.init.skip_draws():
        model = pyops.create_model(name, **settings)
    assert list(model.state_dict()) == list(reference.state_dict())
    model.load_state_dict(reference.state_dict())
    if dtype == np.float64:
        reference, model = reference.double(), model.double()
        model.load_state_dict(reference.state_dict())
    return reference.eval(), model.eval()


def images(n, height, width, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).random((n, 3, height, width)).astype(dtype)


def their_answer(reference, x):
    with torch.no_grad():
        return [{k: v.numpy() for k, v in found.items()} for found in reference(list(map(torch.from_numpy, x)))]


def our_answer(model, x):
    with no_grad():
        return model.cut(*model(x))


def assert_same_boxes(got, want, pixels, some=5):
    assert len(got) == len(want)
    for ours, other in zip(got, want):
        assert len(ours) == len(other["boxes"])
        assert len(ours) >= some
        assert np.abs(ours.boxes - other["boxes"]).max() <= pixels
        assert np.abs(ours.scores - other["scores"]).max() <= 1e-5
        assert np.array_equal(ours.labels, other["labels"])


def assert_same_step(model, reference, x, targets, names, tolerance):
    """Losses by part, in training mode, and the gradients of all parameters."""
    reference.train(), model.train()
    want = reference(list(map(torch.from_numpy, x)),
                     [{k: torch.from_numpy(np.asarray(v)) for k, v in t.items()} for t in targets])
    got = model.losses(x, targets)
    assert set(got) == set(names.values())
    for key, value in want.items():
        assert got[names[key]].item() == pytest.approx(value.item(), rel=1e-6), key
    sum(want.values()).backward()
    sum(got.values()).backward()
    gradients = {k: p.grad.numpy() for k, p in reference.named_parameters() if p.grad is not None}
    ours = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    assert set(ours) == set(gradients)
    largest = max(np.abs(g).max() for g in gradients.values())
    for key, g in gradients.items():
        assert np.abs(ours[key] - g).max() <= tolerance * max(np.abs(g).max(), 1e-6 * largest), key
