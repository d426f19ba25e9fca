"""Variational autoencoders. Kingma & Welling, "Auto-Encoding Variational Bayes" (2014); beta: Higgins
et al., "beta-VAE" (2017). Strided convolutions on the way in, transposed ones on the way out.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import functional as F, nn
from ...core import random
from ...core.tensor import Tensor
from ..registry import network
from .base import Generative, Rule, Turn, evaluating
from .dcgan import check, widths

__all__ = ["VAE", "vae_32"]


class VAE(Generative):
    """size, channels, base: as DCGAN's. latent: numbers of a code. beta: the weight of the divergence
    from a standard normal; 1 is the bound on the likelihood."""
    players = ("autoencoder",)
    averaged = "autoencoder"
    rule = Rule("Adam", 1e-3, ())

    def __init__(self, size: int = 32, channels: int = 1, base: int = 32, latent: int = 16, hidden: int = 256,
                 beta: float = 1.0):
        check(type(self).__name__, size, channels=channels, base=base, latent=latent, hidden=hidden)
        if beta < 0:
            raise ValueError(f"VAE: beta must not be negative, got {beta}")
        self.image, self.pictures, self.beta = (latent,), (channels, size, size), beta
        wide = widths(size, base)
        values = wide[-1] * 16
        down: list[nn.Module] = []
        for width, wider in zip([channels, *wide], wide):
            down += [nn.Conv2d(width, wider, 4, 2, 1), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(values, hidden), nn.ReLU(),
                                     nn.Linear(hidden, 2 * latent))
        up: list[nn.Module] = []
        for width, narrower in zip(wide[::-1], [*wide[::-1][1:], channels]):
            up += [nn.ReLU(), nn.ConvTranspose2d(width, narrower, 4, 2, 1)]
        self.from_code = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, values))
        self.decoder = nn.Sequential(*up)

    def logits(self, codes):
        """Of a pixel's being ink, (N, channels, size, size)."""
        values = self.from_code(codes)
        return self.decoder(F.unflatten(values, 1, (values.shape[1] // 16, 4, 4)))

    def forward(self, codes):
        return F.sub(F.mul(F.sigmoid(self.logits(codes)), 2.0), 1.0)

    def encode(self, images):
        """The codes' mean and log variance, each (N, latent)."""
        found = self.encoder(images)
        return found[:, :self.image[0]], found[:, self.image[0]:]

    def parts(self, player: str) -> Sequence[nn.Module]:
        return [self.encoder, self.from_code, self.decoder]

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        """Sums over an image's pixels and a code's numbers, means over the batch."""
        mean, log_variance = self.encode(Tensor(turn.inputs))
        noise = random.default_generator().standard_normal(mean.shape, np.float32).astype(mean.dtype)
        codes = F.add(mean, F.mul(F.exp(F.mul(log_variance, 0.5)), noise))
        ink = (turn.inputs + 1) / 2
        count = len(turn.inputs)
        found = F.binary_cross_entropy_with_logits(self.logits(codes), ink, reduction="sum")
        return {"reconstruction": F.div(found, float(count)),
                "divergence": F.mul(divergence(mean, log_variance), self.beta)}

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """What the means of images' codes give, in evaluation mode."""
        with evaluating(self):
            return self.paint(self.encode(Tensor(images))[0].data)


def divergence(mean, log_variance):
    """KL(N(mean, variance) || N(0, 1)), summed over codes' numbers, the batch's mean; appendix B."""
    terms = F.sub(F.sub(F.add(F.square(mean), F.exp(log_variance)), log_variance), 1.0)
    return F.mul(F.mean(F.sum(terms, 1)), 0.5)


@network(image=(16,))
def vae_32(size: int = 32, channels: int = 1, base: int = 32, latent: int = 16, hidden: int = 256,
           beta: float = 1.0) -> VAE:
    """32x32 images; beta above 1 makes the numbers of a code more independent."""
    return VAE(size, channels, base, latent, hidden, beta)
