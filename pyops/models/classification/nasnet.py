"""NASNet-A. Zoph, Vasudevan, Shlens & Le, "Learning Transferable Architectures for Scalable
Image Recognition" (2018).

Two cells that a search found on CIFAR-10, stacked: a normal one and one that halves the resolution.
A cell sees the output of the last cell, x, and of the one before, p. Padding and the shape of the
stem are those of the authors' code, which Keras follows.
"""
from __future__ import annotations

from functools import partial

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["NASNet", "nasnet_large", "nasnet_mobile"]

norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=3e-4)


def padded(input, kernel: int):
    """Zeros around the maps such that windows at stride 2 end at the last row and column."""
    h, w = input.shape[-2:]
    half = kernel // 2
    return F.pad(input, (half - (w % 2 == 0), half, half - (h % 2 == 0), half))


def mean3x3(input):
    """Means of 3x3 at every position, of the values that are there."""
    return F.avg_pool2d(input, 3, 1, 1, count_include_pad=False)


class Separable(nn.Module):
    """ReLU, separable convolution, norm, twice; the first has the stride."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1):
        self.kernel, self.stride = kernel, stride
        self.depthwise1 = nn.Conv2d(channels, channels, kernel, stride,
                                    padding=0 if stride > 1 else kernel // 2, groups=channels, bias=False)
        self.pointwise1 = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn1 = norm(filters)
        self.depthwise2 = nn.Conv2d(filters, filters, kernel, padding=kernel // 2, groups=filters, bias=False)
        self.pointwise2 = nn.Conv2d(filters, filters, 1, bias=False)
        self.bn2 = norm(filters)

    def forward(self, input):
        x = F.relu(input)
        x = self.bn1(self.pointwise1(self.depthwise1(padded(x, self.kernel) if self.stride > 1 else x)))
        return self.bn2(self.pointwise2(self.depthwise2(F.relu(x))))


class Project(nn.Module):
    """ReLU, 1x1 convolution, norm."""

    def __init__(self, channels: int, filters: int):
        self.conv = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn = norm(filters)

    def forward(self, input):
        return self.bn(self.conv(F.relu(input)))


class Halve(nn.Module):
    """p at half the resolution: every other pixel, beside every other pixel one further down and
    right, each through a 1x1 convolution."""

    def __init__(self, channels: int, filters: int):
        self.conv1 = nn.Conv2d(channels, filters // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, filters // 2, 1, bias=False)
        self.bn = norm(filters // 2 * 2)

    def forward(self, input):
        x = F.relu(input)
        here, there = F.avg_pool2d(x, 1, 2), F.avg_pool2d(F.pad(x, (-1, 1, -1, 1)), 1, 2)
        return self.bn(F.cat([self.conv1(here), self.conv2(there)], 1))


def adjust(channels: int, filters: int, halve: bool) -> tuple[nn.Module, int]:
    """What brings p to x's resolution and the cell's width, and the channels that it then has."""
    if halve:
        return Halve(channels, filters), filters // 2 * 2
    return (Project(channels, filters) if channels != filters else nn.Identity()), filters


class NormalCell(nn.Module):
    """Figure 4, left."""

    def __init__(self, before: int, channels: int, filters: int, halve: bool):
        self.adjust, p = adjust(before, filters, halve)
        self.conv1 = Project(channels, filters)
        self.left1, self.right1 = Separable(filters, filters, 5), Separable(p, filters, 3)
        self.left2, self.right2 = Separable(p, filters, 5), Separable(p, filters, 3)
        self.left5 = Separable(filters, filters, 3)

    def forward(self, x, p):
        p, h = self.adjust(p), self.conv1(x)
        around = mean3x3(p)
        return F.cat([p, F.add(self.left1(h), self.right1(p)), F.add(self.left2(p), self.right2(p)),
                      F.add(mean3x3(h), p), F.add(around, around), F.add(self.left5(h), h)],
                     1)


class ReductionCell(nn.Module):
    """Figure 4, right. adjusted=False: the first cell takes p as it is."""

    def __init__(self, before: int, channels: int, filters: int, halve: bool, adjusted: bool = True):
        self.adjust, p = adjust(before, filters, halve) if adjusted else (nn.Identity(), before)
        self.conv1 = Project(channels, filters)
        self.left1, self.right1 = Separable(filters, filters, 5, 2), Separable(p, filters, 7, 2)
        self.right2, self.right3 = Separable(p, filters, 7, 2), Separable(p, filters, 5, 2)
        self.left5 = Separable(filters, filters, 3)

    def forward(self, x, p):
        p, h = self.adjust(p), self.conv1(x)
        edged = padded(h, 3)
        most = F.max_pool2d(edged, 3, 2)
        x1 = F.add(self.left1(h), self.right1(p))
        x2 = F.add(most, self.right2(p))
        x3 = F.add(F.avg_pool2d(edged, 3, 2), self.right3(p))
        return F.cat([x2, x3, F.add(x2, mean3x3(x1)), F.add(self.left5(x1), most)], 1)


class NASNet(Classifier):
    """filters: of the first normal cells, doubled after each of the two reductions; blocks: normal
    cells before, between and behind them; skip_reduction: the cell after a reduction sees as p what
    the reduction saw as p, not as x. input: (N, 3, H, W), H and W at least 32, `size` in the paper.
    Returns logits (N, num_classes). No auxiliary classifier.
    """
    head_names = ("fc",)

    def __init__(self, filters: int, blocks: int, stem: int, size: int, skip_reduction: bool,
                 num_classes: int = 1000, dropout: float = 0.5):
        self.image = (3, size, size)
        self.skip_reduction = skip_reduction
        self.conv0 = nn.Conv2d(3, stem, 3, 2, bias=False)
        self.bn0 = norm(stem)
        self.stem1 = ReductionCell(stem, stem, filters // 4, False, adjusted=False)
        self.stem2 = ReductionCell(stem, 4 * (filters // 4), filters // 2, True)
        # of p and x; whether p is twice as large as x
        before, channels, halve = 4 * (filters // 4), 4 * (filters // 2), True
        cells = []
        for stage in range(3):
            width = filters << stage
            for _ in range(blocks):
                cells.append(NormalCell(before, channels, width, halve))
                before, channels, halve = channels, 6 * width, False
            if stage < 2:
                cells.append(ReductionCell(before, channels, 2 * width, False))
                before, channels, halve = before if skip_reduction else channels, 8 * width, True
        self.cells = nn.ModuleList(cells)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self.apply(initialise)

    def maps(self, input):
        start = self.bn0(self.conv0(input))
        p = self.stem1(start, start)
        x = self.stem2(p, start)
        for cell in self.cells:
            made = cell(x, p)
            p = p if isinstance(cell, ReductionCell) and self.skip_reduction else x
            x = made
        return F.relu(x)

    def classify(self, maps):
        return self.fc(self.dropout(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1)))


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions; the linear layer starts as layers do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


@network(published=5_289_978, source="keras")
def nasnet_mobile(**settings) -> NASNet:
    """NASNet-A (4 @ 1056): 12 normal cells. settings: num_classes, dropout."""
    return NASNet(44, 4, 32, 224, False, **settings)


@network(image=(3, 331, 331), published=88_753_150, source="timm; keras")
def nasnet_large(**settings) -> NASNet:
    """NASNet-A (6 @ 4032): 18 normal cells."""
    return NASNet(168, 6, 96, 331, True, **settings)
