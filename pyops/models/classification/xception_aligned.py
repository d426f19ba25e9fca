"""Modified aligned Xception. Chen, Zhu, Papandreou, Schroff & Adam, "Encoder-Decoder with Atrous
Separable Convolution for Semantic Image Segmentation" (2018), figure 4, with timm's parameter
names.

Against Xception: more layers, strided separable convolutions instead of poolings, so that a
resolution can be kept by dilation, and a norm and ReLU behind each depthwise convolution.
"""
from __future__ import annotations

from functools import partial

from ... import functional as F, nn
from ..registry import network
from .classifier import Classifier

__all__ = ["XceptionAligned", "xception41", "xception65", "xception71"]

norm = partial(nn.BatchNorm2d, eps=1e-3)


class ConvNorm(nn.Module):
    """Convolution, norm, and ReLU unless activation=False."""

    def __init__(self, channels: int, filters: int, kernel: int, stride: int = 1, activation: bool = True):
        self.conv = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = norm(filters)
        self.activation = activation

    def forward(self, input):
        x = self.bn(self.conv(input))
        return F.relu(x) if self.activation else x


class SeparableConv(nn.Module):
    """A 3x3 convolution of each map by itself and a 1x1 across maps, each with its norm; activation:
    and with ReLU."""

    def __init__(self, channels: int, filters: int, stride: int, dilation: int, activation: bool):
        self.conv_dw = nn.Conv2d(channels, channels, 3, stride, padding=dilation, dilation=dilation,
                                 groups=channels, bias=False)
        self.bn_dw = norm(channels)
        self.conv_pw = nn.Conv2d(channels, filters, 1, bias=False)
        self.bn_pw = norm(filters)
        self.activation = F.relu if activation else lambda x: x

    def forward(self, input):
        x = self.activation(self.bn_dw(self.conv_dw(input)))
        return self.activation(self.bn_pw(self.conv_pw(x)))


class Block(nn.Module):
    """Three separable convolutions, the last with the stride, beside a shortcut. tail is the exit
    flow's end: no shortcut, and the ReLUs behind the convolutions, not before."""

    def __init__(self, channels: int, widths: tuple[int, int, int], stride: int, dilation: int, tail: bool):
        changes = channels != widths[-1] or stride > 1
        self.shortcut = ConvNorm(channels, widths[-1], 1, stride, activation=False) if changes and not tail else None
        self.tail = tail
        self.stack = nn.ModuleDict()
        for at, (before, width) in enumerate(zip((channels, *widths), widths), 1):
            self.stack[f"conv{at}"] = SeparableConv(before, width, stride if at == 3 else 1, dilation, tail)

    def taps(self, input):
        """What the last convolution sees, and the block's result."""
        seen = x = input
        for layer in self.stack.values():
            seen = x if self.tail else F.relu(x)
            x = layer(seen)
        if self.tail:
            return seen, x
        return seen, F.add(x, input if self.shortcut is None else self.shortcut(input))

    def forward(self, input):
        return self.taps(input)[1]


class XceptionAligned(Classifier):
    """entry: (channels, stride) of the entry flow's blocks; middle: how many blocks of 728 channels
    follow. output_stride (32, 16 or 8): strides beyond it are dilations instead. input: (N, 3, H,
    W), 299 in the paper. Returns logits (N, num_classes)."""
    head_names = ("head",)
    image = (3, 299, 299)

    def __init__(self, entry: tuple[tuple[int, int], ...], middle: int, num_classes: int = 1000,
                 output_stride: int = 32):
        if output_stride not in (8, 16, 32):
            raise ValueError(f"XceptionAligned: output_stride must be 8, 16 or 32, got {output_stride!r}")
        self.stem = nn.Sequential(ConvNorm(3, 32, 3, 2), ConvNorm(32, 64, 3))
        plan = [((width,) * 3, stride) for width, stride in entry] + [((728,) * 3, 1)] * middle
        plan += [((728, 1024, 1024), 2), ((1536, 1536, 2048), 1)]
        blocks: list[nn.Module] = []
        channels, reached, dilation = 64, 2, 1
        self.taken = []   # blocks of which stages() returns what they see at their full resolution
        for at, (widths, stride) in enumerate(plan):
            block_dilation = dilation
            if stride > 1:
                self.taken.append(at)
                if reached * stride > output_stride:
                    dilation, stride = dilation * stride, 1
                reached *= stride
            # a stride that became dilation shows from the next block on
            blocks.append(Block(channels, widths, stride, block_dilation, tail=at == len(plan) - 1))
            channels = widths[-1]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.ModuleDict({"fc": nn.Linear(channels, num_classes)})
        self.apply(initialise)

    def stages(self, input) -> tuple:
        """The maps at 1/2, 1/4, 1/8 and 1/16 (as far as output_stride lets them be), before they
        are reduced, and the last."""
        x, found = self.stem(input), []
        for at, block in enumerate(self.blocks):
            seen, x = block.taps(x)
            if at in self.taken:
                found.append(seen)
        return (*found, x)

    def maps(self, input):
        return self.blocks(self.stem(input))

    def classify(self, maps):
        return self.head["fc"](F.flatten(F.adaptive_avg_pool2d(maps, 1), 1))


def initialise(module: nn.Module) -> None:
    """He's normal for convolutions; the linear layer starts as layers do."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


ENTRY = ((128, 2), (256, 2), (728, 2))


@network(image=(3, 299, 299), published=26_969_560, source="timm", timm="xception41", smallest=(3, 71, 71))
def xception41(**settings) -> XceptionAligned:
    """8 blocks in the middle flow. settings: num_classes, output_stride."""
    return XceptionAligned(ENTRY, 8, **settings)


@network(image=(3, 299, 299), published=39_916_312, source="timm", timm="xception65", smallest=(3, 71, 71))
def xception65(**settings) -> XceptionAligned:
    """16 blocks in the middle flow: the trunk of DeepLab v3+."""
    return XceptionAligned(ENTRY, 16, **settings)


@network(image=(3, 299, 299), published=42_338_736, source="timm", timm="xception71", smallest=(3, 71, 71))
def xception71(**settings) -> XceptionAligned:
    """xception65 with two more blocks in the entry flow."""
    return XceptionAligned(((128, 2), (256, 1), (256, 2), (728, 1), (728, 2)), 16, **settings)
