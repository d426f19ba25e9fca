"""Losses of two networks that play against each other, on logits: what a discriminator says of real
images and of made ones."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ... import functional as F, nn
from ...core.tensor import Tensor, no_grad
from .base import Generative, Turn, with_maps

__all__ = ["LOSSES", "AdversarialLoss", "Pair"]


class AdversarialLoss(NamedTuple):
    """discriminator(real, made) and generator(made), of logits of any shape: means, scalars."""
    discriminator: Callable[[Any, Any], Any]
    generator: Callable[[Any], Any]


def halves(real: Any, made: Any) -> Any:
    return F.mul(F.add(F.mean(F.square(F.sub(real, 1.0))), F.mean(F.square(made))), 0.5)


LOSSES = {
    # Goodfellow et al. (2014); of the generator the form that does not saturate (section 3)
    "gan": AdversarialLoss(lambda real, made: F.add(F.mean(F.softplus(F.neg(real))), F.mean(F.softplus(made))),
                           lambda made: F.mean(F.softplus(F.neg(made)))),
    # Mao et al., "Least Squares Generative Adversarial Networks" (2017), equation 9
    "lsgan": AdversarialLoss(halves, lambda made: F.mul(F.mean(F.square(F.sub(made, 1.0))), 0.5)),
    # Lim & Ye, "Geometric GAN" (2017)
    "hinge": AdversarialLoss(lambda real, made: F.add(F.mean(F.relu(F.sub(1.0, real))),
                                                      F.mean(F.relu(F.add(made, 1.0)))),
                             lambda made: F.neg(F.mean(made))),
    # Arjovsky, Chintala & Bottou, "Wasserstein GAN" (2017)
    "wgan": AdversarialLoss(lambda real, made: F.sub(F.mean(made), F.mean(real)), lambda made: F.neg(F.mean(made))),
}


class Pair(Generative):
    """A generator and a discriminator. loss: of LOSSES. The discriminator is a module of images (N,
    C, H, W), with `classes` maps of their labels behind, that returns logits (N, 1)."""
    generator: nn.Module
    discriminator: nn.Module
    loss: str = "gan"

    def forward(self, codes):
        return self.generator(codes)

    def judge(self, images, labels):
        """The discriminator's logits."""
        return self.discriminator(with_maps(images, labels, self.classes) if self.classes else images)

    def begin(self, turn: Turn) -> None:
        codes = self.codes(len(turn.inputs), turn.targets if self.classes else None)
        if "generator" in turn.players:
            turn.made["images"] = self.generator(Tensor(codes))
        else:
            with no_grad():
                turn.made["images"] = self.generator(Tensor(codes))

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        losses, made = LOSSES[self.loss], turn.made["images"]
        if player == "generator":
            return {"generator": losses.generator(self.judge(made, turn.targets))}
        real, made = self.judge(Tensor(turn.inputs), turn.targets), self.judge(made.detach(), turn.targets)
        told(self.loss, turn, real, made)
        return {"discriminator": losses.discriminator(real, made)}


def told(loss: str, turn: Turn, real: Tensor, made: Tensor) -> None:
    """How many of each kind the discriminator has right. Of logits above and below 0; of least
    squares above and below the middle of their targets. A critic's scores have no middle."""
    if loss != "wgan":
        middle = 0.5 if loss == "lsgan" else 0.0
        turn.said["real right"] = float((real.data > middle).mean())
        turn.said["made right"] = float((made.data < middle).mean())
