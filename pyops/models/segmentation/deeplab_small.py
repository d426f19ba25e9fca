"""DeepLab v3 for things of some twenty pixels: its parts (dilated blocks with a multi-grid, the
pyramid, one classifier) on a trunk that halves its maps once.

At an output stride of 8 a stroke of two pixels is a quarter of a value, which no classifier behind
draws again. "Rethinking Atrous Convolution for Semantic Image Segmentation" (Chen et al., 2017,
section 3.1) says what to do: no stride from some stage on, and dilation in its place.
"""
from __future__ import annotations

from collections.abc import Sequence

from ... import functional as F, nn
from ...nn.sizes import positive
from ..registry import network
from .deeplab_v3 import ASPP
from .segmenter import Segmenter, conv_norm_relu, resized

__all__ = ["DeepLabV3Small", "deeplabv3_small"]

STAGES = 4   # of which each would halve the maps, but for those that dilate


class DilatedBlock(nn.Module):
    """Two 3x3 convolutions of one dilation beside a shortcut, He et al.'s basic block."""

    def __init__(self, channels: int, filters: int, stride: int, dilations: tuple[int, int]):
        first, second = dilations
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, padding=first, dilation=first, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=second, dilation=second, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample = nn.Sequential(nn.Conv2d(channels, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)) \
            if stride > 1 or channels != filters else nn.Identity()

    def forward(self, input):
        x = F.relu(self.bn1(self.conv1(input)))
        return F.relu(F.add(self.bn2(self.conv2(x)), self.downsample(input)))


class DeepLabV3Small(Segmenter):
    """A 3x3 convolution and four stages of one block each, of base, 2, 4 and 4 base channels; those
    that would lead beyond output_stride (1, 2, 4, 8 or 16) dilate instead, the last by multi_grid
    times its rate. rates: of the pyramid, which has 4 base filters. input: (N, in_channels, H, W).
    Returns logits (N, num_classes, H, W)."""

    def __init__(self, num_classes: int = 11, in_channels: int = 3, base: int = 32, output_stride: int = 2,
                 rates: Sequence[int] = (2, 4, 6), multi_grid: tuple[int, int] = (1, 2), dropout: float = 0.1):
        positive("DeepLabV3Small", num_classes=num_classes, in_channels=in_channels, base=base)
        if output_stride not in (1, 2, 4, 8, 16):
            raise ValueError(f"DeepLabV3Small: output_stride must be 1, 2, 4, 8 or 16, got {output_stride!r}")
        widths, stride, rate = [base, base, 2 * base, 4 * base, 4 * base], 1, 1
        self.stem = nn.Sequential(*conv_norm_relu(in_channels, base, 3))
        blocks = []
        for stage, (channels, filters) in enumerate(zip(widths, widths[1:])):
            step = 2 if stride < output_stride else 1
            stride, rate = stride * step, rate * (2 // step)
            grid = multi_grid if stage == STAGES - 1 else (1, 1)
            # what replaces a stride sees from its next convolution on as far as if there were one
            blocks.append(DilatedBlock(channels, filters, step, (max(1, rate // 2 * grid[0]), rate * grid[1])))
        self.trunk = nn.Sequential(*blocks)
        self.classifier = nn.Sequential(ASPP(widths[-1], rates, 4 * base, dropout),
                                        *conv_norm_relu(4 * base, 4 * base, 3), nn.Conv2d(4 * base, num_classes, 1))

    def forward(self, input):
        return resized(self.classifier(self.trunk(self.stem(input))), input)


@network()
def deeplabv3_small(num_classes: int = 11, in_channels: int = 3, base: int = 32, output_stride: int = 2,
                    rates: Sequence[int] = (2, 4, 6), multi_grid: tuple[int, int] = (1, 2),
                    dropout: float = 0.1) -> DeepLabV3Small:
    """For things of some twenty pixels: maps of half the image's size throughout."""
    return DeepLabV3Small(num_classes, in_channels, base, output_stride, rates, multi_grid, dropout)
