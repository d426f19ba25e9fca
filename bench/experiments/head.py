"""Global average pooling or flattening before the linear layer. Lin, Chen & Yan, "Network in
Network" (2013), section 3.2.

The mean over a map needs a weight a map instead of one a position, and forgets where a feature was.
So both are trained on digits in the middle of the image, and tested there and on the same digits
moved by up to 3 pixels.
"""
from __future__ import annotations

import numpy as np

from pyops import nn
from pyops.train import ArrayDataset, measure

from .digits import MOVE, as_they_are, digits
from .outcome import Curves, Outcome
from .training import curves, each

EPOCHS = 12
HEADS = {"global average pooling": (nn.AdaptiveAvgPool2d(1), 1), "flatten": (nn.Identity(), 16)}


def network(name: str) -> nn.Sequential:
    """Three convolutions to 64 maps of 4x4 and one linear layer, on the maps' means
    or on all of them."""
    layers: list[nn.Module] = []
    for channels, filters in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU(),
                   *([nn.MaxPool2d(2)] if filters < 64 else [])]
    reduce, positions = HEADS[name]
    return nn.Sequential(*layers, reduce, nn.Flatten(), nn.Linear(64 * positions, 10))


def on_moved(model, data) -> dict[str, float]:
    moved = ArrayDataset(MOVE(data.test.images, np.random.default_rng(0)), data.test.labels)
    return {"of the linear layer": sum(p.size for p in model[-1].parameters()),
            "on moved digits, %": 100 * measure(model, moved).accuracy}


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    epochs, most = (4, 320) if quick else (EPOCHS, None)
    rows, histories = each({name: lambda name=name: network(name) for name in HEADS},
                           lambda seed: as_they_are(*digits(seed, 16, data, most)),
                           epochs, seeds, after=on_moved)
    return Outcome("global average pooling or flattening", f"Digits in the middle of 16x16 pixels, {epochs} "
                   "epochs; moved: by up to 3 pixels, never seen in training.",
                   "head", {"parameters": None, "of the linear layer": None, "training loss": 3,
                            "test accuracy, %": 1, "on moved digits, %": 1},
                   rows, Curves(range(1, epochs + 1), curves(histories, "test_accuracy", 100), "epoch",
                                "test accuracy, %"))
