"""Inception v3. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016),
with torchvision's parameter names."""
from __future__ import annotations

from typing import Any, NamedTuple

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier
from .googlenet import BasicConv2d, FromImageNetStatistics

__all__ = ["Inception3", "InceptionOutputs", "inception_v3"]


AUXILIARY_WEIGHT = 0.4   # the paper gives none; this is what its authors' later code uses


class PoolBranch(nn.Module):
    """A block one of whose branches pools."""
    count_edges = True

    def pooled(self, input):
        """3x3 means at every position; the zeros around the maps count, but in Keras' layout."""
        return F.avg_pool2d(input, 3, 1, 1, count_include_pad=self.count_edges)


class InceptionA(PoolBranch):
    """The paper's figure 5: two 3x3 convolutions in place of a 5x5."""

    def __init__(self, channels: int, pool_features: int):
        self.branch1x1 = BasicConv2d(channels, 64, 1)
        self.branch5x5_1 = BasicConv2d(channels, 48, 1)
        self.branch5x5_2 = BasicConv2d(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(channels, 64, 1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, padding=1)
        self.branch_pool = BasicConv2d(channels, pool_features, 1)

    def forward(self, input):
        branch5x5 = self.branch5x5_2(self.branch5x5_1(input))
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(input)))
        return F.cat([self.branch1x1(input), branch5x5, branch3x3dbl, self.branch_pool(self.pooled(input))],
                     1)


class InceptionB(nn.Module):
    """Half the resolution, by convolution and by pooling side by side; figure 10."""

    def __init__(self, channels: int):
        self.branch3x3 = BasicConv2d(channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(channels, 64, 1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, 3, stride=2)

    def forward(self, input):
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(input)))
        return F.cat([self.branch3x3(input), branch3x3dbl, F.max_pool2d(input, 3, 2)], 1)


class InceptionC(PoolBranch):
    """1x7 and 7x1 convolutions in place of 7x7; figure 6."""

    def __init__(self, channels: int, width: int):
        row, column = {"kernel_size": (1, 7), "padding": (0, 3)}, {"kernel_size": (7, 1), "padding": (3, 0)}
        self.branch1x1 = BasicConv2d(channels, 192, 1)
        self.branch7x7_1 = BasicConv2d(channels, width, 1)
        self.branch7x7_2 = BasicConv2d(width, width, **row)
        self.branch7x7_3 = BasicConv2d(width, 192, **column)
        self.branch7x7dbl_1 = BasicConv2d(channels, width, 1)
        self.branch7x7dbl_2 = BasicConv2d(width, width, **column)
        self.branch7x7dbl_3 = BasicConv2d(width, width, **row)
        self.branch7x7dbl_4 = BasicConv2d(width, width, **column)
        self.branch7x7dbl_5 = BasicConv2d(width, 192, **row)
        self.branch_pool = BasicConv2d(channels, 192, 1)

    def forward(self, input):
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(input)))
        branch7x7dbl = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(input)))
        branch7x7dbl = self.branch7x7dbl_5(self.branch7x7dbl_4(branch7x7dbl))
        return F.cat([self.branch1x1(input), branch7x7, branch7x7dbl, self.branch_pool(self.pooled(input))],
                     1)


class InceptionD(nn.Module):
    """Half the resolution again."""

    def __init__(self, channels: int):
        self.branch3x3_1 = BasicConv2d(channels, 192, 1)
        self.branch3x3_2 = BasicConv2d(192, 320, 3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(channels, 192, 1)
        self.branch7x7x3_2 = BasicConv2d(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = BasicConv2d(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = BasicConv2d(192, 192, 3, stride=2)

    def forward(self, input):
        branch3x3 = self.branch3x3_2(self.branch3x3_1(input))
        branch7x7x3 = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(input))))
        return F.cat([branch3x3, branch7x7x3, F.max_pool2d(input, 3, 2)], 1)


