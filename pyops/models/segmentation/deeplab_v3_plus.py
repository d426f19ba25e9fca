"""DeepLab v3+. Chen, Zhu, Papandreou, Schroff & Adam, "Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation" (2018), with the parameter names of
segmentation-models-pytorch.

DeepLab v3's pyramid, of separable convolutions, and a decoder that joins its result with the
trunk's maps at 1/4, so that borders are sharp.
"""
from __future__ import annotations

from collections.abc import Sequence

from ... import functional as F, nn
from ..classification.resnet import resnet50, resnet101
from ..classification.xception_aligned import XceptionAligned, xception65
from ..registry import network
from .deeplab_v3 import ASPP
from .segmenter import Segmenter, conv_norm_relu, resized
from .trunk import dilated_resnet

__all__ = ["DeepLabV3Plus", "deeplabv3plus_resnet101", "deeplabv3plus_resnet50", "deeplabv3plus_xception65"]


def separable(channels: int, filters: int, kernel: int = 3, dilation: int = 1) -> list[nn.Module]:
    """A convolution of each map by itself, a 1x1 across maps, norm and ReLU."""
    return [nn.Sequential(
        nn.Conv2d(channels, channels, kernel, padding=kernel // 2 * dilation, dilation=dilation, groups=channels,
                  bias=False),
        nn.Conv2d(channels, filters, 1, bias=False)), nn.BatchNorm2d(filters), nn.ReLU()]


class Decoder(nn.Module):
    """fine: channels of the maps at 1/4, coarse: of the last ones."""

    def __init__(self, fine: int, coarse: int, rates: Sequence[int], filters: int, dropout: float):
        self.aspp = nn.Sequential(ASPP(coarse, rates, filters, dropout, branch=separable),
                                  *separable(filters, filters))
        self.block1 = nn.Sequential(*conv_norm_relu(fine, 48))   # 48: table 1
        self.block2 = nn.Sequential(*separable(48 + filters, filters))

    def forward(self, fine, coarse):
        coarse = resized(self.aspp(coarse), fine, align_corners=True)
        return self.block2(F.cat([coarse, self.block1(fine)], 1))


class DeepLabV3Plus(Segmenter):
    """encoder: a ResNet without its top or an XceptionAligned. input: (N, 3, H, W). Returns logits
    (N, num_classes, H, W)."""

    def __init__(self, encoder: nn.Module, fine: int, rates: Sequence[int], num_classes: int, filters: int = 256,
                 dropout: float = 0.5):
        self.encoder = encoder
        self.decoder = Decoder(fine, 2048, rates, filters, dropout)
        self.segmentation_head = nn.Sequential(nn.Conv2d(filters, num_classes, 1))

    def forward(self, input):
        stages = self.encoder.stages(input)
        # of an Xception the maps at 1/2 come first
        fine = stages[1] if isinstance(self.encoder, XceptionAligned) else stages[0]
        scores = self.segmentation_head(self.decoder(fine, stages[-1]))
        return resized(scores, input, align_corners=True)


@network()
def deeplabv3plus_resnet50(num_classes: int = 21, output_stride: int = 16,
                           rates: Sequence[int] = (6, 12, 18)) -> DeepLabV3Plus:
    """ResNet-50. rates: double them for an output stride of 8."""
    return DeepLabV3Plus(dilated_resnet(resnet50, output_stride), 256, rates, num_classes)


@network()
def deeplabv3plus_resnet101(num_classes: int = 21, output_stride: int = 16,
                            rates: Sequence[int] = (6, 12, 18)) -> DeepLabV3Plus:
    """ResNet-101."""
    return DeepLabV3Plus(dilated_resnet(resnet101, output_stride), 256, rates, num_classes)


@network()
def deeplabv3plus_xception65(num_classes: int = 21, output_stride: int = 16,
                             rates: Sequence[int] = (6, 12, 18)) -> DeepLabV3Plus:
    """The paper's best: Xception of 65 layers."""
    encoder = xception65(output_stride=output_stride)
    encoder.without_top()
    return DeepLabV3Plus(encoder, 256, rates, num_classes)
