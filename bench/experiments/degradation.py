"""Degradation: from some depth on a plain network is worse on the very images it is trained on. He
et al. (2015), figures 1 and 6.

A network that merely overfits has a low training loss. With shortcuts the same layers do not get
worse.
"""
from __future__ import annotations

from .digits import as_they_are, digits
from .outcome import Curves, Outcome
from .residual import Deep
from .training import curves, each

BLOCKS, EPOCHS = (1, 3, 9), 8   # of a stage: 8, 20 and 56 layers


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    blocks, epochs, most = ((1, 4), 3, 320) if quick else (BLOCKS, EPOCHS, None)
    variants = {f"{kind}, {6 * n + 2} layers": lambda n=n, kind=kind: Deep(n, kind == "residual")
                for kind in ("plain", "residual") for n in blocks}
    rows, histories = each(variants, lambda seed: as_they_are(*digits(seed, 8, data, most)), epochs, seeds)
    return Outcome("plain and residual networks of growing depth", "8x8 digits as they are, "
                   f"{epochs} epochs. The training loss is the mean over the last epoch's batches.",
                   "network", {"parameters": None, "training loss": 3, "test accuracy, %": 1}, rows,
                   Curves(range(1, epochs + 1), curves(histories, "train_loss"), "epoch", "training loss",
                          "y"))
