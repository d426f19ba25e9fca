"""Spectral normalisation. Miyato, Kataoka, Koyama & Yoshida, "Spectral Normalization for Generative
Adversarial Networks" (2018): each layer of the discriminator divides its weight by its largest
singular value, so that the slope of the whole is bounded. With the hinge loss.
"""
from __future__ import annotations

from ... import nn
from ..registry import network
from .base import Rule
from .dcgan import DCGAN, discriminator

__all__ = ["SNGAN", "sngan_32"]


class SNGAN(DCGAN):
    """DCGAN's networks, the discriminator with spectral in place of batch norm."""
    rule = Rule("Adam", 2e-4, (("betas", (0.0, 0.9)),))

    def __init__(self, size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 0,
                 loss: str = "hinge"):
        super().__init__(size, channels, base, latent, num_classes, loss)
        layers = list(discriminator(size, channels + num_classes, base, norm=False).children())
        self.discriminator = nn.Sequential(
            *(nn.spectral_norm(layer) if isinstance(layer, nn.Conv2d) else layer for layer in layers))


@network(image=(100,))
def sngan_32(size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 0,
             loss: str = "hinge") -> SNGAN:
    """32x32 images, the hinge loss."""
    return SNGAN(size, channels, base, latent, num_classes, loss)
