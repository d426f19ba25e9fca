"""MobileNet v1. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile
Vision Applications" (2017).

Names of parameters are timm's.
"""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["MobileNetV1", "mobilenet_v1"]

# Filters of the pointwise convolutions, stage by stage; the first block of every stage but the
# first has stride 2. Table 1.
STAGES = ((64,), (128, 128), (256, 256), (512,) * 6, (1024, 1024))


class SeparableBlock(nn.Module):
    """A depthwise 3x3 and a pointwise convolution, each normalised and followed by ReLU6. The
    paper's figure 3, right."""

    def __init__(self, channels: int, filters: int, stride: int):
        self.conv_dw = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv_pw = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)

    def forward(self, input):
        x = F.relu6(self.bn1(self.conv_dw(input)))
        return F.relu6(self.bn2(self.conv_pw(x)))


class MobileNetV1(Classifier):
    """width_mult scales the channels. input: (N, 3, H, W), 224 in the paper. Returns
    logits (N, num_classes)."""

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.0):
        channels = int(32 * width_mult)
        self.conv_stem = nn.Conv2d(3, channels, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        stages = []
        for number, widths in enumerate(STAGES):
            blocks = []
            for i, width in enumerate(widths):
                blocks.append(SeparableBlock(channels, int(width * width_mult), 2 if number and not i else 1))
                channels = int(width * width_mult)
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def maps(self, input):
        return self.blocks(F.relu6(self.bn1(self.conv_stem(input))))

    def classify(self, maps):
        return self.classifier(self.dropout(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1)))


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions; the linear layer starts as layers do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@network(published=4_231_976, source="keras", timm="mobilenetv1_100")
def mobilenet_v1(**settings) -> MobileNetV1:
    """27 convolutions and a linear layer. settings: num_classes, width_mult, dropout."""
    return MobileNetV1(**settings)
