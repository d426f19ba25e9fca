"""What a learning curve says: the lecture's rules, as text with the numbers behind each
finding, and as a picture."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ADVICE = {
    "rate too high": "lower the learning rate by a factor of 3 to 10, or clip gradients",
    "rate too low": "raise the learning rate by a factor of 3 to 10, or train longer",
    "noisy": "a larger batch, or a lower rate towards the end",
    "overfitting": ("early stopping, augmentation, dropout or weight decay, more data, transfer from a "
                    "trained network, fewer layers"),
    "underfitting": "a larger network, less regularisation, more epochs; run sanity_check first",
    "still improving": "train longer",
    "healthy": "nothing to change",
}


@dataclass(frozen=True)
class Finding:
    name: str
    evidence: str

    def __str__(self):
        return f"{self.name}: {self.evidence}. Try: {ADVICE[self.name]}."


@dataclass(frozen=True)
class Diagnosis:
    """findings: the most important first. str() is the text; draw(path) the curves with it."""
    findings: tuple[Finding, ...]
    history: tuple

    @property
    def names(self) -> list[str]:
        return [f.name for f in self.findings]

    def __str__(self):
        return "\n".join(map(str, self.findings))

    def draw(self, path) -> None:
        """The loss and accuracy curves with the findings under them, as PNG, SVG or PDF by
        the path's ending."""
        from . import curve
        curve.draw(path, self.history, "; ".join(self.names), "\n".join(map(str, self.findings)))


def diagnose(history: Sequence, batch_losses: Sequence[float] | None = None, classes: int = 10,
             chance: float | None = None) -> Diagnosis:
    """history: Epochs of a Trainer, at least three. batch_losses: of single steps, for "noisy"
    (Trainer.batch_losses). chance: the loss of who knows nothing; default ln(classes).

    ValueError for fewer epochs. The thresholds are rules of thumb; the evidence names the
    numbers that met them.
    """
    if len(history) < 3:
        raise ValueError(f"diagnose: a curve needs at least 3 epochs, got {len(history)}")
    train, test = (np.array([getattr(e, f"{kind}_loss") for e in history], float)
                   for kind in ("train", "test"))
    right, checked = (np.array([getattr(e, f"{kind}_accuracy") for e in history], float)
                      for kind in ("train", "test"))
    chance = np.log(classes) if chance is None else chance
    found = [*rate(train, test, chance), *noise(batch_losses, chance)]
    if not any(f.name.startswith("rate") for f in found):   # a wrong rate hides what the network could do
        found += fit(train, test, right, checked, chance)
    return Diagnosis(tuple(found)
                     or (Finding("healthy", f"training loss {train[-1]:.3g}, test loss {test[-1]:.3g}, "
                                 f"accuracies {100 * right[-1]:.1f} % and {100 * checked[-1]:.1f} %"),),
                     tuple(history))


def rate(train, test, chance):
    last = train[-max(2, len(train) // 3):].mean()
    if not np.isfinite(train).all():
        yield Finding("rate too high", "the training loss is no longer a number")
    elif (train.min() > 0 and last > 1.5 * train.min() and last > 0.25 * chance
          or last > 1.2 * max(chance, 1e-9)):
        yield Finding(
            "rate too high",
            f"the training loss ends at {last:.3g}; its best was {train.min():.3g}, chance is {chance:.3g}")
    elif train.max() > 1.3 * chance and last > 0.8 * chance:
        yield Finding("rate too high", f"the training loss jumped to {train.max():.3g} and then stayed at "
                      f"chance, {last:.3g}: steps that large leave units that never answer again")
    elif last > 0.5 * chance and train[0] - train[-1] < 0.1 * train[0] and (np.diff(train) < 0).mean() > 0.8:
        yield Finding("rate too low", f"the training loss fell steadily, but only from {train[0]:.3g} to "
                      f"{train[-1]:.3g} in {len(train)} epochs")
    elif np.isfinite(test).all() and np.median(test) > 5 * chance and last < chance:
        yield Finding(
            "rate too high",
            f"the training loss is good ({last:.3g}), the test loss very high ({np.median(test):.3g})")


def noise(batch_losses, chance):
    """The deviation of single steps from their running mean, in the second half of the training.
    Small losses hang on a few images: that is no noise."""
    if batch_losses is None or len(batch_losses) < 30:
        return
    losses = np.asarray(batch_losses, float)[len(batch_losses) // 2:]
    window = max(5, len(losses) // 10)
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    rest = losses[window // 2:window // 2 + len(smooth)] - smooth
    if smooth.mean() > 0.1 * chance and rest.std() > 0.5 * smooth.mean():
        yield Finding(
            "noisy",
            f"single steps' losses deviate by {rest.std():.2g} from a running mean of {smooth.mean():.2g}")


def fit(train, test, right, checked, chance):
    gap = right[-1] - checked[-1]
    best = int(np.argmin(test))
    risen = test[-1] > 1.15 * test[best] + 1e-3 and best < len(test) - 2 and train[-1] < train[best]
    if gap > 0.08 or risen and gap > 0.01:
        yield Finding(
            "overfitting",
            f"{100 * right[-1]:.1f} % right in training and {100 * checked[-1]:.1f} % in the test; the test "
            f"loss was lowest ({test[best]:.3g}) in epoch {best + 1} and ended at {test[-1]:.3g}")
    elif right[-1] < 0.9 and train[-1] > 0.15 * chance:
        slope = (train[-3] - train[-1]) / max(train[-3], 1e-9)
        if slope > 0.1:
            yield Finding("still improving",
                          f"the training loss fell by {100 * slope:.0f} % over the last two epochs")
        else:
            yield Finding(
                "underfitting",
                f"{100 * right[-1]:.1f} % right on the images it was trained on, loss {train[-1]:.3g}")
