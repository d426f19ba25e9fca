"""Pooling or strides: the comparison of Springenberg et al. (2014), table 1, on a small network.

Their four: max pooling; its stride moved into the convolution before it; a convolution of stride 2
in its place (All-CNN); and max pooling with one more convolution before it, which has as many
parameters as the third and so tells what the mere addition gains.
"""
from __future__ import annotations

from pyops import nn

from .digits import digits, placed_anew
from .outcome import Curves, Outcome
from .training import curves, each

EPOCHS = 20
HALVES = {"max pooling": "pool", "its stride in the convolution": "stride",
          "a convolution of stride 2 instead": "conv", "max pooling and one more convolution": "conv, pool"}


def network(halve: str) -> nn.Sequential:
    """Convolutions to 16, 32 and 64 maps of 16x16, 8x8 and 4x4, the means of the last, a linear
    layer. halve: what makes maps smaller."""
    layers: list[nn.Module] = []
    for channels, filters in ((1, 16), (16, 32)):
        layers += convolution(channels, filters, 2 if halve == "stride" else 1)
        layers += (convolution(filters, filters, 2) if halve == "conv"
                   else convolution(filters, filters) if halve == "conv, pool" else [])
        layers += [nn.MaxPool2d(3, 2, padding=1)] if halve.endswith("pool") else []
    return nn.Sequential(*layers, *convolution(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(64, 10))


def convolution(channels: int, filters: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, filters, 3, stride, padding=1), nn.BatchNorm2d(filters), nn.ReLU()]


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    epochs, most = (2, 320) if quick else (EPOCHS, None)
    rows, histories = each({name: lambda how=how: network(how) for name, how in HALVES.items()},
                           lambda seed: placed_anew(*digits(seed, 16, data, most), seed), epochs, seeds)
    return Outcome("what makes maps smaller",
                   f"Digits turned, scaled and moved on 16x16 pixels, anew in each of {epochs} epochs.",
                   "made smaller by", {"parameters": None, "training loss": 3, "test accuracy, %": 1}, rows,
                   Curves(range(1, epochs + 1), curves(histories, "test_accuracy", 100), "epoch",
                          "test accuracy, %"))
