"""Auxiliary classifiers in the middle of a deep network. Szegedy et al. (2015), section 5.

GoogLeNet as the model has it, an eighth of its maps, behind a stem for 16x16 pixels, trained by SGD
with momentum 0.9. Without batch normalisation, as in the paper, little of the gradient reaches the
first of its 22 layers, and the two classifiers bring it there; with it they are not needed.
"""
from __future__ import annotations

from functools import partial

import numpy as np

from pyops import nn
from pyops.core.tensor import Tensor
from pyops.models.classification.googlenet import BasicConv2d, GoogLeNet, Inception, InceptionAux
from pyops.optim import SGD
from pyops.train import measure

from .digits import as_they_are, digits
from .outcome import Curves, Outcome
from .training import curves, each, train

EPOCHS, RATE, NARROWER = 8, 0.03, 8
INCEPTIONS = {"3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
              "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
              "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
              "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
              "5b": (832, 384, 192, 384, 48, 128, 128)}


class NarrowAux(InceptionAux):
    """Without dropout: of this few outputs the model's 70 % leave too little, and the classifier
    harms more than it helps."""

    def __init__(self, channels: int, classes: int):
        self.conv = BasicConv2d(channels, 128 // NARROWER, 1)
        self.fc1, self.fc2 = nn.Linear(128 // NARROWER * 4 * 4,
                                       1024 // NARROWER), nn.Linear(1024 // NARROWER, classes)
        self.dropout = nn.Identity()


class NarrowGoogLeNet(GoogLeNet):
    """input: (N, 1, 16, 16). Its maps are 8x8 in stage 3, 4x4 in stage 4, where the auxiliary
    classifiers are, and 2x2 in stage 5."""
    image = (1, 16, 16)

    def __init__(self, auxiliary: bool, norms: bool, classes: int = 10):
        self.transform, self.maxpool2 = nn.Identity(), nn.Identity()
        self.conv1, self.conv2 = BasicConv2d(1, 64 // NARROWER, 3,
                                             padding=1), BasicConv2d(64 // NARROWER, 64 // NARROWER, 1)
        self.conv3 = BasicConv2d(64 // NARROWER, 192 // NARROWER, 3, padding=1)
        self.maxpool1, self.maxpool3 = (nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(2))
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        for name, widths in INCEPTIONS.items():
            setattr(self, f"inception{name}", Inception(*(width // NARROWER for width in widths)))
        self.avgpool, self.dropout, self.fc = (nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2),
                                               nn.Linear(1024 // NARROWER, classes))
        start = without_norm if not norms else lambda module: None
        self.apply(start)
        # last, so that under one seed the rest has the same weights with them and without
        self.aux1, self.aux2 = (NarrowAux(width // NARROWER, classes).apply(start) if auxiliary else None
                                for width in (512, 528))


def without_norm(module) -> None:
    """Convolutions with a bias instead, all weights from a start that keeps the maps' scale (He et
    al., 2015): from PyTorch's the signal dies out."""
    if isinstance(module, BasicConv2d):
        old = module.conv
        module.conv, module.bn = nn.Conv2d(old.in_channels, old.out_channels, old.kernel_size, old.stride,
                                           old.padding), nn.Identity()
    layer = module.conv if isinstance(module, BasicConv2d) else module
    if isinstance(layer, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def first_gradient(model, data) -> dict[str, float]:
    """Of the first convolution, at the first 64 images, before any step."""
    inputs, targets = data.train.take(np.arange(min(64, len(data.train))))
    model.train()
    model.loss(model(Tensor(inputs)), targets).backward()
    norm = float(np.linalg.norm(model.conv1.conv.weight.grad))
    model.zero_grad()
    return {"gradient at conv1": norm}


def own_loss(model, data) -> dict[str, float]:
    """Of the last classifier alone: the loss in training contains the others' too."""
    return {"training loss": measure(model, data.train).loss}


def run(seeds: int, quick: bool, data: str | None) -> Outcome:
    epochs, most = (2, 320) if quick else (EPOCHS, None)
    variants = {f"{'batch norms' if norms else 'no norms'}, auxiliary {'on' if auxiliary else 'off'}":
                    lambda auxiliary=auxiliary, norms=norms: NarrowGoogLeNet(auxiliary, norms)
                for norms in (False, True) for auxiliary in (False, True)}
    rows, histories = each(variants, lambda seed: as_they_are(*digits(seed, 16, data, most)), epochs, seeds,
                           first_gradient, own_loss, partial(train, lr=RATE, kind=partial(SGD, momentum=0.9)))
    return Outcome(
        "auxiliary classifiers in a narrow GoogLeNet", f"Digits in the middle of 16x16 pixels, {epochs} "
        "epochs. Parameters and gradient's norm: of the network in training, before its "
        "first step. Training loss: of the last classifier alone, after the last step.", "network",
        {"parameters": None, "gradient at conv1": 3, "training loss": 3, "test accuracy, %": 1}, rows,
        Curves(range(1, epochs + 1), curves(histories, "test_accuracy", 100), "epoch", "test accuracy, %"))
