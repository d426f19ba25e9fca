"""LR-ASPP. Howard et al., "Searching for MobileNetV3" (2019), section 6.4, with torchvision's
parameter names: a pyramid of one 1x1 convolution, gated by the mean of the image."""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .segmenter import Segmenter, conv_norm_relu, resized
from .trunk import collect, dilated_mobilenet

__all__ = ["LRASPP", "lraspp_mobilenet_v3_large"]


class LiteHead(nn.Module):
    """low: channels of the maps at 1/8, high: of those at 1/16."""

    def __init__(self, low: int, high: int, num_classes: int, filters: int):
        self.cbr = nn.Sequential(*conv_norm_relu(high, filters))
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, filters, 1, bias=False),
                                   nn.Sigmoid())
        self.low_classifier = nn.Conv2d(low, num_classes, 1)
        self.high_classifier = nn.Conv2d(filters, num_classes, 1)

    def forward(self, low, high):
        x = resized(F.mul(self.cbr(high), self.scale(high)), low)
        return F.add(self.low_classifier(low), self.high_classifier(x))


class LRASPP(Segmenter):
    """input: (N, 3, H, W). Returns logits (N, num_classes, H, W)."""

    def __init__(self, num_classes: int = 21, filters: int = 128):
        self.backbone, places, widths = dilated_mobilenet()
        self.places = places[-4], places[-1]
        self.classifier = LiteHead(widths[-4], widths[-1], num_classes, filters)

    def forward(self, input):
        return resized(self.classifier(*collect(self.backbone, input, self.places)), input)


@network(published=3_221_538, source="torchvision")
def lraspp_mobilenet_v3_large(num_classes: int = 21, filters: int = 128) -> LRASPP:
    """MobileNetV3-Large at an output stride of 16. filters: between trunk and classes."""
    return LRASPP(num_classes, filters)