class InceptionE(PoolBranch):
    """1x3 and 3x1 convolutions side by side; figure 7."""

    def __init__(self, channels: int):
        row, column = {"kernel_size": (1, 3), "padding": (0, 1)}, {"kernel_size": (3, 1), "padding": (1, 0)}
        self.branch1x1 = BasicConv2d(channels, 320, 1)
        self.branch3x3_1 = BasicConv2d(channels, 384, 1)
        self.branch3x3_2a = BasicConv2d(384, 384, **row)
        self.branch3x3_2b = BasicConv2d(384, 384, **column)
        self.branch3x3dbl_1 = BasicConv2d(channels, 448, 1)
        self.branch3x3dbl_2 = BasicConv2d(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = BasicConv2d(384, 384, **row)
        self.branch3x3dbl_3b = BasicConv2d(384, 384, **column)
        self.branch_pool = BasicConv2d(channels, 192, 1)

    def forward(self, input):
        x = self.branch3x3_1(input)
        branch3x3 = F.cat([self.branch3x3_2a(x), self.branch3x3_2b(x)], 1)
        x = self.branch3x3dbl_2(self.branch3x3dbl_1(input))
        branch3x3dbl = F.cat([self.branch3x3dbl_3a(x), self.branch3x3dbl_3b(x)], 1)
        return F.cat([self.branch1x1(input), branch3x3, branch3x3dbl, self.branch_pool(self.pooled(input))],
                     1)


class InceptionAux(nn.Module):
    """A classifier on maps in the middle of the network; figure 8."""

    def __init__(self, channels: int, num_classes: int):
        self.conv0 = BasicConv2d(channels, 128, 1)
        self.conv1 = BasicConv2d(128, 768, 5)
        self.fc = nn.Linear(768, num_classes)

    def forward(self, input):
        x = self.conv1(self.conv0(F.avg_pool2d(input, 5, 3)))
        return self.fc(F.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class InceptionOutputs(NamedTuple):
    """Twice logits (N, num_classes): of the whole network and of the auxiliary classifier."""
    logits: Any
    aux_logits: Any


class Inception3(Classifier):
    """input: (N, 3, H, W), H and W at least 75 (299 in training with aux_logits), 299 in the
    paper. Returns logits (N, num_classes); InceptionOutputs in training with aux_logits.
    transform_input takes images normalised by ImageNet's statistics, as the weights of
    torchvision's checkpoint need it.
    """
    head_names = ("AuxLogits", "fc")
    image = (3, 299, 299)

    def __init__(self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False,
                 init_weights: bool = True, dropout: float = 0.5):
        self.transform = FromImageNetStatistics() if transform_input else nn.Identity()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, 3)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, 3)
        self.maxpool2 = nn.MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = InceptionB(288)
        self.Mixed_6b = InceptionC(768, width=128)
        self.Mixed_6c = InceptionC(768, width=160)
        self.Mixed_6d = InceptionC(768, width=160)
        self.Mixed_6e = InceptionC(768, width=192)
        self.AuxLogits = InceptionAux(768, num_classes) if aux_logits else None
        self.Mixed_7a = InceptionD(768)
        self.Mixed_7b = InceptionE(1280)
        self.Mixed_7c = InceptionE(2048)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, num_classes)
        if init_weights:
            self.apply(initialise)
            if aux_logits:
                nn.init.trunc_normal_(self.AuxLogits.fc.weight, 0, 0.001, -2, 2)

    def forward(self, input):
        if not (self.training and self.AuxLogits is not None):
            return super().forward(input)
        middle = self.middle_maps(input)
        return InceptionOutputs(self.finish(self.classify(self.last_maps(middle))),
                                self.finish(self.AuxLogits(middle)))

    def maps(self, input):
        return self.last_maps(self.middle_maps(input))

    def middle_maps(self, input):
        """Those that the auxiliary classifier sees."""
        x = self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(self.transform(input)))
        x = self.maxpool1(self.Conv2d_2b_3x3(x))
        x = self.maxpool2(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        return self.Mixed_6e(self.Mixed_6d(x))

    def last_maps(self, middle):
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(middle)))

    def classify(self, maps):
        return self.fc(F.flatten(self.dropout(self.avgpool(maps)), 1))

    def loss(self, outputs, target):
        """Mean cross-entropy for target (N,); in training that of the auxiliary classifier is
        added with weight 0.4."""
        if not isinstance(outputs, InceptionOutputs):
            return F.cross_entropy(outputs, target)
        logits, auxiliary = (F.cross_entropy(one, target) for one in outputs)
        return F.add(logits, F.mul(auxiliary, AUXILIARY_WEIGHT))


def initialise(module: nn.Module) -> None:
    """A normal for weights; biases start as layers do."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, 0, 0.1, -2, 2)


@network(image=(3, 299, 299), published=27_161_264, source="torchvision", smallest=(3, 96, 75))
def inception_v3(**settings) -> Inception3:
    """settings: num_classes, aux_logits, transform_input, init_weights, dropout."""
    return Inception3(**settings)
