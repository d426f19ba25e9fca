"""The first of them. Goodfellow et al., "Generative Adversarial Nets" (2014), with the sizes of the
authors' network for MNIST: a generator of two hidden layers of 1200 rectified units, and a
discriminator of two layers of 240 maxout units of five pieces (Goodfellow et al., 2013) with dropout.
"""
from __future__ import annotations

import math

from ... import functional as F, nn
from ...nn.sizes import positive
from ..registry import network
from .adversarial import LOSSES, Pair

__all__ = ["GAN", "Maxout", "gan_mlp"]


class Maxout(nn.Module):
    """The largest of `pieces` linear functions of (N, in_features): (N, out_features)."""

    def __init__(self, in_features: int, out_features: int, pieces: int = 5):
        self.pieces = pieces
        self.linear = nn.Linear(in_features, out_features * pieces)

    def forward(self, input):
        every = self.linear(input)
        return F.amax(F.unflatten(every, -1, (every.shape[-1] // self.pieces, self.pieces)), -1)


class ToImage(nn.Sequential):
    """Layers whose last gives the values of images of this shape."""

    def __init__(self, *layers: nn.Module, shape: tuple[int, ...]):
        super().__init__(*layers)
        self.shape = shape

    def forward(self, input):
        return F.unflatten(super().forward(input), 1, self.shape)


class GAN(Pair):
    """size: of the square images. hidden: of the generator; units: of the discriminator. The paper's
    sigmoid is a tanh here, as images lie in -1 .. 1."""

    def __init__(self, size: int = 28, channels: int = 1, latent: int = 100, hidden: int = 1200, units: int = 240,
                 pieces: int = 5, dropout: float = 0.5, loss: str = "gan"):
        positive("GAN", size=size, channels=channels, latent=latent, hidden=hidden, units=units, pieces=pieces)
        if loss not in LOSSES:
            raise ValueError(f"GAN: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.image, self.pictures, self.loss = (latent,), (channels, size, size), loss
        values = math.prod(self.pictures)
        self.generator = ToImage(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                                 nn.Linear(hidden, values), nn.Tanh(), shape=self.pictures)
        self.discriminator = nn.Sequential(
            nn.Flatten(), Maxout(values, units, pieces), nn.Dropout(dropout), Maxout(units, units, pieces),
            nn.Dropout(dropout), nn.Linear(units, 1))


@network(image=(100,), published=2_503_984 + 1_231_441, source="the authors' mnist.yaml")
def gan_mlp(size: int = 28, channels: int = 1, latent: int = 100, hidden: int = 1200, units: int = 240,
            loss: str = "gan") -> GAN:
    """The paper's network for MNIST."""
    return GAN(size, channels, latent, hidden, units, loss=loss)
