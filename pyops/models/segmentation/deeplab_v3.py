"""DeepLab v3. Chen, Papandreou, Schroff & Adam, "Rethinking Atrous Convolution for Semantic Image
Segmentation" (2017), with torchvision's parameter names.

A trunk that keeps its resolution by dilation, then atrous spatial pyramid pooling: 3x3 convolutions
of several rates beside a 1x1 and the mean of the image.
"""
from __future__ import annotations

from collections.abc import Sequence

from ... import functional as F, nn
from ..classification.resnet import ResNet, resnet50, resnet101
from ..registry import network
from .fcn_head import fcn_head
from .segmenter import Segmenter, conv_norm_relu, resized
from .trunk import collect, dilated_mobilenet, dilated_resnet

__all__ = ["DeepLabV3", "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet101", "deeplabv3_resnet50"]


class ImagePooling(nn.Sequential):
    """The mean of the maps through a 1x1 convolution, at every pixel."""

    def __init__(self, channels: int, filters: int):
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_norm_relu(channels, filters))

    def forward(self, input):
        return F.interpolate(super().forward(input), input.shape[-2:], mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: (N, channels, H, W) to (N, filters, H, W)."""

    def __init__(self, channels: int, rates: Sequence[int], filters: int = 256, dropout: float = 0.5,
                 branch=conv_norm_relu):
        self.convs = nn.ModuleList([
            nn.Sequential(*conv_norm_relu(channels, filters)),
            *(nn.Sequential(*branch(channels, filters, 3, rate)) for rate in rates),
            ImagePooling(channels, filters)])
        self.project = nn.Sequential(*conv_norm_relu(len(self.convs) * filters, filters), nn.Dropout(dropout))

    def forward(self, input):
        return self.project(F.cat([branch(input) for branch in self.convs], 1))


class DeepLabV3(Segmenter):
    """backbone: a ResNet without its top, or MobileNetV3's layers. input: (N, 3, H, W). Returns
    logits (N, num_classes, H, W); in training with aux_loss a pair (see Segmenter)."""

    def __init__(self, backbone: nn.Module, channels: int, middle: int, rates: Sequence[int],
                 num_classes: int, aux_loss: bool, places: Sequence[int] = ()):
        self.backbone = backbone
        self.places = tuple(places)
        self.classifier = nn.Sequential(
            ASPP(channels, rates), *conv_norm_relu(256, 256, 3), nn.Conv2d(256, num_classes, 1))
        self.aux_classifier = fcn_head(middle, num_classes) if aux_loss else None

    def forward(self, input):
        middle, last = (self.backbone.stages(input)[2:] if isinstance(self.backbone, ResNet)
                        else collect(self.backbone, input, self.places))
        scores = resized(self.classifier(last), input)
        if self.aux_classifier is None or not self.training:
            return scores
        return scores, resized(self.aux_classifier(middle), input)


def of_resnet(make, num_classes: int, aux_loss: bool, output_stride: int, rates: Sequence[int] | None,
              multi_grid: tuple[int, ...] | None) -> DeepLabV3:
    """Section 4.1 has rates 6, 12, 18 at an output stride of 16 and twice that at 8."""
    rates = rates or {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}.get(output_stride, ())
    return DeepLabV3(dilated_resnet(make, output_stride, multi_grid), 2048, 1024, rates, num_classes, aux_loss)


@network(published=42_004_074, source="torchvision")
def deeplabv3_resnet50(num_classes: int = 21, aux_loss: bool = False, output_stride: int = 8,
                       rates: Sequence[int] | None = None,
                       multi_grid: tuple[int, ...] | None = None) -> DeepLabV3:
    """ResNet-50. The published number of parameters is that with aux_loss, which 21 classes of
    Pascal VOC were trained with."""
    return of_resnet(resnet50, num_classes, aux_loss, output_stride, rates, multi_grid)


@network(published=60_996_202, source="torchvision")
def deeplabv3_resnet101(num_classes: int = 21, aux_loss: bool = False, output_stride: int = 8,
                        rates: Sequence[int] | None = None,
                        multi_grid: tuple[int, ...] | None = None) -> DeepLabV3:
    """ResNet-101; multi_grid=(1, 2, 4) is the paper's best."""
    return of_resnet(resnet101, num_classes, aux_loss, output_stride, rates, multi_grid)


@network(published=11_029_328, source="torchvision")
def deeplabv3_mobilenet_v3_large(num_classes: int = 21, aux_loss: bool = False,
                                 rates: Sequence[int] = (12, 24, 36)) -> DeepLabV3:
    """MobileNetV3-Large at an output stride of 16."""
    layers, places, widths = dilated_mobilenet()
    return DeepLabV3(layers, widths[-1], widths[-4], rates, num_classes, aux_loss, (places[-4], places[-1]))
