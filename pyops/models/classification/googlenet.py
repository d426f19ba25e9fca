"""GoogLeNet. Szegedy et al., "Going Deeper with Convolutions" (2015), with
torchvision's parameter names.

It is torchvision's form: batch normalisation follows every convolution, and the paper's 5x5
convolutions are 3x3 ones (pytorch/vision#906), as its checkpoints have them.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["GoogLeNet", "GoogLeNetOutputs", "googlenet"]


AUXILIARY_WEIGHT = 0.3


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, filters: int, kernel_size, **settings):
        self.conv = nn.Conv2d(channels, filters, kernel_size, bias=False, **settings)
        self.bn = nn.BatchNorm2d(filters, eps=1e-3)

    def forward(self, input):
        return F.relu(self.bn(self.conv(input)))


class FromImageNetStatistics(nn.Module):
    """Turns (pixel - mean) / deviation, ImageNet's mean and deviation by channel, into (pixel -
    0.5) / 0.5: what these networks expect."""

    def __init__(self):
        mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 3, 1, 1)
        self.register_buffer("scale", (deviation / 0.5).astype(np.float32), persistent=False)
        self.register_buffer("shift", ((mean - 0.5) / 0.5).astype(np.float32), persistent=False)

    def forward(self, input):
        return F.add(F.mul(input, self.scale), self.shift)


class Inception(nn.Module):
    """1x1, 3x3, "5x5" and pooled maps side by side; the paper's figure 2b."""

    def __init__(self, channels: int, ch1x1: int, ch3x3red: int, ch3x3: int, ch5x5red: int, ch5x5: int,
                 pool_proj: int):
        self.branch1 = BasicConv2d(channels, ch1x1, 1)
        self.branch2 = nn.Sequential(BasicConv2d(channels, ch3x3red, 1),
                                     BasicConv2d(ch3x3red, ch3x3, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(channels, ch5x5red, 1),
                                     BasicConv2d(ch5x5red, ch5x5, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1, ceil_mode=True),
                                     BasicConv2d(channels, pool_proj, 1))

    def forward(self, input):
        return F.cat([branch(input) for branch in (self.branch1, self.branch2, self.branch3, self.branch4)],
                     1)


class InceptionAux(nn.Module):
    """A classifier on maps in the middle of the network."""

    def __init__(self, channels: int, num_classes: int, dropout: float):
        self.conv = BasicConv2d(channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input):
        x = self.conv(F.adaptive_avg_pool2d(input, 4))
        return self.fc2(self.dropout(F.relu(self.fc1(F.flatten(x, 1)))))


class GoogLeNetOutputs(NamedTuple):
    """Three times logits (N, num_classes): of the whole network, of the later and of the earlier
    auxiliary classifier."""
    logits: Any
    aux_logits2: Any
    aux_logits1: Any


class GoogLeNet(Classifier):
    """input: (N, 3, H, W), H and W at least 15, 224 in the paper. Returns logits (N, num_classes);
    GoogLeNetOutputs in training with aux_logits. transform_input takes images normalised by
    ImageNet's statistics, as the weights of torchvision's checkpoint need it.
    """
    head_names = ("aux1", "aux2", "fc")

    def __init__(self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False,
                 init_weights: bool = True, dropout: float = 0.2, dropout_aux: float = 0.7):
        self.transform = FromImageNetStatistics() if transform_input else nn.Identity()
        self.conv1 = BasicConv2d(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128)
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = InceptionAux(512, num_classes, dropout_aux) if aux_logits else None
        self.aux2 = InceptionAux(528, num_classes, dropout_aux) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        if init_weights:
            self.apply(initialise)

    def forward(self, input):
        if not (self.training and self.aux1 is not None):
            return super().forward(input)
        after_4a, after_4d, maps = self.three_maps(input)
        return GoogLeNetOutputs(
            *map(self.finish, (self.classify(maps), self.aux2(after_4d), self.aux1(after_4a))))

    def maps(self, input):
        return self.three_maps(input)[-1]

    def three_maps(self, input):
        """What the two auxiliary classifiers see, and the last maps."""
        x = self.maxpool1(self.conv1(self.transform(input)))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        after_4a = self.inception4a(x)
        after_4d = self.inception4d(self.inception4c(self.inception4b(after_4a)))
        x = self.maxpool4(self.inception4e(after_4d))
        return after_4a, after_4d, self.inception5b(self.inception5a(x))

    def classify(self, maps):
        return self.fc(self.dropout(F.flatten(self.avgpool(maps), 1)))

    def loss(self, outputs, target):
        """Mean cross-entropy for target (N,); in training that of each auxiliary classifier is
        added with weight 0.3 (section 5)."""
        if not isinstance(outputs, GoogLeNetOutputs):
            return F.cross_entropy(outputs, target)
        logits, aux2, aux1 = (F.cross_entropy(one, target) for one in outputs)
        return F.add(logits, F.mul(F.add(aux1, aux2), AUXILIARY_WEIGHT))


def initialise(module: nn.Module) -> None:
    """A narrow normal for weights; biases start as layers do."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, 0, 0.01, -2, 2)


@network(published=6_624_904, source="torchvision")
def googlenet(**settings) -> GoogLeNet:
    """settings: num_classes, aux_logits, transform_input, init_weights, dropout, dropout_aux."""
    return GoogLeNet(**settings)
