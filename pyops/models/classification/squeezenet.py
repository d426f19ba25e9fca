"""SqueezeNet. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"
(2016), with torchvision's names."""
from __future__ import annotations

import numpy as np

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["SqueezeNet", "squeezenet1_0", "squeezenet1_1"]


class Fire(nn.Module):
    """A 1x1 convolution squeezes the maps to few; 1x1 and 3x3 convolutions side by side expand
    them. The paper's figure 1."""

    def __init__(self, channels: int, squeezed: int, expanded: int):
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, input):
        x = F.relu(self.squeeze(input))
        return F.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


def pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class SqueezeNet(Classifier):
    """input: (N, 3, H, W), 224 in the paper. Returns (N, num_classes): the last convolution makes a
    map a class, ReLU and the mean of each map follow, so that no linear layer is needed.
    """

    def __init__(self, features: nn.Sequential, num_classes: int = 1000, dropout: float = 0.5):
        self.features = features
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(512, num_classes, 1), nn.ReLU(),
                                        nn.AdaptiveAvgPool2d(1))
        for layer in (m for m in self.modules() if isinstance(m, nn.Conv2d)):
            if layer is self.classifier[1]:
                nn.init.normal_(layer.weight, 0, 0.01)
            else:
                bound = np.sqrt(6 / (layer.weight.size // layer.out_channels))   # He's uniform
                nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return F.flatten(self.classifier(maps), 1)


@network(published=1_248_424, source="torchvision")
def squeezenet1_0(**settings) -> SqueezeNet:
    """The paper's network. settings: num_classes, dropout."""
    return SqueezeNet(nn.Sequential(
        nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(), pool(),
        Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), pool(),
        Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), pool(),
        Fire(512, 64, 256)), **settings)


@network(published=1_235_496, source="torchvision")
def squeezenet1_1(**settings) -> SqueezeNet:
    """The authors' later form: a smaller first filter and earlier pooling, 2.4 times less
    arithmetic."""
    return SqueezeNet(nn.Sequential(
        nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), pool(),
        Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)), **settings)
