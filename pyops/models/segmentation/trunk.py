"""Classification networks as trunks: their maps at several resolutions, without the classifier."""
from __future__ import annotations

from ... import nn
from ..classification.mobilenet_v3 import mobilenet_v3_large
from ..classification.resnet import ResNet

LEVELS = {8: (False, True, True), 16: (False, False, True), 32: (False, False, False)}


def dilated_resnet(make, output_stride: int, multi_grid: tuple[int, ...] | None = None) -> ResNet:
    """A ResNet of bottlenecks whose last maps have 1/output_stride of the image's size.

    make: resnet50, say. multi_grid: of the last stage's blocks, what their dilation is multiplied
    by (Chen et al., "Rethinking Atrous Convolution", section 3.2.1).
    """
    if output_stride not in LEVELS:
        raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride!r}")
    trunk = make(replace_stride_with_dilation=LEVELS[output_stride])
    trunk.without_top()
    if multi_grid is not None:
        if len(multi_grid) != len(trunk.layer4):
            raise ValueError(f"multi_grid must be {len(trunk.layer4)} numbers, one for each block of the last "
                             f"stage, got {multi_grid!r}")
        for block, factor in zip(trunk.layer4, multi_grid):
            rate = 32 // output_stride * factor
            block.conv2.dilation = block.conv2.padding = (rate, rate)
    return trunk


def dilated_mobilenet() -> tuple[nn.Sequential, list[int], list[int]]:
    """MobileNetV3-Large at 1/16: its layers, the places of those that (would) halve the resolution,
    and how many channels these have."""
    trunk = mobilenet_v3_large(dilated=True)
    places = trunk.strided()
    return trunk.features, places, [width(trunk.features[at]) for at in places]


def width(block: nn.Module) -> int:
    """How many channels a layer or a block returns."""
    return [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels


def collect(layers: nn.Sequential, input, places) -> list:
    """What the layers at `places` return, in that order."""
    found = {}
    for at, layer in enumerate(layers):
        input = layer(input)
        found[at] = input
    return [found[at] for at in places]
