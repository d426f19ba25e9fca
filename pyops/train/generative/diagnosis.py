"""What the curve of two players says: who wins, and which modes are missing."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ADVICE = {
    "no finite loss": "lower the learning rate, or penalise the gradient",
    "discriminator wins": ("a smaller or slower discriminator (a lower rate, dropout, spectral normalisation), "
                           "or a critic with a gradient penalty, whose slope stays"),
    "generator wins": "a larger discriminator, or more of its steps for one of the generator",
    "modes missing": ("a critic with a gradient penalty, classes as part of the code, a larger batch, "
                      "or an earlier checkpoint"),
    "swings": "lower rates, a smaller beta1 (0.5 or 0), a gradient penalty, and averaged weights",
    "repeats training images": "more images, augmentation of both real and made ones, a smaller network",
    "balanced": "nothing to change",
}


@dataclass(frozen=True)
class Finding:
    name: str
    evidence: str

    def __str__(self):
        return f"{self.name}: {self.evidence}. Try: {ADVICE[self.name]}."


def diagnose_players(history: Sequence, classes: int = 0, repeats: float | None = None) -> tuple[Finding, ...]:
    """history: GenerativeEpochs, at least three; the last third counts. classes: how many there should
    be, of which `said` has "classes" where they were counted. repeats: measures.memorised. The
    thresholds are rules of thumb; the evidence names the numbers. ValueError for fewer epochs."""
    if len(history) < 3:
        raise ValueError(f"diagnose_players: a curve needs at least 3 epochs, got {len(history)}")
    last = history[-max(2, len(history) // 3):]
    found = [*losses(last), *winners(last), *modes(history, classes)]
    if repeats is not None and repeats < 0.5:
        found.append(Finding("repeats training images", f"made images are {repeats:.2f} times as far from their "
                             "nearest training image as test images are"))
    return tuple(found) or (Finding("balanced", evidence(last)),)


def mean(history, name: str) -> float | None:
    values = [e.said[name] for e in history if name in e.said]
    return float(np.mean(values)) if values else None


def evidence(last) -> str:
    real, made = mean(last, "real right"), mean(last, "made right")
    told = ", ".join(f"{name} {np.mean([e.losses[name] for e in last]):.3g}" for name in last[-1].losses)
    if real is None or made is None:
        return told
    return f"{told}; {100 * real:.0f} % of real and {100 * made:.0f} % of made images told right"


def losses(last):
    values = {name: np.array([e.losses.get(name, np.nan) for e in last]) for name in last[-1].losses}
    if not all(np.isfinite(v).all() for v in values.values()):
        yield Finding("no finite loss", "a loss is no number any more")
        return
    generator = values.get("generator")
    if generator is not None and len(generator) >= 4 and mean(last, "real right") is not None:
        if generator.std() > 0.6 * max(abs(generator.mean()), 1e-9):
            yield Finding("swings", f"the generator's loss is {generator.mean():.3g} give or take "
                          f"{generator.std():.2g} from epoch to epoch")


def winners(last):
    """A discriminator that is nearly always right teaches the generator nothing; one that is wrong
    about made images, nothing either."""
    real, made = mean(last, "real right"), mean(last, "made right")
    if real is None or made is None:
        return
    if real > 0.98 and made > 0.98:
        yield Finding("discriminator wins", f"it has {100 * real:.1f} % of the real and {100 * made:.1f} % of the made "
                      "images right")
    elif made < 0.3:
        yield Finding("generator wins", f"only {100 * made:.0f} % of the made images are told from real ones")


def modes(history, classes: int):
    counted = [e.said["classes"] for e in history if "classes" in e.said]
    if counted and classes and counted[-1] < classes:
        yield Finding("modes missing", f"{int(counted[-1])} of {classes} classes appear"
                      + (f", {int(max(counted))} did before" if max(counted) > counted[-1] else ""))
