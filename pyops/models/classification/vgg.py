"""VGG. Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
(2015).

Names of parameters are torchvision's, so that its checkpoints load.
"""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["VGG", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

# Output channels of the 3x3 convolutions, stage by stage; a 2x2 max pooling follows each
# stage. The paper's table 1.
STAGES = {
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    19: ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512)),
}


class VGG(Classifier):
    """input: (N, 3, H, W), H and W at least 32, 224 in the paper. Returns logits (N,
    num_classes)."""

    def __init__(self, depth: int, batch_norm: bool = False, num_classes: int = 1000,
                 init_weights: bool = True, dropout: float = 0.5):
        self.features = features(depth, batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, num_classes))
        if init_weights:
            self.apply(initialise)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return self.classifier(F.flatten(self.avgpool(maps), 1))


def features(depth: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for stage in STAGES[depth]:
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, padding=1),
                       *([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions, a narrow normal for linear layers, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
        nn.init.zeros_(module.bias)


@network(published=132_863_336, source="torchvision")
def vgg11(**settings) -> VGG:
    """8 convolutions and 3 linear layers. settings: num_classes, init_weights, dropout."""
    return VGG(11, **settings)


@network(published=132_868_840, source="torchvision")
def vgg11_bn(**settings) -> VGG:
    """vgg11 with batch normalisation after each convolution."""
    return VGG(11, True, **settings)


@network(published=133_047_848, source="torchvision")
def vgg13(**settings) -> VGG:
    """10 convolutions and 3 linear layers."""
    return VGG(13, **settings)


@network(published=133_053_736, source="torchvision")
def vgg13_bn(**settings) -> VGG:
    """vgg13 with batch normalisation after each convolution."""
    return VGG(13, True, **settings)


@network(published=138_357_544, source="torchvision")
def vgg16(**settings) -> VGG:
    """13 convolutions and 3 linear layers."""
    return VGG(16, **settings)


@network(published=138_365_992, source="torchvision")
def vgg16_bn(**settings) -> VGG:
    """vgg16 with batch normalisation after each convolution."""
    return VGG(16, True, **settings)


@network(published=143_667_240, source="torchvision")
def vgg19(**settings) -> VGG:
    """16 convolutions and 3 linear layers."""
    return VGG(19, **settings)


@network(published=143_678_248, source="torchvision")
def vgg19_bn(**settings) -> VGG:
    """vgg19 with batch normalisation after each convolution."""
    return VGG(19, True, **settings)
