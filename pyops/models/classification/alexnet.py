"""AlexNet in two forms: the network of 2012 and torchvision's one-column network of 2014."""
from __future__ import annotations

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["AlexNet", "AlexNet2012", "alexnet", "alexnet_2012"]


class AlexNet2012(Classifier):
    """Krizhevsky, Sutskever & Hinton, "ImageNet Classification with Deep Convolutional
    Neural Networks" (2012).

    The paper's two GPUs are groups=2 in the second, fourth and fifth convolution; pooling overlaps
    (3x3 at stride 2); local response normalisation follows the first two ReLUs. input: (N, 3, 224,
    224); padding 2 gives the paper's 55x55 maps. Returns logits.
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4, padding=2), nn.ReLU(), response_norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), response_norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, num_classes))
        self.reset_parameters()

    def reset_parameters(self):
        """Section 5: weights from a normal of deviation 0.01; biases one in convolutions 2, 4, 5
        and the hidden linear layers."""
        layers = [m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        for layer, bias in zip(layers, (0, 1, 0, 1, 1, 1, 1, 0), strict=True):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.constant_(layer.bias, bias)

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return self.classifier(F.flatten(maps, 1))


def response_norm() -> nn.LocalResponseNorm:
    """The paper's constants. Its alpha = 1e-4 multiplies the sum of five squares, the
    layer's their mean."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class AlexNet(Classifier):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014), with
    torchvision's parameter names.

    input: (N, 3, H, W), H and W at least 63, 224 in the paper. Returns logits (N, num_classes).
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, num_classes))

    def maps(self, input):
        return self.features(input)

    def classify(self, maps):
        return self.classifier(F.flatten(self.avgpool(maps), 1))


@network(published=61_100_840, source="torchvision", smallest=(3, 96, 64))
def alexnet(**settings) -> AlexNet:
    """torchvision's form. settings: num_classes, dropout."""
    return AlexNet(**settings)


@network()
def alexnet_2012(**settings) -> AlexNet2012:
    """The form of 2012: groups, response normalisation. settings: num_classes, dropout."""
    return AlexNet2012(**settings)
