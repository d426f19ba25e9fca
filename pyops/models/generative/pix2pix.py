"""pix2pix. Isola, Zhu, Zhou & Efros, "Image-to-Image Translation with Conditional Adversarial
Networks" (2017): a U-Net makes one image of another; the discriminator sees both, patch by patch.
"""
from __future__ import annotations

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...nn.sizes import positive
from ..registry import network
from .adversarial import LOSSES, told
from .base import ImageTranslator, Turn
from .dcgan import initialise

__all__ = ["Pix2Pix", "TranslationUNet", "patch_discriminator", "pix2pix"]


class Level(nn.Module):
    """One resolution of the U-Net and all below it: halves the map, works on it, doubles it again, and
    returns it behind what came in. below: the next Level, or None for the lowest."""

    def __init__(self, channels: int, width: int, below: Level | None, dropout: float):
        self.down = nn.Conv2d(channels, width, 4, 2, 1, bias=False)
        self.down_norm = nn.BatchNorm2d(width) if below is not None else None
        self.below = below
        self.up = nn.ConvTranspose2d(width if below is None else 2 * width, channels, 4, 2, 1, bias=False)
        self.up_norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, input):
        x = self.down(F.leaky_relu(input, 0.2))
        if self.below is not None:
            x = self.below(self.down_norm(x))
        x = self.up_norm(self.up(F.relu(x)))
        return F.cat([input, x if self.dropout is None else self.dropout(x)], 1)


class TranslationUNet(nn.Module):
    """Section 6.1.1: images (N, in_channels, H, W), H and W multiples of 2^depth, to (N, out_channels,
    H, W) in -1 .. 1. base: channels at half the size; they double three times. dropout: of the three
    levels above the lowest, the network's noise."""

    def __init__(self, in_channels: int = 3, out_channels: int = 3, base: int = 64, depth: int = 8,
                 dropout: float = 0.5):
        positive("TranslationUNet", in_channels=in_channels, out_channels=out_channels, base=base, depth=depth)
        if depth < 2:
            raise ValueError(f"TranslationUNet: depth must be at least 2, got {depth}")
        self.depth = depth
        widths = [base << min(level, 3) for level in range(depth)]
        below = None
        for at in range(depth - 1, 0, -1):
            below = Level(widths[at - 1], widths[at], below, dropout if 3 < at < depth - 1 else 0.0)
        self.down = nn.Conv2d(in_channels, base, 4, 2, 1, bias=False)
        self.below = below
        self.up = nn.ConvTranspose2d(2 * base, out_channels, 4, 2, 1)

    def forward(self, input):
        if any(side % 2 ** self.depth for side in input.shape[-2:]):
            raise ValueError(f"TranslationUNet: height and width must be multiples of {2 ** self.depth}, got "
                             f"{tuple(input.shape[-2:])}")
        return F.tanh(self.up(F.relu(self.below(self.down(input)))))


def patch_discriminator(channels: int, base: int = 64, layers: int = 3, instance_norm: bool = False) -> nn.Sequential:
    """Images (N, channels, H, W) -> logits (N, 1, h, w), each of a patch: 70x70 pixels with three
    layers, 16x16 with one. Norms by batch, or by instance and then without scales."""
    def norm(width):
        return nn.InstanceNorm2d(width) if instance_norm else nn.BatchNorm2d(width)
    found: list[nn.Module] = [nn.Conv2d(channels, base, 4, 2, 1), nn.LeakyReLU(0.2)]
    width = base
    for at in range(1, layers + 1):
        wider = base << min(at, 3)
        found += [nn.Conv2d(width, wider, 4, 2 if at < layers else 1, 1, bias=instance_norm), norm(wider),
                  nn.LeakyReLU(0.2)]
        width = wider
    return nn.Sequential(*found, nn.Conv2d(width, 1, 4, 1, 1))


class Pix2Pix(ImageTranslator):
    """Made of pairs: a dataset's inputs are what it is given, (N, in_channels, H, W), its targets what
    it is to make. l1: the weight of |target - made| in the generator's loss."""

    def __init__(self, size: int = 256, in_channels: int = 3, out_channels: int = 3, base: int = 64, depth: int = 8,
                 layers: int = 3, l1: float = 100.0, dropout: float = 0.5):
        positive("Pix2Pix", size=size, in_channels=in_channels, out_channels=out_channels, base=base,
                 layers=layers)
        self.image, self.pictures, self.l1 = (in_channels, size, size), (out_channels, size, size), l1
        self.generator = TranslationUNet(in_channels, out_channels, base, depth, dropout)
        self.discriminator = patch_discriminator(in_channels + out_channels, base, layers)
        self.apply(initialise)

    def forward(self, input):
        return self.generator(input)

    def begin(self, turn: Turn) -> None:
        turn.made["images"] = self.generator(Tensor(turn.inputs))

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        losses, made = LOSSES["gan"], turn.made["images"]
        if player == "generator":
            return {"generator": losses.generator(self.discriminator(F.cat([Tensor(turn.inputs), made], 1))),
                    "distance": F.mul(F.l1_loss(made, turn.targets), self.l1)}
        real = self.discriminator(Tensor(np.concatenate([turn.inputs, turn.targets], 1)))
        found = self.discriminator(Tensor(np.concatenate([turn.inputs, made.data], 1)))
        told("gan", turn, real, found)
        return {"discriminator": F.mul(losses.discriminator(real, found), 0.5)}   # section 3.3

    def examples(self, data, rng) -> np.ndarray:
        inputs, targets = data.take(np.arange(min(12, len(data))))
        self.wanted = targets
        return inputs

    def sheet(self, examples: np.ndarray) -> tuple[np.ndarray, int]:
        """Three columns: given, made, wanted."""
        return side_by_side(examples, self.paint(examples), self.wanted), 3


def side_by_side(*columns: np.ndarray) -> np.ndarray:
    """Images of each column in turn, grey ones as coloured ones where some are."""
    most = max(c.shape[1] for c in columns)
    wide = [np.broadcast_to(c, (len(c), most, *c.shape[2:])) if c.shape[1] == 1 else c for c in columns]
    return np.stack(wide, 1).reshape(-1, *wide[0].shape[1:])


@network(image=(3, 256, 256), published=54_413_955 + 2_768_705, source="the authors' code prints 54.414 M and 2.769 M")
def pix2pix(size: int = 256, in_channels: int = 3, out_channels: int = 3, base: int = 64, depth: int = 8,
            layers: int = 3, l1: float = 100.0, dropout: float = 0.5) -> Pix2Pix:
    """The paper's 256x256 images."""
    return Pix2Pix(size, in_channels, out_channels, base, depth, layers, l1, dropout)
