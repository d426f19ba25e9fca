"""The classifier of fully convolutional networks on a ResNet, as torchvision has it."""
from __future__ import annotations

from ... import nn
from .segmenter import conv_norm_relu


def fcn_head(channels: int, num_classes: int) -> nn.Sequential:
    """A 3x3 convolution to a quarter of the channels, and a 1x1 to the classes."""
    return nn.Sequential(*conv_norm_relu(channels, channels // 4, 3), nn.Dropout(0.1),
                         nn.Conv2d(channels // 4, num_classes, 1))
