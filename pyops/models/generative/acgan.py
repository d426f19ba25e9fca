"""Auxiliary classifiers. Odena, Olah & Shlens, "Conditional Image Synthesis with Auxiliary Classifier
GANs" (2017): the discriminator sees no labels, but says which class an image is of; both players want
that to be right.
"""
from __future__ import annotations

from ... import functional as F
from ...core.tensor import Tensor
from ..registry import network
from .adversarial import LOSSES, told
from .base import Turn
from .dcgan import DCGAN, discriminator, initialise

__all__ = ["ACGAN", "acgan_32"]


class ACGAN(DCGAN):
    """DCGAN's networks; the discriminator returns (N, 1 + num_classes): real or not, and the logits of
    the classes."""

    def __init__(self, size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 10,
                 loss: str = "gan"):
        if num_classes < 2:
            raise ValueError(f"ACGAN: num_classes must be at least 2, got {num_classes}")
        super().__init__(size, channels, base, latent, num_classes, loss)
        self.discriminator = discriminator(size, channels, base, outputs=1 + num_classes).apply(initialise)

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        losses, made = LOSSES[self.loss], turn.made["images"]
        if player == "generator":
            found = self.discriminator(made)
            return {"generator": losses.generator(found[:, :1]),
                    "class of made": F.cross_entropy(found[:, 1:], turn.targets)}
        real, made = self.discriminator(Tensor(turn.inputs)), self.discriminator(made.detach())
        told(self.loss, turn, real[:, :1], made[:, :1])
        return {"discriminator": losses.discriminator(real[:, :1], made[:, :1]),
                "class of real": F.add(F.cross_entropy(real[:, 1:], turn.targets),
                                       F.cross_entropy(made[:, 1:], turn.targets))}


@network(image=(110,))
def acgan_32(size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 10,
             loss: str = "gan") -> ACGAN:
    """32x32 images of a class that is asked for."""
    return ACGAN(size, channels, base, latent, num_classes, loss)
