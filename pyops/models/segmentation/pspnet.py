"""PSPNet. Zhao, Shi, Qi, Wang & Jia, "Pyramid Scene Parsing Network" (2017): beside each pixel the
means of the regions it lies in, on grids of 1, 2, 3 and 6 cells a side."""
from __future__ import annotations

from collections.abc import Sequence

from ... import functional as F, nn
from ...nn.sizes import positive
from ..classification.resnet import resnet50, resnet101
from ..registry import network
from .segmenter import Segmenter, conv_norm_relu, resized
from .trunk import dilated_resnet

__all__ = ["PSPNet", "pspnet_resnet101", "pspnet_resnet50"]


class Pyramid(nn.Module):
    """(N, C, H, W) to (N, C + len(bins) (C // len(bins)), H, W): the maps, and for each grid C // len(bins)
    channels of means."""

    def __init__(self, channels: int, bins: Sequence[int]):
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(cells), *conv_norm_relu(channels, channels // len(bins)))
            for cells in bins)

    def forward(self, maps):
        return F.cat([maps, *(resized(level(maps), maps, align_corners=True) for level in self.levels)], 1)


class PSPNet(Segmenter):
    """input: (N, 3, H, W), 473 in the paper. Returns logits (N, num_classes, H, W); in training a
    pair (see Segmenter)."""

    def __init__(self, make, num_classes: int = 21, bins: Sequence[int] = (1, 2, 3, 6), dropout: float = 0.1,
                 aux_loss: bool = True):
        for cells in bins:
            positive("PSPNet", bins=cells)
        self.backbone = dilated_resnet(make, 8)
        wide = 2048 + len(bins) * (2048 // len(bins))   # 4096 of the paper's four grids
        self.classifier = nn.Sequential(
            Pyramid(2048, bins), *conv_norm_relu(wide, 512, 3), nn.Dropout(dropout),
            nn.Conv2d(512, num_classes, 1))
        self.aux_classifier = nn.Sequential(
            *conv_norm_relu(1024, 256, 3), nn.Dropout(dropout), nn.Conv2d(256, num_classes, 1)) if aux_loss else None

    def forward(self, input):
        middle, last = self.backbone.stages(input)[2:]
        scores = resized(self.classifier(last), input, align_corners=True)
        if self.aux_classifier is None or not self.training:
            return scores
        return scores, resized(self.aux_classifier(middle), input, align_corners=True)


@network()
def pspnet_resnet50(num_classes: int = 21, **settings) -> PSPNet:
    """ResNet-50 at an output stride of 8. settings: bins, dropout, aux_loss."""
    return PSPNet(resnet50, num_classes, **settings)


@network()
def pspnet_resnet101(num_classes: int = 21, **settings) -> PSPNet:
    """ResNet-101 at an output stride of 8."""
    return PSPNet(resnet101, num_classes, **settings)
