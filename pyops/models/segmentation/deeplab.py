"""DeepLab v1 and v2. Chen, Papandreou, Kokkinos, Murphy & Yuille, "Semantic Image Segmentation with
Deep Convolutional Nets and Fully Connected CRFs" (2015) and "DeepLab: Semantic Image Segmentation
with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs" (2018).

VGG-16 keeps 1/8 of the image's size: its last two poolings have stride 1, and what follows them is
dilated. v1 ends in one wide dilated convolution (LargeFOV), v2 in several rates side by side whose
scores are added (ASPP). What a dense CRF makes of the scores is pyops.segmentation's part.
"""
from __future__ import annotations

from collections.abc import Sequence

from ... import functional as F, nn
from ..classification.resnet import resnet101
from ..classification.vgg import STAGES
from ..registry import network
from .segmenter import Segmenter, resized
from .trunk import dilated_resnet

__all__ = ["DeepLab", "DeepLabV2ResNet", "deeplab_aspp_l", "deeplab_aspp_s", "deeplab_largefov",
           "deeplabv2_resnet101", "multi_scale"]


def trunk() -> nn.Sequential:
    """VGG-16's convolutions, with poolings of 3x3 as in the authors' networks."""
    layers: list[nn.Module] = []
    channels = 3
    for level, stage in enumerate(STAGES[16]):
        dilation = 2 if level == 4 else 1
        for filters in stage:
            layers += [nn.Conv2d(channels, filters, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(3, 2 if level < 3 else 1, padding=1))
    return nn.Sequential(*layers)


def branch(rate: int, filters: int, num_classes: int, dropout: float) -> nn.Sequential:
    """fc6 with its rate, fc7 and the scores."""
    return nn.Sequential(nn.Conv2d(512, filters, 3, padding=rate, dilation=rate), nn.ReLU(), nn.Dropout(dropout),
                         nn.Conv2d(filters, filters, 1), nn.ReLU(), nn.Dropout(dropout),
                         nn.Conv2d(filters, num_classes, 1))


class DeepLab(Segmenter):
    """rates: of the branches, one for LargeFOV. mean_pool: v1's 3x3 average pooling behind the
    trunk. input: (N, 3, H, W). Returns logits (N, num_classes, H, W)."""

    def __init__(self, rates: Sequence[int], num_classes: int = 21, dropout: float = 0.5,
                 mean_pool: bool = False):
        self.features = trunk()
        self.pool = nn.AvgPool2d(3, 1, padding=1) if mean_pool else None
        self.branches = nn.ModuleList(branch(rate, 1024, num_classes, dropout) for rate in rates)
        self.apply(initialise)

    def forward(self, input):
        maps = self.features(input)
        if self.pool is not None:
            maps = self.pool(maps)
        return resized(added([part(maps) for part in self.branches]), input, align_corners=True)


class DeepLabV2ResNet(Segmenter):
    """rates: of four 3x3 convolutions whose scores are added. input: (N, 3, H, W). Returns logits
    (N, num_classes, H, W)."""

    def __init__(self, rates: Sequence[int] = (6, 12, 18, 24), num_classes: int = 21):
        self.backbone = dilated_resnet(resnet101, 8)
        self.branches = nn.ModuleList(
            nn.Conv2d(2048, num_classes, 3, padding=rate, dilation=rate) for rate in rates)
        for part in self.branches:
            nn.init.normal_(part.weight, 0, 0.01), nn.init.zeros_(part.bias)

    def forward(self, input):
        maps = self.backbone.maps(input)
        return resized(added([part(maps) for part in self.branches]), input, align_corners=True)


def added(scores):
    total, *others = scores
    for part in others:
        total = F.add(total, part)
    return total


def multi_scale(model: Segmenter, images, scales: Sequence[float] = (0.5, 0.75, 1.0)):
    """Logits (N, classes, H, W): at each pixel and class the largest over the scales (v2, section
    4.1.2). The images are resized bilinearly, and their scores back."""
    best = None
    for scale in scales:
        size = tuple(max(1, round(n * scale)) for n in images.shape[-2:])
        scaled = images if scale == 1 else F.interpolate(images, size, mode="bilinear", align_corners=False)
        scores = resized(model.logits(scaled), images)
        best = scores if best is None else F.maximum(best, scores)
    if best is None:
        raise ValueError("multi_scale: scales must hold at least one number")
    return best


def initialise(module: nn.Module) -> None:
    """He's normal, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


@network()
def deeplab_largefov(num_classes: int = 21, dropout: float = 0.5) -> DeepLab:
    """v1: one 3x3 convolution of 1,024 filters and rate 12 (table 2)."""
    return DeepLab((12,), num_classes, dropout, mean_pool=True)


@network()
def deeplab_aspp_s(num_classes: int = 21, dropout: float = 0.5) -> DeepLab:
    """v2 with small rates."""
    return DeepLab((2, 4, 8, 12), num_classes, dropout)


@network()
def deeplab_aspp_l(num_classes: int = 21, dropout: float = 0.5) -> DeepLab:
    """v2 with large rates."""
    return DeepLab((6, 12, 18, 24), num_classes, dropout)


@network()
def deeplabv2_resnet101(num_classes: int = 21) -> DeepLabV2ResNet:
    """v2 on ResNet-101, the paper's best; its scores come from multi_scale."""
    return DeepLabV2ResNet(num_classes=num_classes)
