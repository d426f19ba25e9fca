"""Wasserstein GANs: a critic, whose scores differ by the distance between real and made images, in
place of a discriminator.

Arjovsky, Chintala & Bottou, "Wasserstein GAN" (2017): weights are clipped. Gulrajani, Ahmed, Arjovsky,
Dumoulin & Courville, "Improved Training of Wasserstein GANs" (2017): the gradient's length is held at 1,
for which the critic has no batch norm, and which takes second derivatives.
"""
from __future__ import annotations

import numpy as np

from ... import functional as F
from ...core import random
from ...core.tensor import Tensor, grad
from ...nn.sizes import whole
from ..registry import network
from .adversarial import Pair
from .base import Rule, Turn
from .dcgan import check, discriminator, generator, initialise

__all__ = ["WGAN", "gradient_penalty", "wgan_32", "wgan_gp_32"]


def gradient_penalty(critic, real: np.ndarray, made: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
    """The mean of (|d critic / d x| - 1)^2, the gradient's norm taken image by image, at points x drawn
    between real and made images (N, ...). Its gradient reaches the critic's weights. rng: default
    pyops' own."""
    rng = rng or random.default_generator()
    share = np.asarray(rng.random((len(real), *[1] * (real.ndim - 1))), real.dtype)
    x = Tensor(real + share * (made - real), True)
    slope, = grad(F.sum(critic(x)), [x], create_graph=True)
    length = F.sqrt(F.add(F.sum(F.square(F.flatten(slope, 1)), 1), 1e-12))   # 0 has no slope
    return F.mean(F.square(F.sub(length, 1.0)))


class WGAN(Pair):
    """DCGAN's networks. clip: the largest weight of the critic, or 0; penalty: the factor of the
    gradient penalty, or 0, without batch norm in the critic. critic_steps: of the critic for one of
    the generator."""

    def __init__(self, size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 0,
                 clip: float = 0.01, penalty: float = 0.0, critic_steps: int = 5):
        check(type(self).__name__, size, channels=channels, base=base, latent=latent, critic_steps=critic_steps)
        whole("WGAN", num_classes=num_classes)
        if clip < 0 or penalty < 0:
            raise ValueError(f"WGAN: clip and penalty must not be negative, got {clip} and {penalty}")
        self.image, self.pictures = (latent + num_classes,), (channels, size, size)
        self.classes, self.loss, self.clip, self.penalty, self.critic_steps = (num_classes, "wgan", clip, penalty,
                                                                               critic_steps)
        self.generator = generator(size, channels, base, latent + num_classes)
        self.discriminator = discriminator(size, channels + num_classes, base, norm=not penalty)
        (self.generator if penalty else self).apply(initialise)   # a critic of so small weights is slow to slope
        self.rule = (Rule("Adam", 1e-4, (("betas", (0.0, 0.9)),)) if penalty else Rule("RMSprop", 5e-5, ()))

    def plays(self, batch: int) -> tuple[str, ...]:
        return self.players if (batch + 1) % self.critic_steps == 0 else ("discriminator",)

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        parts = super().objective(player, turn)
        if player == "discriminator":
            turn.said["distance"] = -float(parts["discriminator"].item())
            if self.penalty:
                found = gradient_penalty(lambda images: self.judge(images, turn.targets), turn.inputs,
                                         turn.made["images"].data)
                parts["gradient penalty"] = F.mul(found, self.penalty)
        return parts

    def after(self, player: str) -> None:
        if player == "discriminator" and self.clip:
            for p in self.discriminator.parameters():
                np.clip(p.data, -self.clip, self.clip, out=p.data)


@network(image=(100,))
def wgan_32(size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, clip: float = 0.01,
            critic_steps: int = 5) -> WGAN:
    """With clipped weights."""
    return WGAN(size, channels, base, latent, clip=clip, critic_steps=critic_steps)


@network(image=(100,))
def wgan_gp_32(size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 0,
               penalty: float = 10.0, critic_steps: int = 5) -> WGAN:
    """With the gradient penalty."""
    return WGAN(size, channels, base, latent, num_classes, 0.0, penalty, critic_steps)
