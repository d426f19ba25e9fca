"""What keras.applications' networks do otherwise than ours, with the same weights: padding,
strides, and constants of the norms.

TensorFlow's padding "same" puts the odd zero behind the maps, where ours lie symmetrically. A
network in Keras' layout takes its weights, and in our layout those of torchvision and timm; loading
a Keras file brings a model into Keras' layout.
"""
from __future__ import annotations

import numpy as np

from .. import functional as F, nn
from .classification.inception import Inception3
from .classification.mobilenet_v1 import MobileNetV1
from .classification.resnet import Bottleneck, ResNet
from .classification.resnet_v2 import ResNetV2

EPS = {"ResNet": 1.001e-5, "ResNetV2": 1.001e-5, "DenseNet": 1.001e-5}   # of the others 1e-3
PADDED_SAME = ("MobileNetV1", "MobileNetV2", "MobileNetV3", "EfficientNet", "EfficientNetV2", "Xception")


class SameConv2d(nn.Conv2d):
    """A convolution whose zeros are as many as ceil(size / stride) windows need, the odd one
    behind."""

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "SameConv2d":
        """`layer` with this padding: the same parameters."""
        made = cls.__new__(cls)
        vars(made).update(vars(layer))
        return made

    def widths(self, size: int, axis: int) -> tuple[int, int]:
        """Zeros before and behind."""
        kernel, stride = self.kernel_size[axis], self.stride[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2

    def forward(self, input):
        (top, bottom), (left, right) = (self.widths(input.shape[axis - 2], axis) for axis in (0, 1))
        padding = (top, left)
        if (top, left) != (bottom, right):
            input, padding = F.pad(input, (left, right, top, bottom)), 0
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class EndPaddedConv2d(SameConv2d):
    """One zero behind each axis, whatever its size."""

    def widths(self, size: int, axis: int) -> tuple[int, int]:
        return 0, 1


class SameMaxPool(nn.Module):
    """Maxima of 3x3 at stride 2 such that ceil(size / 2) are made, the odd missing pixel behind."""

    def forward(self, input):
        h, w = input.shape[-2:]
        return F.max_pool2d(input, 3, 2, (h % 2, w % 2), ceil_mode=True)


class ZeroPaddedMaxPool(nn.Module):
    """Maxima of 3x3 at stride 2, zeros around the maps taking part."""

    def forward(self, input):
        return F.max_pool2d(F.pad(input, (1, 1, 1, 1)), 3, 2)


def to_keras(model) -> None:
    """Brings a network of a family that keras.applications has into its layout, in place; the
    parameters stay. Twice is as once."""
    if model.layout == "keras":
        return
    family = type(model).__name__
    model.layout = "keras"
    for layer in [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]:
        layer.eps = EPS.get(family, 1e-3)
    if family in PADDED_SAME:
        pad_same(model)
    if isinstance(model, ResNet):
        stride_first(model)
    elif isinstance(model, ResNetV2):
        stride_last(model)
    elif isinstance(model, Inception3):
        for block in (m for m in model.modules() if hasattr(m, "count_edges")):
            block.count_edges = False


def pad_same(model) -> None:
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and max(layer.stride) > 1 and max(layer.padding) > 0:
                of_v1 = isinstance(model, MobileNetV1) and layer.groups > 1
                setattr(parent, name, (EndPaddedConv2d if of_v1 else SameConv2d).of(layer))
            elif isinstance(layer, nn.MaxPool2d):
                setattr(parent, name, SameMaxPool())


def stride_first(model: ResNet) -> None:
    """A bottleneck's stride is on its first 1x1, as in the paper."""
    for block in (m for m in model.modules() if isinstance(m, Bottleneck)):
        block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def stride_last(model: ResNetV2) -> None:
    """Stages halve the resolution in their last block, the fourth not at all; zeros take part in
    the stem's pooling; the convolutions that end in the sum have biases."""
    model.stem.pool = ZeroPaddedMaxPool()
    give_bias(model.stem.conv)
    for number, stage in enumerate(model.stages):
        for block in stage.blocks:
            block.set_stride(1)
            give_bias(block.conv3)
        if number < 3:
            stage.blocks[-1].set_stride(2)
        give_bias(stage.blocks[0].downsample.conv)


def give_bias(layer: nn.Conv2d) -> None:
    layer.bias = nn.Parameter(np.zeros(layer.out_channels, layer.weight.dtype))
