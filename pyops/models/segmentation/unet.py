"""U-Net. Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation" (2015), and its form for volumes. Çiçek, Abdulkadir, Lienkamp, Brox & Ronneberger, "3D
U-Net: Learning Dense Volumetric Segmentation from Sparse Annotation" (2016).

The paper's convolutions are not padded: of 572 x 572 pixels it labels the 388 x 388 in the middle,
and crops what it copies across (padded=False). With padding, the default, the result has the
image's size.
"""
from __future__ import annotations

import math

from ... import functional as F, nn
from ...nn.sizes import positive
from ..registry import network
from .segmenter import Segmenter

__all__ = ["UNet", "UNet3D", "unet", "unet_3d"]


class UNet(Segmenter):
    """base: channels at the image's resolution; each of the `depth` resolutions below has twice as
    many. padded=False: the paper's form, for images of which the lowest resolution has even sizes
    all the way down (fitting_size). input: (N, in_channels, H, W); padded, H and W are multiples of
    2^depth. batch_norm: behind each 3x3 convolution, which the paper has not, but which makes
    training quick. Returns logits (N, num_classes, H, W), or of the middle alone.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2, base: int = 64, depth: int = 4,
                 padded: bool = True, batch_norm: bool = False):
        positive("UNet", in_channels=in_channels, num_classes=num_classes, base=base, depth=depth)
        self.depth, self.padded, self.multiple = depth, padded, 2 ** depth
        widths = [base << level for level in range(depth + 1)]
        # the lower level's channels and the upper one's, from the bottom up
        above = list(zip(widths[1:], widths))[::-1]
        self.down = nn.ModuleList(double(channels, width, padded, batch_norm)
                                  for channels, width in zip([in_channels, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(lower, upper, 2, stride=2) for lower, upper in above)
        self.merge = nn.ModuleList(double(2 * upper, upper, padded, batch_norm) for _, upper in above)
        self.head = nn.Conv2d(base, num_classes, 1)
        self.apply(initialise)

    def forward(self, input):
        self.check(input.shape[-2:])
        first, *below = self.down
        maps = [first(input)]
        for convolutions in below:
            maps.append(convolutions(self.pool(maps[-1])))
        x = maps.pop()
        for up, convolutions in zip(self.up, self.merge):
            x = up(x)
            x = convolutions(F.cat([middle(maps.pop(), x.shape[-2:]), x], 1))
        return self.head(x)

    def check(self, size) -> None:
        step, least = 2 ** self.depth, 0 if self.padded else self.fitting_size(1)
        for side in size:
            if side < least or (side - least) % step:
                raise ValueError(f"UNet: height and width must be {f'{least} and ' if least else ''}multiples of "
                                 f"{step}{' more' if least else ''}, got {tuple(size)}; "
                                 "pyops.segmentation.segment takes images of any size")

    def result_size(self, side: int) -> int:
        """How many pixels of `side` have a label: all, or the paper's 388 of 572."""
        if self.padded:
            return side
        for _ in range(self.depth):
            side = (side - 4) // 2
        side -= 4
        for _ in range(self.depth):
            side = 2 * side - 4
        return side

    def fitting_size(self, labelled: int) -> int:
        """The least side of an image of which at least `labelled` pixels have a label."""
        if self.padded:
            return -(-labelled // 2 ** self.depth) * 2 ** self.depth
        side = labelled
        for _ in range(self.depth):
            side = -(-(side + 4) // 2)
        side += 4
        for _ in range(self.depth):
            side = 2 * side + 4
        return side


def middle(maps, size):
    """The middle of maps, of the given size."""
    (height, width), (rows, columns) = maps.shape[-2:], size
    if (height, width) == (rows, columns):
        return maps
    top, left = (height - rows) // 2, (width - columns) // 2
    return maps[:, :, top:top + rows, left:left + columns]


def double(channels: int, filters: int, padded: bool = True, batch_norm: bool = False) -> nn.Sequential:
    """Two 3x3 convolutions, a ReLU after each, and a norm before that if asked for."""
    layers: list[nn.Module] = []
    for width in (channels, filters):
        layers += [nn.Conv2d(width, filters, 3, padding=int(padded)),
                   *([nn.BatchNorm2d(filters)] if batch_norm else []), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet3D(Segmenter):
    """base: channels of the first convolution (32); the second of each resolution has twice as
    many, so that no pooling meets a bottleneck. input: (N, in_channels, D, H, W), multiples of
    2^depth. Returns logits (N, num_classes, D, H, W)."""

    def __init__(self, in_channels: int = 3, num_classes: int = 3, base: int = 32, depth: int = 3):
        positive("UNet3D", in_channels=in_channels, num_classes=num_classes, base=base, depth=depth)
        self.depth = depth
        widths = [base << level for level in range(depth + 2)]   # 32, 64, 128, 256, 512
        self.down = nn.ModuleList(volume([channels, width, 2 * width])
                                  for channels, width in zip([in_channels, *widths[1:]], widths[:-1]))
        self.pool = nn.MaxPool3d(2)
        levels = range(depth, 0, -1)
        self.up = nn.ModuleList(nn.ConvTranspose3d(widths[n + 1], widths[n + 1], 2, stride=2) for n in levels)
        self.merge = nn.ModuleList(volume([widths[n + 1] + widths[n], widths[n], widths[n]]) for n in levels)
        self.head = nn.Conv3d(widths[1], num_classes, 1)
        self.apply(initialise)

    def forward(self, input):
        if any(n % 2 ** self.depth for n in input.shape[2:]):
            raise ValueError(f"UNet3D: depth, height and width must be multiples of {2 ** self.depth}, got "
                             f"{tuple(input.shape[2:])}")
        first, *below = self.down
        maps = [first(input)]
        for convolutions in below:
            maps.append(convolutions(self.pool(maps[-1])))
        x = maps.pop()
        for up, convolutions in zip(self.up, self.merge):
            x = convolutions(F.cat([maps.pop(), up(x)], 1))
        return self.head(x)


def volume(widths) -> nn.Sequential:
    """3x3x3 convolutions, each with its norm and ReLU."""
    return nn.Sequential(*(layer for channels, filters in zip(widths, widths[1:]) for layer in
                           (nn.Conv3d(channels, filters, 3, padding=1), nn.BatchNorm3d(filters), nn.ReLU())))


def initialise(module: nn.Module) -> None:
    """Section 3: a normal of deviation sqrt(2 / N), N the number of values that a neuron
    sees. Zero biases."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.in_channels * math.prod(module.kernel_size))))
    elif isinstance(module, (nn.ConvTranspose2d, nn.ConvTranspose3d)):
        # each result sees one position, as stride and kernel are equal
        nn.init.normal_(module.weight, 0, math.sqrt(2 / module.in_channels))
    else:
        return
    nn.init.zeros_(module.bias)


@network(image=(3, 256, 256), smallest=(3, 32, 48))
def unet(in_channels: int = 3, num_classes: int = 2, base: int = 64, depth: int = 4,
         padded: bool = True, batch_norm: bool = False) -> UNet:
    """The paper's has one channel, two classes, base 64, and is not padded."""
    return UNet(in_channels, num_classes, base, depth, padded, batch_norm)


def unet_3d(in_channels: int = 3, num_classes: int = 3, base: int = 32, depth: int = 3) -> UNet3D:
    """The paper's: three channels, three classes."""
    return UNet3D(in_channels, num_classes, base, depth)
