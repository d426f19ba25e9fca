"""EfficientNet. Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural
Networks" (2019), with torchvision's names."""
from __future__ import annotations

import math
from functools import partial

from ... import functional as F, nn
from ..registry import network
from . import inverted_residual
from .classifier import Classifier
from .inverted_residual import InvertedResidual, SqueezeExcitation, conv_norm, make_divisible

__all__ = ["EfficientNet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
           "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7"]

# Expansion, kernel, stride of the first block, channels, blocks. The paper's table 1.
STAGES = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
          (6, 5, 2, 192, 4), (6, 3, 1, 320, 1))


class EfficientNet(Classifier):
    """width_mult scales the channels, depth_mult the blocks of each stage. stochastic_depth_prob
    is the probability that training skips the last block; those before are skipped less, in
    proportion to their depth. input: (N, 3, H, W); `size` is the published height and width.
    Returns logits (N, num_classes).
    """

    def __init__(self, width_mult: float, depth_mult: float, dropout: float, num_classes: int = 1000,
                 stochastic_depth_prob: float = 0.2,
                 eps: float = 1e-5, momentum: float = 0.1, size: int = 224):
        self.image = (3, size, size)
        norm = partial(nn.BatchNorm2d, eps=eps, momentum=momentum)
        channels = make_divisible(32 * width_mult)
        total = sum(math.ceil(depth_mult * stage[-1]) for stage in STAGES)
        drops = (stochastic_depth_prob * i / total for i in range(total))
        features = [conv_norm(3, channels, 3, 2, norm=norm, activation=nn.SiLU)]
        for expansion, kernel, stride, width, count in STAGES:
            filters, blocks = make_divisible(width * width_mult), []
            for i in range(math.ceil(depth_mult * count)):
                blocks.append(mbconv(channels, filters, expansion, kernel, 1 if i else stride, norm,
                                     next(drops)))
                channels = filters
            features.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*features,
                                      conv_norm(channels, 4 * channels, 1, norm=norm, activation=nn.SiLU))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * channels, num_classes))
        self.apply(initialise)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return self.classifier(F.flatten(self.avgpool(maps), 1))


def mbconv(channels: int, filters: int, expansion: int, kernel: int, stride: int, norm,
           depth_drop: float) -> InvertedResidual:
    """The block: its gate squeezes to a quarter of the block's own channels, not of
    the expanded ones."""
    excitation = partial(SqueezeExcitation, squeezed=max(1, channels // 4), activation=nn.SiLU)
    return InvertedResidual(channels, make_divisible(channels * expansion), filters, kernel, stride, norm,
                            nn.SiLU, excitation, depth_drop)


def initialise(module: nn.Module) -> None:
    """As MobileNets, but linear layers uniform within 1 / sqrt(out_features)."""
    inverted_residual.initialise(module)
    if isinstance(module, nn.Linear):
        bound = 1 / math.sqrt(module.out_features)
        nn.init.uniform_(module.weight, -bound, bound)


@network(published=5_288_548, source="torchvision")
def efficientnet_b0(**settings) -> EfficientNet:
    """Images of 224. settings: num_classes, dropout, stochastic_depth_prob, width_mult,
    depth_mult, eps, momentum."""
    return EfficientNet(**{"width_mult": 1.0, "depth_mult": 1.0, "dropout": 0.2} | settings)


@network(image=(3, 240, 240), published=7_794_184, source="torchvision")
def efficientnet_b1(**settings) -> EfficientNet:
    """Images of 240."""
    return EfficientNet(**{"size": 240, "width_mult": 1.0, "depth_mult": 1.1, "dropout": 0.2} | settings)


@network(image=(3, 260, 260), published=9_109_994, source="torchvision")
def efficientnet_b2(**settings) -> EfficientNet:
    """Images of 260 in the paper, 288 for torchvision's weights."""
    return EfficientNet(**{"size": 260, "width_mult": 1.1, "depth_mult": 1.2, "dropout": 0.3} | settings)


@network(image=(3, 300, 300), published=12_233_232, source="torchvision")
def efficientnet_b3(**settings) -> EfficientNet:
    """Images of 300."""
    return EfficientNet(**{"size": 300, "width_mult": 1.2, "depth_mult": 1.4, "dropout": 0.3} | settings)


@network(image=(3, 380, 380), published=19_341_616, source="torchvision")
def efficientnet_b4(**settings) -> EfficientNet:
    """Images of 380."""
    return EfficientNet(**{"size": 380, "width_mult": 1.4, "depth_mult": 1.8, "dropout": 0.4} | settings)


# torchvision's weights of the three largest come from another implementation, with its constants
# of batch normalisation.

@network(image=(3, 456, 456), published=30_389_784, source="torchvision")
def efficientnet_b5(**settings) -> EfficientNet:
    """Images of 456."""
    return EfficientNet(
        **{"size": 456, "width_mult": 1.6, "depth_mult": 2.2, "dropout": 0.4, "eps": 1e-3, "momentum": 0.01}
        | settings)


@network(image=(3, 528, 528), published=43_040_704, source="torchvision")
def efficientnet_b6(**settings) -> EfficientNet:
    """Images of 528."""
    return EfficientNet(
        **{"size": 528, "width_mult": 1.8, "depth_mult": 2.6, "dropout": 0.5, "eps": 1e-3, "momentum": 0.01}
        | settings)


@network(image=(3, 600, 600), published=66_347_960, source="torchvision")
def efficientnet_b7(**settings) -> EfficientNet:
    """Images of 600."""
    return EfficientNet(
        **{"size": 600, "width_mult": 2.0, "depth_mult": 3.1, "dropout": 0.5, "eps": 1e-3, "momentum": 0.01}
        | settings)
