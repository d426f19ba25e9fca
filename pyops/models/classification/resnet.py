"""ResNet. He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition" (2015), with
torchvision's parameter names.

As in torchvision, a bottleneck has its stride on the 3x3 convolution ("version 1.5"); the paper
has it on the first 1x1.
"""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["ResNet", "resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]


def convolution(channels: int, filters: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""
    expansion = 1

    def __init__(self, channels: int, width: int, stride: int = 1, downsample: nn.Module | None = None):
        self.conv1 = convolution(channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, input):
        x = self.relu(self.bn1(self.conv1(input)))
        x = self.bn2(self.conv2(x))
        return self.relu(F.add(x, input if self.downsample is None else self.downsample(input)))


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1, which narrow and widen its maps, beside a shortcut."""
    expansion = 4

    def __init__(self, channels: int, width: int, stride: int = 1, downsample: nn.Module | None = None):
        self.conv1 = convolution(channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, input):
        x = self.relu(self.bn1(self.conv1(input)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(F.add(x, input if self.downsample is None else self.downsample(input)))


class ResNet(Classifier):
    """block: BasicBlock or Bottleneck; layers: how many of them at each of the four resolutions.

    zero_init_residual starts each block as its shortcut alone (Goyal et al., 2017).
    replace_stride_with_dilation says of the last three resolutions which keep the one before:
    their 3x3 convolutions then see as far by dilation (Chen et al., 2017). input: (N, 3, H, W), 224
    in the paper. Returns logits (N, num_classes).
    """
    head_names = ("fc",)

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], layers: tuple[int, int, int, int],
                 num_classes: int = 1000, zero_init_residual: bool = False,
                 replace_stride_with_dilation: tuple[bool, bool, bool] = (False, False, False)):
        if block is not Bottleneck and any(replace_stride_with_dilation):
            raise ValueError("ResNet: replace_stride_with_dilation is for bottlenecks; of other blocks none is "
                             "dilated")
        if len(replace_stride_with_dilation) != 3:
            raise ValueError("ResNet: replace_stride_with_dilation must be three bools, one for each of the "
                             f"last three resolutions, got {replace_stride_with_dilation!r}")
        self.conv1 = convolution(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = stage(block, 64, 64, layers[0], stride=1)
        dilation = 1
        for level, dilated in enumerate(replace_stride_with_dilation, 1):
            before, dilation = dilation, 2 * dilation if dilated else dilation
            setattr(self, f"layer{level + 1}",
                    stage(block, (32 << level) * block.expansion, 64 << level, layers[level],
                          1 if dilated else 2, before, dilation))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self.apply(initialise)
        if zero_init_residual:
            for residual in (m for m in self.modules() if isinstance(m, (BasicBlock, Bottleneck))):
                nn.init.zeros_((residual.bn3 if isinstance(residual, Bottleneck) else residual.bn2).weight)

    def stages(self, input) -> tuple:
        """The maps of the four resolutions, the finest first."""
        first = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(input)))))
        second = self.layer2(first)
        third = self.layer3(second)
        return first, second, third, self.layer4(third)

    def maps(self, input):
        return self.stages(input)[-1]

    def classify(self, maps):
        return self.fc(F.flatten(self.avgpool(maps), 1))


def stage(block, channels: int, width: int, count: int, stride: int, before: int = 1,
          dilation: int = 1) -> nn.Sequential:
    """`count` blocks. The first has the stride, and a 1x1 convolution for a shortcut where shapes
    change; its dilation is that of the stage before, `before`."""
    out = width * block.expansion
    downsample = (nn.Sequential(convolution(channels, out, 1, stride), nn.BatchNorm2d(out)) if stride > 1
                  or channels != out else None)
    blocks = [block(channels, width, stride, downsample), *(block(out, width) for _ in range(count - 1))]
    for at, one in enumerate(blocks):
        if (rate := dilation if at else before) > 1:
            one.conv2.dilation = one.conv2.padding = (rate, rate)
    return nn.Sequential(*blocks)


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions; the rest starts as layers do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@network(published=11_689_512, source="torchvision")
def resnet18(**settings) -> ResNet:
    """17 convolutions and a linear layer. settings: num_classes, zero_init_residual."""
    return ResNet(BasicBlock, (2, 2, 2, 2), **settings)


@network(published=21_797_672, source="torchvision")
def resnet34(**settings) -> ResNet:
    """33 convolutions and a linear layer."""
    return ResNet(BasicBlock, (3, 4, 6, 3), **settings)


@network(published=25_557_032, source="torchvision")
def resnet50(**settings) -> ResNet:
    """49 convolutions and a linear layer, of bottlenecks as all that are deeper."""
    return ResNet(Bottleneck, (3, 4, 6, 3), **settings)


@network(published=44_549_160, source="torchvision")
def resnet101(**settings) -> ResNet:
    """100 convolutions and a linear layer."""
    return ResNet(Bottleneck, (3, 4, 23, 3), **settings)


@network(published=60_192_808, source="torchvision")
def resnet152(**settings) -> ResNet:
    """151 convolutions and a linear layer."""
    return ResNet(Bottleneck, (3, 8, 36, 3), **settings)
