"""All-CNN A, B and C. Springenberg, Dosovitskiy, Brox & Riedmiller, "Striving for Simplicity: The
All Convolutional Net" (2014).

No pooling between convolutions: a stride of 2 takes its place. The paper's tables 1 and 2, for
CIFAR's 32x32 images.
"""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["AllCNN", "all_cnn_a", "all_cnn_b", "all_cnn_c"]

# (filters, kernel, stride) up to the shared end. Dropout of 0.5 follows each strided layer.
VARIANTS = {
    "A": ((96, 5, 1), (96, 3, 2), (192, 5, 1), (192, 3, 2)),
    "B": ((96, 5, 1), (96, 1, 1), (96, 3, 2), (192, 5, 1), (192, 1, 1), (192, 3, 2)),
    "C": ((96, 3, 1), (96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2)),
}


class AllCNN(Classifier):
    """input: (N, 3, H, W), 32 in the paper. Returns logits (N, num_classes), the means of the last
    maps, one a class. The last 3x3 layer is not padded, as in the paper (8x8 maps become 6x6)."""
    image = (3, 32, 32)

    def __init__(self, variant: str, num_classes: int = 10, dropout_input: float = 0.2, dropout: float = 0.5):
        layers: list[nn.Module] = [nn.Dropout(dropout_input)]
        channels = 3
        for filters, kernel, stride in VARIANTS[variant]:
            layers += [nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2), nn.ReLU()]
            layers += [nn.Dropout(dropout)] if stride > 1 else []
            channels = filters
        self.features = nn.Sequential(*layers, nn.Conv2d(192, 192, 3), nn.ReLU(), nn.Conv2d(192, 192, 1),
                                      nn.ReLU())
        self.classifier = nn.Sequential(nn.Conv2d(192, num_classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.apply(initialise)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return F.flatten(self.classifier(maps), 1)


def initialise(module: nn.Module) -> None:
    """He's normal, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


@network(image=(3, 32, 32), smallest=(3, 32, 32))
def all_cnn_a(**settings) -> AllCNN:
    """7 convolutions. settings: num_classes, dropout_input, dropout."""
    return AllCNN("A", **settings)


@network(image=(3, 32, 32))
def all_cnn_b(**settings) -> AllCNN:
    """9 convolutions, two of them 1x1 in the manner of network in network."""
    return AllCNN("B", **settings)


@network(image=(3, 32, 32))
def all_cnn_c(**settings) -> AllCNN:
    """9 convolutions, none larger than 3x3."""
    return AllCNN("C", **settings)
