"""The networks of He et al. (2015), section 4.2, with and without their shortcuts."""
from __future__ import annotations

from pyops import functional as F, nn
from pyops.models.classification.classifier import Classifier

WIDTHS = (16, 32, 64)


def conv(channels: int, filters: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
                         nn.BatchNorm2d(filters))


class Block(nn.Module):
    """Two convolutions, beside a shortcut without parameters (subsampled, zeros for new
    channels) if residual."""

    def __init__(self, channels: int, filters: int, stride: int, residual: bool):
        self.first, self.second = conv(channels, filters, stride), conv(filters, filters)
        self.stride, self.more, self.residual = stride, filters - channels, residual

    def forward(self, input):
        x = self.second(F.relu(self.first(input)))
        if self.residual:
            shortcut = F.avg_pool2d(input, 1, self.stride) if self.stride > 1 else input
            x = F.add(x, F.pad(shortcut, (0, 0, 0, 0, 0, self.more)) if self.more else shortcut)
        return F.relu(x)


class Deep(Classifier):
    """6 n + 2 layers: a convolution, three stages of n blocks (16, 32, 64 maps), a linear layer on
    their means. input: (N, 1, H, W)."""
    image = (1, 16, 16)
    head_names = ("fc",)

    def __init__(self, n: int, residual: bool, classes: int = 10):
        self.stem = conv(1, WIDTHS[0])
        blocks, before = [], WIDTHS[0]
        for width in WIDTHS:
            for i in range(n):
                blocks.append(Block(before, width, 2 if i == 0 and width > WIDTHS[0] else 1, residual))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(WIDTHS[-1], classes)
        self.apply(initialise)

    def maps(self, input):
        return self.blocks(F.relu(self.stem(input)))

    def classify(self, maps):
        return self.fc(F.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


def initialise(module):
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
