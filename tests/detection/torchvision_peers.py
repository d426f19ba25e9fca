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
    from torchvision.ops.roi_align import _roi_align
    return _roi_align(input, rois, scale, height, width, ratio, aligned)


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


def as_if_trained(reference, scale=0.05):
    """Batch norms with statistics that are not all the same, and heads that say something."""
    for name, layer in reference.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
        elif name.rpartition(".")[2] in ("cls_logits", "bbox_reg", "bbox_pred", "cls_score"):
            torch.nn.init.normal_(layer.weight, 0, scale)


def pair(name, reference, dtype=np.float64, scale=0.05, **settings):
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
        assert len(ours) == len(other["boxes"]) >= some
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
