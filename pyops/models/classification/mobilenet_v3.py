"""MobileNetV3. Howard et al., "Searching for MobileNetV3" (2019), with torchvision's parameter
names."""
from __future__ import annotations

from functools import partial

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier
from .inverted_residual import InvertedResidual, SqueezeExcitation, conv_norm, initialise, make_divisible

__all__ = ["MobileNetV3", "mobilenet_v3_large", "mobilenet_v3_small"]

RE, HS = nn.ReLU, nn.Hardswish

# Kernel, expanded channels, channels, squeeze and excitation, activation, stride. The paper's tables 1 and 2.
LARGE = ((3, 16, 16, False, RE, 1), (3, 64, 24, False, RE, 2), (3, 72, 24, False, RE, 1),
         (5, 72, 40, True, RE, 2), (5, 120, 40, True, RE, 1), (5, 120, 40, True, RE, 1),
         (3, 240, 80, False, HS, 2), (3, 200, 80, False, HS, 1), (3, 184, 80, False, HS, 1),
         (3, 184, 80, False, HS, 1), (3, 480, 112, True, HS, 1), (3, 672, 112, True, HS, 1),
         (5, 672, 160, True, HS, 2), (5, 960, 160, True, HS, 1), (5, 960, 160, True, HS, 1))
SMALL = ((3, 16, 16, True, RE, 2), (3, 72, 24, False, RE, 2), (3, 88, 24, False, RE, 1),
         (5, 96, 40, True, HS, 2), (5, 240, 40, True, HS, 1),
         (5, 240, 40, True, HS, 1), (5, 120, 48, True, HS, 1), (5, 144, 48, True, HS, 1),
         (5, 288, 96, True, HS, 2), (5, 576, 96, True, HS, 1), (5, 576, 96, True, HS, 1))

norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def excitation(expanded: int) -> SqueezeExcitation:
    return SqueezeExcitation(expanded, make_divisible(expanded // 4), gate=nn.Hardsigmoid)


def with_tail(blocks: tuple, reduced: bool, dilated: bool) -> tuple:
    """The last three blocks with half of their channels, but for what the first of them takes from
    the block in front, and at the resolution before them, with dilation 2."""
    part = 2 if reduced else 1
    first, *rest = blocks[-3:]
    tail = [(first, first[1]), *((block, block[1] // part) for block in rest)]
    return (*blocks[:-3], *((kernel, expanded, width // part, gated, activation, stride, 2 if dilated else 1)
                            for (kernel, _, width, gated, activation, stride), expanded in tail))


class MobileNetV3(Classifier):
    """width_mult scales the channels. For segmentation (section 6.4) dilated keeps the resolution
    of 1/16 to the end, and reduced_tail halves the channels of the last stage. input: (N, 3, H, W),
    224 in the paper. Returns logits (N, num_classes)."""

    def __init__(self, blocks: tuple, last_channel: int, num_classes: int = 1000, width_mult: float = 1.0,
                 dropout: float = 0.2, dilated: bool = False, reduced_tail: bool = False):
        if dilated or reduced_tail:
            blocks = with_tail(blocks, reduced_tail, dilated)
            last_channel //= 2 if reduced_tail else 1
        channels = make_divisible(16 * width_mult)
        features = [conv_norm(3, channels, 3, 2, norm=norm, activation=HS)]
        for kernel, expanded, width, gated, activation, stride, *dilation in blocks:
            filters = make_divisible(width * width_mult)
            features.append(InvertedResidual(channels, make_divisible(expanded * width_mult), filters, kernel,
                                             stride, norm, activation, excitation if gated else None,
                                             dilation=dilation[0] if dilation else 1))
            channels = filters
        last = make_divisible(last_channel * width_mult)
        self.features = nn.Sequential(*features,
                                      conv_norm(channels, 6 * channels, 1, norm=norm, activation=HS))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Linear(6 * channels, last), nn.Hardswish(), nn.Dropout(dropout),
                                        nn.Linear(last, num_classes))
        self.apply(initialise)

    def maps(self, input):
        return self.features(input)

    def strided(self) -> list[int]:
        """Places among `features` at which the resolution halves, or would without dilation; the
        first and the last layer are among them."""
        blocks = [at for at, block in enumerate(self.features)
                  if isinstance(block, InvertedResidual) and block.reduces]
        return [0, *blocks, len(self.features) - 1]

    def classify(self, maps):
        return self.classifier(F.flatten(self.avgpool(maps), 1))


@network(published=5_483_032, source="torchvision")
def mobilenet_v3_large(**settings) -> MobileNetV3:
    """15 blocks. settings: num_classes, width_mult, dropout."""
    return MobileNetV3(LARGE, 1280, **settings)


@network(published=2_542_856, source="torchvision")
def mobilenet_v3_small(**settings) -> MobileNetV3:
    """11 blocks."""
    return MobileNetV3(SMALL, 1024, **settings)
