"""Local response normalisation, on or off. Krizhevsky, Sutskever & Hinton (2012), section 3.3: 1.4
points fewer errors on ImageNet.

b = a / (k + alpha' sum a^2)^0.75, the sum over 5 neighbouring maps, k = 2, alpha' = 1e-4. For
activations of about 1 that is a division by 2^0.75 = 1.7 and hardly more, so the third variant has
maps compete: k = 1, alpha' = 0.2.
"""
from __future__ import annotations

from pyops import nn

from .digits import digits, placed_anew
from .outcome import Curves, Outcome
from .training import curves, each

EPOCHS, NEIGHBOURS = 20, 5
NORMS = {"off": None, "on, as in the paper": (2.0, 1e-4), "on, k = 1 and alpha' = 0.2": (1.0, 0.2)}


def network(norm: tuple[float, float] | None) -> nn.Sequential:
    """Two 5x5 convolutions with ReLU, LRN and overlapping pooling, as AlexNet begins, a 3x3 one and
    two linear layers."""
    def begin(channels, filters):
        layers = [nn.Conv2d(channels, filters, 5, padding=2), nn.ReLU()]
        # the layer divides its alpha by the number of neighbours, the paper does not
        layers += ([nn.LocalResponseNorm(NEIGHBOURS, alpha=NEIGHBOURS * norm[1], beta=0.75, k=norm[0])]
                   if norm else [])
        return [*layers, nn.MaxPool2d(3, 2, padding=1)]
    return nn.Sequential(*begin(1, 16), *begin(16, 32), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
                         nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, 10))


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    epochs, most = (2, 320) if quick else (EPOCHS, None)
    rows, histories = each({name: lambda norm=norm: network(norm) for name, norm in NORMS.items()},
                           lambda seed: placed_anew(*digits(seed, 16, data, most), seed), epochs, seeds)
    return Outcome("local response normalisation",
                   f"Digits turned, scaled and moved on 16x16 pixels, anew in each of {epochs} epochs.",
                   "LRN", {"parameters": None, "training loss": 3, "test accuracy, %": 1}, rows,
                   Curves(range(1, epochs + 1), curves(histories, "test_accuracy", 100), "epoch",
                          "test accuracy, %"))
