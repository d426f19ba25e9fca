"""Xception. Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions" (2017), with
timm's parameter names."""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["Xception", "xception"]


class SeparableConv2d(nn.Module):
    """A 3x3 convolution of each map by itself, then a 1x1 convolution across maps;
    nothing between them."""

    def __init__(self, channels: int, filters: int):
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, filters, 1, bias=False)

    def forward(self, input):
        return self.pointwise(self.conv1(input))


class Block(nn.Module):
    """Separable convolutions of the given widths, ReLU before and normalisation behind each, beside
    a shortcut: the input itself, or where the block halves the resolution a 1x1 convolution of it.
    The paper's figure 5."""

    def __init__(self, channels: int, widths: tuple[int, ...], stride: int = 1, start_with_relu: bool = True):
        self.skip = nn.Conv2d(channels, widths[-1], 1, stride, bias=False) if stride > 1 else None
        self.skipbn = nn.BatchNorm2d(widths[-1]) if stride > 1 else None
        layers: list[nn.Module] = []
        for before, width in zip((channels, *widths), widths):
            layers += [nn.ReLU(), SeparableConv2d(before, width), nn.BatchNorm2d(width)]
        layers = layers if start_with_relu else layers[1:]
        self.rep = nn.Sequential(*layers, *([nn.MaxPool2d(3, stride, padding=1)] if stride > 1 else []))

    def forward(self, input):
        shortcut = input if self.skip is None else self.skipbn(self.skip(input))
        return F.add(self.rep(input), shortcut)


class Xception(Classifier):
    """input: (N, 3, H, W), H and W at least 33, 299 in the paper. Returns logits (N,
    num_classes)."""
    head_names = ("fc",)
    image = (3, 299, 299)

    def __init__(self, num_classes: int = 1000):
        # entry flow
        self.conv1 = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.block1 = Block(64, (128, 128), 2, start_with_relu=False)
        self.block2 = Block(128, (256, 256), 2)
        self.block3 = Block(256, (728, 728), 2)
        # middle flow: eight times the same
        for number in range(4, 12):
            setattr(self, f"block{number}", Block(728, (728, 728, 728)))
        # exit flow
        self.block12 = Block(728, (728, 1024), 2)
        self.conv3 = SeparableConv2d(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = SeparableConv2d(1536, 2048)
        self.bn4 = nn.BatchNorm2d(2048)
        self.fc = nn.Linear(2048, num_classes)
        self.apply(initialise)

    def maps(self, input):
        x = F.relu(self.bn1(self.conv1(input)))
        x = F.relu(self.bn2(self.conv2(x)))
        for number in range(1, 13):
            x = getattr(self, f"block{number}")(x)
        x = F.relu(self.bn3(self.conv3(x)))
        return F.relu(self.bn4(self.conv4(x)))

    def classify(self, maps):
        return self.fc(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions; the linear layer starts as layers do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


@network(image=(3, 299, 299), published=22_855_952, source="keras", timm="legacy_xception",
         smallest=(3, 71, 71))
def xception(**settings) -> Xception:
    """36 convolutions (separable ones counted once) and a linear layer. settings: num_classes."""
    return Xception(**settings)
