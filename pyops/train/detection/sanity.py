"""What to check before the training of a detector costs anything."""
from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...core import random
from ...core.tensor import Tensor
from ...optim import Adam
from ..sanity import Check, SanityReport, check_penalty
from .annotations import Annotations
from .dataset import DetectionDataset
from .measured import measure_detector

WITHIN = 0.25    # of the loss that is expected at the beginning: sampled anchors, and boxes, differ from batch to batch


def sanity_check_detector(model, data: DetectionDataset, *, expected: Mapping[str, float] | None = None,
                          samples: int = 10, steps: int = 300, lr: float = 2e-3, reached: float = 0.95,
                          seed: int = 0) -> SanityReport:
    """Checks a detector on `data`; weights, state and settings are put back afterwards.

    data: images that differ from one another and from one grey, boxes within them, labels within
    the model's and the data's classes. initial loss: every part is finite and not negative, and
    those that `expected` names are within a quarter of it: "loss_objectness": ln 2 of a Faster
    R-CNN, "loss_classifier": ln(classes + 1). regularisation: the loss grows with the strength of
    an L2 penalty. overfit: `samples` images, not augmented, are learnt to an AP50 of `reached`
    within `steps` steps of Adam at lr. gradient: every parameter gets one.
    """
    if samples < 1 or steps < 1 or not lr > 0 or not 0 < reached <= 1:
        raise ValueError("sanity_check_detector: samples, steps and lr must be positive and reached in (0, 1], got "
                         f"{samples}, {steps}, {lr} and {reached}")
    chosen = np.random.default_rng(seed).permutation(len(data))[:samples]
    inputs, targets = data.take(chosen)
    state = {k: v.copy() for k, v in model.state_dict().items()}
    drawn, modes = random.default_generator().bit_generator.state, [(m, m.training) for m in model.modules()]
    try:
        model.train()
        checks = [check_boxes(inputs, targets, len(data.classes))]
        if checks[0].passed:
            parts = model.losses(Tensor(inputs), targets)
            values = {name: float(part.item()) for name, part in parts.items()}
            checks += [check_parts(values, expected or {}), check_penalty(model, sum(values.values()))]
            checks.append(check_reach(model, parts))
            checks.append(check_learnt(model, data, chosen, inputs, targets, steps, lr, reached))
    finally:
        model.load_state_dict(state)
        model.zero_grad()
        random.default_generator().bit_generator.state = drawn
        for module, mode in modes:
            module.training = mode
    return SanityReport(tuple(checks))


def check_boxes(inputs: np.ndarray, targets, classes: int) -> Check:
    height, width = inputs.shape[2:]
    boxes = np.concatenate([t["boxes"] for t in targets])
    labels = np.concatenate([t["labels"] for t in targets])
    finite = bool(np.isfinite(inputs).all() and np.isfinite(boxes).all())
    spread = float(inputs.std()) if finite else math.nan
    inside = finite and bool((boxes[:, :2] >= -1e-3).all() and (boxes[:, 2:] <= np.array([width, height]) + 1e-3).all()
                             and (boxes[:, 2:] > boxes[:, :2]).all())
    fits = not len(labels) or 0 <= labels.min() <= labels.max() < classes
    found = (f"deviation of pixels {spread:.3g}, {len(boxes)} boxes {'within' if inside else 'NOT within'} their images"
             f"{f', labels {labels.min()} .. {labels.max()}' if len(labels) else ''}")
    return Check("data", finite and spread > 1e-3 and inside and fits and len(boxes) > 0, found,
                 f"pixels that differ, some boxes, all within their images, labels 0 .. {classes - 1}")


def check_parts(values: Mapping[str, float], expected: Mapping[str, float]) -> Check:
    good = all(math.isfinite(v) and v >= 0 for v in values.values())
    unknown = expected.keys() - values.keys()
    off = [name for name, value in expected.items() if name in values
           and not abs(values[name] - value) <= WITHIN * value]
    told = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    wanted = ", ".join(f"{name} {value:.4f}" for name, value in expected.items())
    return Check("initial loss", good and not off and not unknown, told,
                 "finite parts" + (f"; within a quarter of {wanted}" if wanted else ""))


def check_reach(model, parts) -> Check:
    """A gradient for every parameter that is to be trained."""
    model.zero_grad()
    total = None
    for part in parts.values():
        total = part if total is None else total + part
    total.backward()
    missing = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    wrong = [name for name, p in model.named_parameters() if p.grad is not None
             and not np.isfinite(np.asarray(p.grad)).all()]
    found = (f"no gradient reaches {', '.join(missing)}" if missing else
             f"gradients that are not finite: {', '.join(wrong)}" if wrong else "all parameters have one")
    return Check("gradient", not missing and not wrong, found, "a finite gradient for every parameter")


def check_learnt(model, data, chosen, inputs, targets, steps: int, lr: float, reached: float) -> Check:
    pictures = [data.picture(int(i)) for i in chosen]
    own = DetectionDataset(Annotations("sanity check", data.classes, pictures), data.size)
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr)
    value, ap50, step = math.inf, 0.0, 0
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        total = None
        for part in model.losses(Tensor(inputs), targets).values():
            total = part if total is None else total + part
        value = float(total.item())
        if not math.isfinite(value):
            break
        total.backward()
        optimizer.step()
        if step % 50 == 0 or step == steps:
            ap50 = measure_detector(model, own).ap50
            if ap50 >= reached:
                break
    return Check("overfit", ap50 >= reached, f"loss {value:.4f}, AP50 {ap50:.3f} after {step} steps",
                 f"an AP50 of {reached:g} on {len(chosen)} images within {steps} steps")
