"""EfficientNetV2. Tan & Le, "EfficientNetV2: Smaller Models and Faster Training" (2021), with
torchvision's parameter names.

The first stages fuse the expanding 1x1 and the depthwise 3x3 convolution into one full 3x3, which
uses wide vector units better.
"""
from __future__ import annotations

import math
from functools import partial

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier
from .efficientnet import initialise, mbconv
from .inverted_residual import conv_norm

__all__ = ["EfficientNetV2", "efficientnet_v2_b0", "efficientnet_v2_b1", "efficientnet_v2_b2",
           "efficientnet_v2_b3", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s"]

FUSED, MB = True, False

# Kind, expansion, stride of the first block, channels, blocks; all kernels are 3x3. S is the
# paper's table 4; M, L and the base of B0-B3 are the authors' published settings.
S = ((FUSED, 1, 1, 24, 2), (FUSED, 4, 2, 48, 4), (FUSED, 4, 2, 64, 4), (MB, 4, 2, 128, 6), (MB, 6, 1, 160, 9),
     (MB, 6, 2, 256, 15))
M = ((FUSED, 1, 1, 24, 3), (FUSED, 4, 2, 48, 5), (FUSED, 4, 2, 80, 5), (MB, 4, 2, 160, 7),
     (MB, 6, 1, 176, 14), (MB, 6, 2, 304, 18), (MB, 6, 1, 512, 5))
L = ((FUSED, 1, 1, 32, 4), (FUSED, 4, 2, 64, 7), (FUSED, 4, 2, 96, 7), (MB, 4, 2, 192, 10),
     (MB, 6, 1, 224, 19), (MB, 6, 2, 384, 25), (MB, 6, 1, 640, 7))
BASE = ((FUSED, 1, 1, 16, 1), (FUSED, 4, 2, 32, 2), (FUSED, 4, 2, 48, 2), (MB, 4, 2, 96, 3),
        (MB, 6, 1, 112, 5), (MB, 6, 2, 192, 8))


def nearest_eight(value: float) -> int:
    """The nearest multiple of eight. Unlike make_divisible's it may lie more than a tenth below."""
    return max(8, int(value + 4) // 8 * 8)


class FusedMBConv(nn.Module):
    """A 3x3 convolution to `expansion` times the channels and a 1x1 back, or without expansion
    a 3x3 alone, beside a shortcut where shapes allow. The paper's figure 2, right, without
    squeeze and excitation."""

    def __init__(self, channels: int, filters: int, expansion: int, stride: int, norm, depth_drop: float):
        if expansion == 1:
            layers = [conv_norm(channels, filters, 3, stride, norm=norm, activation=nn.SiLU)]
        else:
            layers = [conv_norm(channels, channels * expansion, 3, stride, norm=norm, activation=nn.SiLU),
                      conv_norm(channels * expansion, filters, 1, norm=norm)]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = nn.StochasticDepth(depth_drop, "row")
        self.shortcut = stride == 1 and channels == filters

    def forward(self, input):
        x = self.block(input)
        return F.add(self.stochastic_depth(x), input) if self.shortcut else x


class EfficientNetV2(Classifier):
    """stages: as above; width_mult scales their channels, depth_mult their blocks. input: (N, 3, H,
    W); `size` is the published height and width. Returns logits (N, num_classes)."""

    def __init__(self, stages: tuple, size: int, dropout: float,
                 num_classes: int = 1000, width_mult: float = 1.0, depth_mult: float = 1.0,
                 stochastic_depth_prob: float = 0.2, last: int = 1280, stem: int | None = None):
        self.image = (3, size, size)
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        channels = nearest_eight((stem or stages[0][3]) * width_mult)
        counts = [math.ceil(depth_mult * stage[-1]) for stage in stages]
        drops = (stochastic_depth_prob * i / sum(counts) for i in range(sum(counts)))
        features = [conv_norm(3, channels, 3, 2, norm=norm, activation=nn.SiLU)]
        for (kind, expansion, stride, width, _), count in zip(stages, counts):
            filters, blocks = nearest_eight(width * width_mult), []
            for i in range(count):
                step = 1 if i else stride
                blocks.append(FusedMBConv(channels, filters, expansion, step, norm, next(drops)) if kind
                              is FUSED else mbconv(channels, filters, expansion, 3, step, norm, next(drops)))
                channels = filters
            features.append(nn.Sequential(*blocks))
        last = nearest_eight(last * max(1.0, width_mult))
        self.features = nn.Sequential(*features, conv_norm(channels, last, 1, norm=norm, activation=nn.SiLU))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.apply(initialise)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return self.classifier(F.flatten(self.avgpool(maps), 1))


@network(image=(3, 384, 384), published=21_458_488, source="torchvision")
def efficientnet_v2_s(**settings) -> EfficientNetV2:
    """40 blocks. settings: num_classes, dropout, stochastic_depth_prob, width_mult, depth_mult."""
    return EfficientNetV2(S, 384, **{"dropout": 0.2} | settings)


@network(image=(3, 480, 480), published=54_139_356, source="torchvision")
def efficientnet_v2_m(**settings) -> EfficientNetV2:
    """57 blocks."""
    return EfficientNetV2(M, 480, **{"dropout": 0.3} | settings)


@network(image=(3, 480, 480), published=118_515_272, source="torchvision", smallest=(3, 96, 80))
def efficientnet_v2_l(**settings) -> EfficientNetV2:
    """79 blocks."""
    return EfficientNetV2(L, 480, **{"dropout": 0.4} | settings)


@network(published=7_139_704, source="keras")
def efficientnet_v2_b0(**settings) -> EfficientNetV2:
    """21 blocks; B0 to B3 are scaled as EfficientNet's are."""
    return EfficientNetV2(BASE, 224, **{"dropout": 0.2, "stem": 32} | settings)


@network(image=(3, 240, 240), published=8_141_052, source="keras")
def efficientnet_v2_b1(**settings) -> EfficientNetV2:
    """B0 with 1.1 times the depth."""
    return EfficientNetV2(BASE, 240, **{"dropout": 0.2, "stem": 32, "depth_mult": 1.1} | settings)


@network(image=(3, 260, 260), published=10_096_086, source="keras")
def efficientnet_v2_b2(**settings) -> EfficientNetV2:
    """1.1 times the width, 1.2 times the depth."""
    return EfficientNetV2(BASE, 260,
                          **{"dropout": 0.3, "stem": 32, "width_mult": 1.1, "depth_mult": 1.2} | settings)


@network(image=(3, 300, 300), published=14_358_406, source="timm")
def efficientnet_v2_b3(**settings) -> EfficientNetV2:
    """1.2 times the width, 1.4 times the depth."""
    return EfficientNetV2(BASE, 300,
                          **{"dropout": 0.3, "stem": 32, "width_mult": 1.2, "depth_mult": 1.4} | settings)
