"""MobileNetV2. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018),
with torchvision's parameter names."""
from __future__ import annotations

from functools import partial

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier
from .inverted_residual import conv_norm, initialise, make_divisible

__all__ = ["MobileNetV2", "mobilenet_v2"]

# Expansion, channels, blocks, stride of the first block. The paper's table 2.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
          (6, 320, 1, 1))

wide = partial(conv_norm, activation=nn.ReLU6)


class Bottleneck(nn.Module):
    """InvertedResidual under the names that checkpoints of this network have, with ReLU6 and
    without excitation."""

    def __init__(self, channels: int, filters: int, stride: int, expansion: int):
        expanded = channels * expansion
        self.conv = nn.Sequential(
            *([wide(channels, expanded, 1)] if expansion != 1 else []),
            wide(expanded, expanded, 3, stride, groups=expanded),
            *conv_norm(expanded, filters, 1))
        self.shortcut = stride == 1 and channels == filters

    def forward(self, input):
        return F.add(input, self.conv(input)) if self.shortcut else self.conv(input)


class MobileNetV2(Classifier):
    """width_mult scales the channels, rounded to multiples of round_nearest. input: (N, 3, H, W),
    224 in the paper. Returns logits (N, num_classes).
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0, round_nearest: int = 8,
                 dropout: float = 0.2):
        channels = make_divisible(32 * width_mult, round_nearest)
        last = make_divisible(1280 * max(1.0, width_mult), round_nearest)
        features = [wide(3, channels, 3, 2)]
        for expansion, width, blocks, stride in STAGES:
            filters = make_divisible(width * width_mult, round_nearest)
            for i in range(blocks):
                features.append(Bottleneck(channels, filters, 1 if i else stride, expansion))
                channels = filters
        self.features = nn.Sequential(*features, wide(channels, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.apply(initialise)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return self.classifier(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


@network(published=3_504_872, source="torchvision")
def mobilenet_v2(**settings) -> MobileNetV2:
    """settings: num_classes, width_mult, round_nearest, dropout."""
    return MobileNetV2(**settings)
