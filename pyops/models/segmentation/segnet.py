"""SegNet. Badrinarayanan, Kendall & Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder
Architecture for Image Segmentation" (2017).

The decoder puts each value back where the encoder's max pooling found it, and convolutions fill the
gaps: nothing is learned to enlarge maps, and of the encoder's maps only indices are kept.
"""
from __future__ import annotations

from ... import functional as F, nn
from ...nn.sizes import positive
from ..classification.vgg import STAGES
from ..registry import network
from .segmenter import Segmenter

__all__ = ["SegNet", "SegNetBasic", "segnet", "segnet_basic"]


def convolutions(widths, kernel: int = 3) -> nn.Sequential:
    """From widths[0] channels to widths[-1], each with its norm and ReLU."""
    layers: list[nn.Module] = []
    for channels, filters in zip(widths, widths[1:]):
        layers += [nn.Conv2d(channels, filters, kernel, padding=kernel // 2), nn.BatchNorm2d(filters), nn.ReLU()]
    return nn.Sequential(*layers)


def halved(maps):
    """2x2 maxima, where they were, and the size before."""
    pooled, places = F.max_pool2d(maps, 2, 2, return_indices=True)
    return pooled, (places, maps.shape[-2:])


def unpooled(maps, places):
    """The reverse of halved."""
    indices, size = places
    return F.max_unpool2d(maps, indices, 2, 2, output_size=size)


class SegNet(Segmenter):
    """The 13 convolutions of VGG-16, mirrored. base: channels of the first stage (64), of which
    the others have 2, 4, 8 and 8 times as many. depth: how many of the five stages there are; all
    that the decoder knows beside indices went through maps of 1/2^depth. input: (N, in_channels, H,
    W), H and W at least 2^depth. Returns logits (N, num_classes, H, W)."""

    def __init__(self, num_classes: int = 21, in_channels: int = 3, base: int = 64, depth: int = 5):
        positive("SegNet", num_classes=num_classes, in_channels=in_channels, base=base, depth=depth)
        if depth > len(STAGES[16]):
            raise ValueError(f"SegNet: depth must be 1 to {len(STAGES[16])}, the stages of VGG-16, got {depth!r}")
        self.least = 2 ** depth
        stages = [[width * base // 64 for width in stage] for stage in STAGES[16][:depth]]
        before = [in_channels, *(stage[-1] for stage in stages)]
        self.down = nn.ModuleList(convolutions([channels, *stage]) for channels, stage in zip(before, stages))
        ups = [[*reversed(stage), channels] for channels, stage in zip(before, stages)]
        # the last layer makes the classes; it has neither norm nor ReLU
        ups[0][-1:] = []
        self.up = nn.ModuleList(convolutions(widths) for widths in reversed(ups))
        self.head = nn.Conv2d(ups[0][-1], num_classes, 3, padding=1)
        self.apply(initialise)

    def forward(self, input):
        self.check_size(input)
        kept = []
        for stage in self.down:
            input, places = halved(stage(input))
            kept.append(places)
        for stage in self.up:
            input = stage(unpooled(input, kept.pop()))
        return self.head(input)


class SegNetBasic(Segmenter):
    """Four convolutions of 7x7 down and four up, `base` (64) channels throughout; the decoder has
    no ReLU, and the image's contrast is normalised locally. input: (N, in_channels, H, W), H and W
    at least 16. Returns logits (N, num_classes, H, W)."""
    least = 16

    def __init__(self, num_classes: int = 11, in_channels: int = 3, base: int = 64):
        positive("SegNetBasic", num_classes=num_classes, in_channels=in_channels, base=base)
        self.contrast = nn.LocalResponseNorm(5)
        self.down = nn.ModuleList(convolutions([channels, base], 7)
                                  for channels in (in_channels, base, base, base))
        self.up = nn.ModuleList(nn.Sequential(nn.Conv2d(base, base, 7, padding=3), nn.BatchNorm2d(base))
                                for _ in range(4))
        self.head = nn.Conv2d(base, num_classes, 1)
        self.apply(initialise)

    def forward(self, input):
        self.check_size(input)
        x, kept = self.contrast(input), []
        for stage in self.down:
            x, places = halved(stage(x))
            kept.append(places)
        for stage in self.up:
            x = stage(unpooled(x, kept.pop()))
        return self.head(x)


def initialise(module: nn.Module) -> None:
    """He's normal, zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)


@network(smallest=(3, 64, 64))
def segnet(num_classes: int = 21, in_channels: int = 3, base: int = 64, depth: int = 5) -> SegNet:
    """VGG-16's convolutions and their mirror image. Fewer than five stages suit small things: 2
    those of some 16 pixels."""
    return SegNet(num_classes, in_channels, base, depth)


@network()
def segnet_basic(num_classes: int = 11, in_channels: int = 3, base: int = 64) -> SegNetBasic:
    """The small one; 11 classes are those of CamVid."""
    return SegNetBasic(num_classes, in_channels, base)
