"""U-Net. Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (2015).

Convolutions are padded, so that the result has the image's size; the paper's are not, and it crops
what it copies across.
"""
from __future__ import annotations

import math

from ... import functional as F, nn

__all__ = ["UNet", "unet"]


class UNet(nn.Module):
    """base: channels at the image's resolution; each of the four resolutions below has
    twice as many. input: (N, in_channels, H, W), H and W multiples of 16. Returns logits
    (N, num_classes, H, W).
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2, base: int = 64):
        widths = [base << level for level in range(5)]
        # the lower level's channels and the upper one's, from the bottom up
        above = list(zip(widths[1:], widths))[::-1]
        self.down = nn.ModuleList(double(channels, width)
                                  for channels, width in zip([in_channels, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(lower, upper, 2, stride=2) for lower, upper in above)
        self.merge = nn.ModuleList(double(2 * upper, upper) for _, upper in above)
        self.head = nn.Conv2d(base, num_classes, 1)
        self.apply(initialise)

    def forward(self, input):
        first, *below = self.down
        maps = [first(input)]
        for convolutions in below:
            maps.append(convolutions(self.pool(maps[-1])))
        x = maps.pop()
        for up, convolutions in zip(self.up, self.merge):
            x = convolutions(F.cat([maps.pop(), up(x)], 1))
        return self.head(x)


def double(channels: int, filters: int) -> nn.Sequential:
    """Two 3x3 convolutions, a ReLU after each."""
    return nn.Sequential(nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(filters, filters, 3, padding=1), nn.ReLU())


def initialise(module: nn.Module) -> None:
    """Section 3: a normal of deviation sqrt(2 / N), N the number of values that a neuron
    sees. Zero biases."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.in_channels * math.prod(module.kernel_size))))
    elif isinstance(module, nn.ConvTranspose2d):
        # each result sees one position, as stride and kernel are equal
        nn.init.normal_(module.weight, 0, math.sqrt(2 / module.in_channels))
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.zeros_(module.bias)


def unet(in_channels: int = 3, num_classes: int = 2, base: int = 64) -> UNet:
    """The paper's has one channel, two classes and base 64."""
    return UNet(in_channels, num_classes, base)
