"""Plain networks: ResNet's layers without its shortcuts. He, Zhang, Ren & Sun (2015), section 3.3
and figure 3, middle.

Beside resnet18 and resnet34 they show degradation: the deeper plain network trains to a higher
error than the shallower one.
"""
from __future__ import annotations

from ... import nn
from ..registry import network
from .resnet import ResNet, convolution

__all__ = ["plain18", "plain34"]


class PlainBlock(nn.Module):
    """Two 3x3 convolutions, each normalised and followed by ReLU; no shortcut."""
    expansion = 1

    def __init__(self, channels: int, width: int, stride: int = 1, downsample: nn.Module | None = None,
                 dilation: int = 1):
        del downsample   # the shortcut's, which is not there
        if dilation != 1:
            raise ValueError("ResNet: replace_stride_with_dilation is for bottlenecks; a PlainBlock has none")
        self.conv1 = convolution(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, input):
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(input))))))


@network()
def plain18(**settings) -> ResNet:
    """resnet18 without shortcuts. settings: num_classes."""
    return ResNet(PlainBlock, (2, 2, 2, 2), **settings)


@network()
def plain34(**settings) -> ResNet:
    """resnet34 without shortcuts."""
    return ResNet(PlainBlock, (3, 4, 6, 3), **settings)
