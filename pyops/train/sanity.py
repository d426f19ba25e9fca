"""What to check before a training costs anything: the lecture's sanity checks (also
https://cs231n.github.io/neural-networks-3/)."""
from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np

from .. import functional as F, nn
from ..core import random
from ..core.tensor import Tensor
from ..optim import Adam
from .data import Digits
from .dataset import split_of
from .metrics import scores_of
from .regularisation import penalty

CAUSES = {
    "data": "pixels not scaled to about 0 .. 1 or mean 0; labels counted from 1; an empty or constant image set",
    "initial loss": ("outputs that are probabilities already (softmax twice); last layer drawn too wide; "
                     "inputs not scaled; labels of another number of classes; loss summed instead of "
                     "averaged"),
    "regularisation": "weights that are all zero, or frozen; a penalty that is not added, or has the wrong sign",
    "overfit": ("learning rate too low or too high; labels that do not belong to their images; the same "
                "image under two labels; a layer without gradient (dead ReLU, detached tensor); a network "
                "too small; regularisation left on"),
    "gradient": ("a gradient rule that is wrong, or a value taken off the tape; a parameter that the output "
                 "does not depend on"),
}


@dataclass(frozen=True)
class Check:
    name: str
    passed: bool
    found: str
    expected: str

    def __str__(self):
        line = f"{'ok    ' if self.passed else 'FAILED'}  {self.name}: {self.found}; expected {self.expected}"
        return line if self.passed else f"{line}\n        usual causes: {CAUSES[self.name]}"


@dataclass(frozen=True)
class SanityReport:
    """str() is the report; `ok` whether every check passed; `failed` the names of
    those that did not."""
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[str]:
        return [c.name for c in self.checks if not c.passed]

    def __str__(self):
        verdict = "all checks passed" if self.ok else f"failed: {', '.join(self.failed)}"
        return "\n".join([*map(str, self.checks), verdict])


def sanity_check(model, data, *, classes: int | None = None, loss=None, expected: float | None = None,
                 samples: int = 20, steps: int = 200, lr: float = 1e-3, seed: int = 0) -> SanityReport:
    """Checks `model` on the dataset `data` (train.dataset; of a Split or Digits the training part),
    dropout off, weights and state put back afterwards.

    data: finite inputs that are not constant, labels within the classes. initial loss: within 5 %
    of expected, -ln(1 / classes) by default. regularisation: the loss grows with the strength of an
    L2 penalty. overfit: `samples` images are learnt to a loss below 0.02 and no error within
    `steps` steps of Adam at lr. gradient: in float64 each of up to twelve parameters' gradients is
    the quotient of differences.
    classes: default the number of outputs. loss(output, targets): default cross-entropy on the
    scores, without auxiliary classifiers.
    """
    data = split_of(data).train if isinstance(data, Digits) else getattr(data, "train", data)
    if samples < 1 or steps < 1 or not lr > 0:
        raise ValueError(
            f"sanity_check: samples, steps and lr must be positive, got {samples}, {steps} and {lr}")
    objective = loss or (lambda output, targets: F.cross_entropy(scores_of(model, output), targets))
    chosen = np.random.default_rng(seed).permutation(len(data))
    inputs, targets = data.take(chosen[:samples])
    state, drawn = {k: v.copy()
                    for k, v in model.state_dict().items()}, random.default_generator().bit_generator.state
    modes = [(m, m.training) for m in model.modules()]
    rates = [(m, m.p) for m in model.modules() if isinstance(m, (nn.StochasticDepth, *DROPOUTS))]
    try:
        for module, _ in rates:
            module.p = 0.0
        model.train()
        first = data.take(chosen[:max(samples, 64)])
        scores = scores_of(model, model(Tensor(first[0]))).data
        classes = classes or scores.shape[1]
        checks = [check_data(*first, classes)]
        if checks[0].passed:
            value = objective(model(Tensor(first[0])), first[1]).item()
            checks += [check_initial(value, -math.log(1 / classes) if expected is None else expected),
                       check_penalty(model, value)]
            model.load_state_dict(state)
            checks.append(check_gradient(model, objective, inputs[:4], targets[:4], seed))
            model.load_state_dict(state)
            checks.append(check_overfit(model, objective, inputs, targets, steps, lr))
    finally:
        model.load_state_dict(state)
        model.zero_grad()
        random.default_generator().bit_generator.state = drawn
        for module, mode in modes:
            module.training = mode
        for module, p in rates:
            module.p = p
    return SanityReport(tuple(checks))


DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def check_data(inputs, targets, classes: int) -> Check:
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    finite = bool(np.isfinite(inputs).all())
    spread, mean = (float(inputs.std()), float(inputs.mean())) if finite else (math.nan, math.nan)
    fits = 0 <= labels.min() and labels.max() < classes
    found = f"mean {mean:.3g}, deviation {spread:.3g}, labels {labels.min()} .. {labels.max()}"
    return Check("data", finite and 1e-3 < spread < 20 and abs(mean) < 20 and fits, found,
                 f"finite inputs of mean and deviation of a few units at most, labels 0 .. {classes - 1}")


def check_initial(value: float, expected: float) -> Check:
    off = (value - expected) / expected
    return Check("initial loss", abs(off) <= 0.05, f"{value:.4f} ({100 * off:+.1f} %)",
                 f"{expected:.4f} within 5 %")


def check_penalty(model, value: float) -> Check:
    totals = [value + penalty(model, l2=strength) for strength in (0.0, 1e-4, 1e-2, 1.0)]
    grows = all(b > a for a, b in zip(totals, totals[1:])) and math.isfinite(totals[-1])
    return Check("regularisation", grows, " -> ".join(f"{t:.4g}" for t in totals),
                 "growth with the L2 strength 0, 1e-4, 1e-2, 1")


def check_overfit(model, objective, inputs, targets, steps: int, lr: float) -> Check:
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr)
    value, right, step = math.inf, 0.0, 0
    for step in range(1, steps + 1):
        output = model(Tensor(inputs))
        loss = objective(output, targets)
        value, right = loss.item(), float((scores_of(model, output).data.argmax(1) == labels).mean())
        if not math.isfinite(value) or value < 0.02 and right == 1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Check("overfit", value < 0.02 and right == 1,
                 f"loss {value:.4f}, {100 * right:.0f} % right after {step} steps",
                 f"a loss below 0.02 and 100 % on {len(labels)} images")


def check_gradient(model, objective, inputs, targets, seed: int) -> Check:
    """Along a random direction of each parameter, of up to twelve evenly chosen ones, in a copy of
    the model in float64.

    A step that carries some value over the edge of a ReLU, or norms of a few values that bend the
    loss, make the quotient another number than the slope; a wrong rule does so at every step. So a
    smaller step has another try.
    """
    double, x, rng = copy.deepcopy(model).double(), inputs.astype(np.float64), np.random.default_rng(seed)
    targets = targets.astype(np.float64) if targets.dtype.kind == "f" else targets
    named = [(n, p) for n, p in double.named_parameters() if p.requires_grad]

    def value():
        return objective(double(Tensor(x)), targets)
    double.zero_grad()
    value().backward()
    unused = [name for name, p in named if p.grad is None]
    chosen = [named[i] for i in np.unique(np.linspace(0, len(named) - 1, 12).astype(int))]
    scale = max((float(np.linalg.norm(p.grad)) for _, p in named if p.grad is not None), default=0.0)
    worst, where = 0.0, chosen[0][0] if chosen else "-"
    for name, p in chosen:
        if p.grad is None:
            continue
        grad = np.asarray(p.grad)
        # half along the gradient, so that the expected quotient is not zero by chance
        direction = rng.standard_normal(p.shape)
        direction = direction / np.linalg.norm(direction) + grad / max(np.linalg.norm(grad), 1e-300)
        kept, want, error = p.data.copy(), float((grad * direction).sum()), math.inf
        for step in (1e-6, 1e-7, 1e-8):
            quotient = 0.0
            for sign in (1, -1):
                p.data[...] = kept + sign * step * direction
                quotient += sign * value().item() / (2 * step)
            p.data[...] = kept
            # below 1e-6 of the largest gradient differences of a float64 loss say nothing
            error = min(error, abs(quotient - want) / max(abs(quotient), abs(want), 1e-6 * scale, 1e-12))
            if error < 1e-3:
                break
        worst, where = max((worst, where), (error, name))
    found = f"worst relative difference {worst:.1e} ({where})" + (f"; no gradient reaches {', '.join(unused)}"
                                                                  if unused else "")
    return Check("gradient", worst < 1e-3 and not unused and scale > 0, found,
                 "below 1e-3, and a gradient for every parameter")
