"""ResNet v2. He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks" (2016), with
timm's parameter names.

Normalisation and ReLU come before each convolution, so that nothing stands between the sums of two
blocks. The stride is on the 3x3 convolution, as in timm; the authors' code has it on the first 1x1.
"""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier
from .resnet import convolution, initialise

__all__ = ["ResNetV2", "resnet101_v2", "resnet152_v2", "resnet50_v2"]


class PreActivation(nn.BatchNorm2d):
    """Normalisation and ReLU."""

    def forward(self, input):
        return F.relu(super().forward(input))


class Projection(nn.Module):
    """The shortcut of a stage's first block: a 1x1 convolution of what the block's first norm
    made."""

    def __init__(self, channels: int, filters: int, stride: int):
        self.conv = convolution(channels, filters, 1, stride)

    def forward(self, input):
        return self.conv(input)


class PreActivationBottleneck(nn.Module):
    """The paper's figure 1b, with three convolutions."""

    def __init__(self, channels: int, filters: int, stride: int, first: bool):
        width = filters // 4
        self.downsample = Projection(channels, filters, stride) if first else None
        self.norm1 = PreActivation(channels)
        self.conv1 = convolution(channels, width, 1)
        self.norm2 = PreActivation(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.norm3 = PreActivation(width)
        self.conv3 = convolution(width, filters, 1)
        self.stride = stride

    def set_stride(self, stride: int) -> None:
        """Keras' networks have it elsewhere in a stage; where the shortcut is the input, its
        every other pixel then."""
        self.stride = stride
        self.conv2.stride = (stride, stride)
        if self.downsample is not None:
            self.downsample.conv.stride = (stride, stride)

    def forward(self, input):
        x = self.norm1(input)
        if self.downsample is not None:
            shortcut = self.downsample(x)
        else:
            shortcut = input if self.stride == 1 else F.max_pool2d(input, 1, self.stride)
        return F.add(self.conv3(self.norm3(self.conv2(self.norm2(self.conv1(x))))), shortcut)


class Stage(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int, blocks: int):
        self.blocks = nn.Sequential(
            *(PreActivationBottleneck(filters if i else channels, filters, 1 if i else stride, not i)
              for i in range(blocks)))

    def forward(self, input):
        return self.blocks(input)


class ResNetV2(Classifier):
    """layers: blocks at each of the four resolutions. input: (N, 3, H, W), 224 in the paper.
    Returns logits (N, num_classes). The head is a 1x1 convolution of the means."""
    head_names = ("head",)

    def __init__(self, layers: tuple[int, int, int, int], num_classes: int = 1000):
        self.stem = nn.Sequential({"conv": convolution(3, 64, 7, 2), "pool": nn.MaxPool2d(3, 2, padding=1)})
        filters = (256, 512, 1024, 2048)
        self.stages = nn.Sequential(
            *(Stage(before, width, 2 if i else 1, blocks)
              for i, (before, width, blocks) in enumerate(zip((64, *filters), filters, layers))))
        self.norm = PreActivation(filters[-1])
        self.head = nn.Sequential({"fc": nn.Conv2d(filters[-1], num_classes, 1)})
        self.apply(initialise)
        nn.init.normal_(self.head[0].weight, 0, 0.01)
        nn.init.zeros_(self.head[0].bias)

    def maps(self, input):
        return self.norm(self.stages(self.stem(input)))

    def classify(self, maps):
        return F.flatten(self.head(F.adaptive_avg_pool2d(maps, 1)), 1)


@network(published=25_568_360, source="keras", timm="resnetv2_50")
def resnet50_v2(**settings) -> ResNetV2:
    """49 convolutions before the head. settings: num_classes."""
    return ResNetV2((3, 4, 6, 3), **settings)


@network(published=44_577_896, source="keras", timm="resnetv2_101")
def resnet101_v2(**settings) -> ResNetV2:
    """100 convolutions before the head."""
    return ResNetV2((3, 4, 23, 3), **settings)


@network(published=60_236_904, source="keras", timm="resnetv2_152")
def resnet152_v2(**settings) -> ResNetV2:
    """151 convolutions before the head."""
    return ResNetV2((3, 8, 36, 3), **settings)
