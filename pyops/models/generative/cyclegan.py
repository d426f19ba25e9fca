"""CycleGAN. Zhu, Park, Isola & Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent
Adversarial Networks" (2017): two generators, each the other's way back, from images of one kind and
images of another that do not belong together.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ... import functional as F, nn
from ...core import random
from ...core.tensor import Tensor
from ...nn.sizes import positive, whole
from ..registry import network
from .adversarial import LOSSES, told
from .base import ImageTranslator, Turn
from .dcgan import initialise
from .pix2pix import patch_discriminator, side_by_side

__all__ = ["CycleGAN", "ImagePool", "cyclegan"]


class Residual(nn.Module):
    """Two 3x3 convolutions of mirrored maps, with instance norm; their result is added."""

    def __init__(self, channels: int):
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels))

    def forward(self, input):
        return F.add(input, self.block(input))


def resnet_generator(in_channels: int, out_channels: int, base: int, blocks: int) -> nn.Sequential:
    """The appendix's c7s1-64, d128, d256, R256 blocks times, u128, u64, c7s1-3: images to images of the
    same size, a multiple of 4, in -1 .. 1."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, base, 7), nn.InstanceNorm2d(base),
                               nn.ReLU()]
    for width in (base, 2 * base):
        layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.InstanceNorm2d(2 * width), nn.ReLU()]
    layers += [Residual(4 * base) for _ in range(blocks)]
    for width in (4 * base, 2 * base):
        layers += [nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1), nn.InstanceNorm2d(width // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(base, out_channels, 7), nn.Tanh())


class ImagePool:
    """Made images of earlier steps (Shrivastava et al., 2017): of each that comes, with probability
    1/2, an earlier one goes in its place. size: how many are kept; 0: none. rng: default pyops' own."""

    def __init__(self, size: int = 50):
        self.size, self.images = size, np.zeros((0,), np.float32)

    def exchanged(self, images: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """As many images (N, C, H, W)."""
        rng, found = rng or random.default_generator(), images.copy()
        if not len(self.images):
            self.images = np.zeros((0, *images.shape[1:]), images.dtype)
        for i, image in enumerate(images if self.size else images[:0]):
            if len(self.images) < self.size:
                self.images = np.concatenate([self.images, image[None]])
            elif rng.random() < 0.5:
                at = int(rng.integers(self.size))
                found[i], self.images[at] = self.images[at].copy(), image
        return found


class CycleGAN(ImageTranslator):
    """A dataset's inputs are images of one kind (A), its targets some of the other (B), unpaired.
    forward makes B of A; `back` is the other generator. cycle: the weight of |there and back - image|;
    identity: of |generator(image of its own result's kind) - image|, as a share of cycle; pool: of
    ImagePool."""
    players = ("generators", "discriminators")
    averaged = "generators"

    def __init__(self, size: int = 256, channels: int = 3, base: int = 64, blocks: int = 9, layers: int = 3,
                 cycle: float = 10.0, identity: float = 0.5, pool: int = 50):
        positive("CycleGAN", size=size, channels=channels, base=base, layers=layers)
        whole("CycleGAN", blocks=blocks, pool=pool)
        if size % 4:
            raise ValueError(f"CycleGAN: size must be a multiple of 4, got {size}")
        self.image = self.pictures = (channels, size, size)
        self.cycle, self.identity = cycle, identity
        self.there, self.back = (resnet_generator(channels, channels, base, blocks) for _ in range(2))
        self.judge_b, self.judge_a = (patch_discriminator(channels, base, layers, True) for _ in range(2))
        self.pools = {"a": ImagePool(pool), "b": ImagePool(pool)}
        self.apply(initialise)

    def forward(self, input):
        return self.there(input)

    def parts(self, player: str) -> Sequence[nn.Module]:
        return [self.there, self.back] if player == "generators" else [self.judge_b, self.judge_a]

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        a, b, lsgan = Tensor(turn.inputs), Tensor(turn.targets), LOSSES["lsgan"]
        if player == "generators":
            made_b, made_a = self.there(a), self.back(b)
            turn.made |= {"b": made_b.data, "a": made_a.data}
            parts = {"generators": F.mul(F.add(lsgan.generator(self.judge_b(made_b)),
                                               lsgan.generator(self.judge_a(made_a))), 2.0),   # (D - 1)^2, not half
                     "cycle": F.mul(F.add(F.l1_loss(self.back(made_b), a), F.l1_loss(self.there(made_a), b)),
                                    self.cycle)}
            if self.identity:
                same = F.add(F.l1_loss(self.there(b), b), F.l1_loss(self.back(a), a))
                parts["identity"] = F.mul(same, self.cycle * self.identity)
            return parts
        found = None
        for kind, judge, real in (("b", self.judge_b, b), ("a", self.judge_a, a)):
            scores, made = judge(real), judge(Tensor(self.pools[kind].exchanged(turn.made[kind])))
            told("lsgan", turn, scores, made)
            one = lsgan.discriminator(scores, made)
            found = one if found is None else F.add(found, one)
        return {"discriminators": found}

    def examples(self, data, rng) -> np.ndarray:
        return data.take(np.arange(min(12, len(data))))[0]

    def sheet(self, examples: np.ndarray) -> tuple[np.ndarray, int]:
        """Three columns: an image, what became of it, and what that becomes on the way back."""
        made = self.paint(examples)
        return side_by_side(examples, made, self.back(Tensor(made)).data), 3

    def remembered(self) -> dict[str, np.ndarray]:
        return {f"pool.{kind}": pool.images for kind, pool in self.pools.items()}

    def remembering(self, arrays: Mapping[str, np.ndarray]) -> Callable[[], None]:
        for kind, pool in self.pools.items():
            found = arrays.get(f"pool.{kind}")
            if found is None or len(found) > pool.size or len(found) and found.shape[1:] != self.image:
                raise ValueError(f"its pool of {kind.upper()} is none of this network's images")

        def take() -> None:
            for kind, pool in self.pools.items():
                pool.images = arrays[f"pool.{kind}"].copy()
        return take


@network(image=(3, 256, 256), published=2 * (11_378_179 + 2_764_737),
         source="the authors' code prints 11.378 M and 2.765 M, each twice")
def cyclegan(size: int = 256, channels: int = 3, base: int = 64, blocks: int = 9, layers: int = 3,
             cycle: float = 10.0, identity: float = 0.5, pool: int = 50) -> CycleGAN:
    """The paper's 256x256 images with nine residual blocks; 128x128 have six."""
    return CycleGAN(size, channels, base, blocks, layers, cycle, identity, pool)
