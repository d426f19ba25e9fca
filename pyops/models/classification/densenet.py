"""DenseNet-BC. Huang, Liu, van der Maaten & Weinberger, "Densely Connected Convolutional Networks"
(2017), with torchvision's names."""
from __future__ import annotations

import re

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["DenseNet", "densenet121", "densenet161", "densenet169", "densenet201"]

# torchvision's checkpoints are older than its parameter names: denselayer1.norm.1.weight is now
# denselayer1.norm1.weight.
OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")


class DenseLayer(nn.Module):
    """New maps from all maps before: a 1x1 convolution to `bottleneck` maps, then a 3x3;
    normalisation and ReLU precede each."""

    def __init__(self, channels: int, growth_rate: int, bottleneck: int, drop_rate: float):
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(channels, bottleneck, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(bottleneck, growth_rate, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(drop_rate)

    def forward(self, input):
        x = self.conv1(self.relu1(self.norm1(input)))
        return self.dropout(self.conv2(self.relu2(self.norm2(x))))


class DenseBlock(nn.ModuleDict):
    """Layers of which each sees the input and all layers before; returns the input
    and all they made."""

    def __init__(self, layers: int, channels: int, growth_rate: int, bn_size: int, drop_rate: float):
        super().__init__({f"denselayer{i + 1}": DenseLayer(channels + i * growth_rate, growth_rate,
                                                           bn_size * growth_rate, drop_rate)
                          for i in range(layers)})

    def forward(self, input):
        maps = [input]
        for layer in self.values():
            maps.append(layer(F.cat(maps, 1)))
        return F.cat(maps, 1)


def transition(channels: int, filters: int) -> nn.Sequential:
    """Fewer channels at half the resolution."""
    return nn.Sequential({"norm": nn.BatchNorm2d(channels), "relu": nn.ReLU(),
                          "conv": nn.Conv2d(channels, filters, 1, bias=False), "pool": nn.AvgPool2d(2, 2)})


class DenseNet(Classifier):
    """growth_rate: maps that a layer adds; block_config: layers of each block; bn_size: a layer's
    1x1 convolution makes that many times growth_rate; drop_rate: dropout after each layer. input:
    (N, 3, H, W), H and W at least 29, 224 in the paper. Returns logits (N, num_classes).
    """

    def __init__(self, growth_rate: int = 32, block_config: tuple[int, ...] = (6, 12, 24, 16),
                 num_init_features: int = 64,
                 bn_size: int = 4, drop_rate: float = 0.0, num_classes: int = 1000):
        channels = num_init_features
        self.features = nn.Sequential({
            "conv0": nn.Conv2d(3, channels, 7, 2, padding=3, bias=False), "norm0": nn.BatchNorm2d(channels),
            "relu0": nn.ReLU(), "pool0": nn.MaxPool2d(3, 2, padding=1)})
        for i, layers in enumerate(block_config, 1):
            self.features.add_module(f"denseblock{i}",
                                     DenseBlock(layers, channels, growth_rate, bn_size, drop_rate))
            channels += layers * growth_rate
            if i < len(block_config):
                self.features.add_module(f"transition{i}", transition(channels, channels // 2))
                channels //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def maps(self, input):
        return F.relu(self.features(input))

    def classify(self, maps):
        return self.classifier(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1))

    def load_state_dict(self, state_dict, strict: bool = True):
        return super().load_state_dict({OLD_NAME.sub(r"\1\2.", k): v for k, v in state_dict.items()}, strict)


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


@network(published=7_978_856, source="torchvision")
def densenet121(**settings) -> DenseNet:
    """58 dense layers. settings: growth_rate, block_config, num_init_features, bn_size,
    drop_rate, num_classes."""
    return DenseNet(**settings)


@network(published=28_681_000, source="torchvision")
def densenet161(**settings) -> DenseNet:
    """78 dense layers, wider than the others."""
    return DenseNet(**{"growth_rate": 48, "block_config": (6, 12, 36, 24), "num_init_features": 96}
                    | settings)


@network(published=14_149_480, source="torchvision")
def densenet169(**settings) -> DenseNet:
    """82 dense layers."""
    return DenseNet(**{"block_config": (6, 12, 32, 32)} | settings)


@network(published=20_013_928, source="torchvision")
def densenet201(**settings) -> DenseNet:
    """98 dense layers."""
    return DenseNet(**{"block_config": (6, 12, 48, 32)} | settings)
