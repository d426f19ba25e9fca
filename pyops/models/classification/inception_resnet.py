"""Inception-ResNet v2. Szegedy, Ioffe, Vanhoucke & Alemi, "Inception-v4, Inception-ResNet and the
Impact of Residual Connections on Learning" (2016), with timm's parameter names. The stem is the
published checkpoints', Inception v3's; the paper's figure 3 has another."""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["InceptionResNetV2", "inception_resnet_v2"]


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, filters: int, kernel_size, stride: int = 1, padding=0):
        self.conv = nn.Conv2d(channels, filters, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3)

    def forward(self, input):
        return F.relu(self.bn(self.conv(input)))


class Branches(nn.Module):
    """Modules side by side, their maps one behind the other."""

    def __init__(self, *branches: nn.Module):
        for i, branch in enumerate(branches):
            self.add_module(f"branch{i}", branch)

    def forward(self, input):
        return F.cat([branch(input) for branch in self.children()], 1)


class Residual(nn.Module):
    """input + scale * (1x1 convolution of the branches), then ReLU. The small scale is what keeps
    wide residual networks from dying early in training (section 3.3)."""

    def __init__(self, channels: int, width: int, scale: float, branches: tuple[nn.Module, ...],
                 relu: bool = True):
        for i, branch in enumerate(branches):
            self.add_module(f"branch{i}", branch)
        self.branches = len(branches)
        self.conv2d = nn.Conv2d(width, channels, 1)
        self.scale, self.relu = scale, relu

    def forward(self, input):
        x = F.cat([getattr(self, f"branch{i}")(input) for i in range(self.branches)], 1)
        x = F.add(F.mul(self.conv2d(x), self.scale), input)
        return F.relu(x) if self.relu else x


def mixed_5b() -> Branches:
    return Branches(
        ConvNorm(192, 96, 1),
        nn.Sequential(ConvNorm(192, 48, 1), ConvNorm(48, 64, 5, padding=2)),
        nn.Sequential(ConvNorm(192, 64, 1), ConvNorm(64, 96, 3, padding=1), ConvNorm(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), ConvNorm(192, 64, 1)))


def block35() -> Residual:
    """On the finest grid, 35x35; figure 16."""
    return Residual(320, 128, 0.17, (
        ConvNorm(320, 32, 1),
        nn.Sequential(ConvNorm(320, 32, 1), ConvNorm(32, 32, 3, padding=1)),
        nn.Sequential(ConvNorm(320, 32, 1), ConvNorm(32, 48, 3, padding=1), ConvNorm(48, 64, 3, padding=1))))


def mixed_6a() -> Branches:
    return Branches(
        ConvNorm(320, 384, 3, stride=2),
        nn.Sequential(ConvNorm(320, 256, 1), ConvNorm(256, 256, 3, padding=1),
                      ConvNorm(256, 384, 3, stride=2)),
        nn.MaxPool2d(3, 2))


def block17() -> Residual:
    """On 17x17; figure 17."""
    return Residual(1088, 384, 0.10, (
        ConvNorm(1088, 192, 1),
        nn.Sequential(ConvNorm(1088, 128, 1), ConvNorm(128, 160, (1, 7), padding=(0, 3)),
                      ConvNorm(160, 192, (7, 1), padding=(3, 0)))))


def mixed_7a() -> Branches:
    """Figure 18."""
    return Branches(
        nn.Sequential(ConvNorm(1088, 256, 1), ConvNorm(256, 384, 3, stride=2)),
        nn.Sequential(ConvNorm(1088, 256, 1), ConvNorm(256, 288, 3, stride=2)),
        nn.Sequential(ConvNorm(1088, 256, 1), ConvNorm(256, 288, 3, padding=1), ConvNorm(288, 320, 3, stride=2)),
        nn.MaxPool2d(3, 2))


def block8(scale: float = 0.20, relu: bool = True) -> Residual:
    """On 8x8; figure 19."""
    return Residual(2080, 448, scale, (
        ConvNorm(2080, 192, 1),
        nn.Sequential(ConvNorm(2080, 192, 1), ConvNorm(192, 224, (1, 3), padding=(0, 1)),
                      ConvNorm(224, 256, (3, 1), padding=(1, 0)))),
                    relu)


class InceptionResNetV2(Classifier):
    """input: (N, 3, H, W), H and W at least 75, 299 in the paper. Returns logits (N,
    num_classes)."""
    head_names = ("classif",)
    image = (3, 299, 299)

    def __init__(self, num_classes: int = 1000, dropout: float = 0.2):
        self.conv2d_1a = ConvNorm(3, 32, 3, stride=2)
        self.conv2d_2a = ConvNorm(32, 32, 3)
        self.conv2d_2b = ConvNorm(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = ConvNorm(64, 80, 1)
        self.conv2d_4a = ConvNorm(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, 2)
        self.mixed_5b = mixed_5b()
        self.repeat = nn.Sequential(*(block35() for _ in range(10)))
        self.mixed_6a = mixed_6a()
        self.repeat_1 = nn.Sequential(*(block17() for _ in range(20)))
        self.mixed_7a = mixed_7a()
        self.repeat_2 = nn.Sequential(*(block8() for _ in range(9)))
        self.block8 = block8(1.0, relu=False)
        self.conv2d_7b = ConvNorm(2080, 1536, 1)
        self.dropout = nn.Dropout(dropout)
        self.classif = nn.Linear(1536, num_classes)

    def maps(self, input):
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(input)))
        x = self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(x)))
        x = self.repeat(self.mixed_5b(self.maxpool_5a(x)))
        x = self.repeat_1(self.mixed_6a(x))
        x = self.repeat_2(self.mixed_7a(x))
        return self.conv2d_7b(self.block8(x))

    def classify(self, maps):
        return self.classif(self.dropout(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1)))


@network(image=(3, 299, 299), published=55_813_192, source="keras", timm="inception_resnet_v2",
         smallest=(3, 96, 75))
def inception_resnet_v2(**settings) -> InceptionResNetV2:
    """settings: num_classes, dropout."""
    return InceptionResNetV2(**settings)
