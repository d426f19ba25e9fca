"""StyleGAN's generator, small. Karras, Laine & Aila, "A Style-Based Generator Architecture for
Generative Adversarial Networks" (2019): a mapping network makes a style of a code; the image grows
from a learnt constant, and each layer's maps take their scale and mean from the style (AdaIN: Huang &
Belongie, 2017). Without noise, progressive growing and equalised rates.
"""
from __future__ import annotations

import numpy as np

from ... import functional as F, nn
from ..registry import network
from .adversarial import LOSSES, Pair
from .dcgan import check, discriminator, widths

__all__ = ["AdaIN", "MappingNetwork", "StyleGAN", "stylegan_32"]


class AdaIN(nn.Module):
    """Maps (N, channels, H, W), each normalised by its own mean and variance, then scaled and moved by
    what a linear layer makes of the style (N, style)."""

    def __init__(self, channels: int, style: int):
        self.norm, self.affine = nn.InstanceNorm2d(channels), nn.Linear(style, 2 * channels)
        self.affine.bias.data[:channels], self.affine.bias.data[channels:] = 1, 0

    def forward(self, input, style):
        both = F.unflatten(self.affine(style), 1, (2, input.shape[1], 1, 1))
        return F.add(F.mul(self.norm(input), both[:, 0]), both[:, 1])


class MappingNetwork(nn.Module):
    """A code (N, latent), brought to a mean square of 1, through `layers` linear layers to a style."""

    def __init__(self, latent: int, style: int, layers: int = 8):
        self.layers = nn.Sequential(*(part for at in range(layers) for part in (
            nn.Linear(latent if at == 0 else style, style), nn.LeakyReLU(0.2))))

    def forward(self, input):
        return self.layers(F.mul(input, F.rsqrt(F.add(F.mean(F.square(input), 1, keepdim=True), 1e-8))))


class Synthesis(nn.Module):
    """A style (N, style) -> images (N, channels, size, size) in -1 .. 1."""

    def __init__(self, size: int, channels: int, base: int, style: int):
        wide = widths(size, base)[::-1]
        self.start = nn.Parameter(np.ones((1, wide[0], 4, 4), np.float32))
        self.first = AdaIN(wide[0], style)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(wide, [*wide[1:], wide[-1]]))
        self.styles = nn.ModuleList(AdaIN(b, style) for b in [*wide[1:], wide[-1]])
        self.to_image = nn.Conv2d(wide[-1], channels, 1)

    def forward(self, style):
        x = self.first(F.broadcast_to(self.start, (style.shape[0], *self.start.shape[1:])), style)
        for convolution, adain in zip(self.convolutions, self.styles):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear")
            x = adain(F.leaky_relu(convolution(x), 0.2), style)
        return F.tanh(self.to_image(x))


class StyleGAN(Pair):
    """size, channels, base, latent: as DCGAN's; layers: of the mapping network."""

    def __init__(self, size: int = 32, channels: int = 3, base: int = 32, latent: int = 64, style: int = 64,
                 layers: int = 8, loss: str = "gan"):
        check(type(self).__name__, size, channels=channels, base=base, latent=latent, style=style, layers=layers)
        if loss not in LOSSES:
            raise ValueError(f"StyleGAN: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.image, self.pictures, self.loss = (latent,), (channels, size, size), loss
        self.generator = nn.Sequential(MappingNetwork(latent, style, layers), Synthesis(size, channels, base, style))
        self.discriminator = discriminator(size, channels, base, norm=False)


@network(image=(64,))
def stylegan_32(size: int = 32, channels: int = 3, base: int = 32, latent: int = 64, style: int = 64, layers: int = 8,
                loss: str = "gan") -> StyleGAN:
    """32x32 images."""
    return StyleGAN(size, channels, base, latent, style, layers, loss)
