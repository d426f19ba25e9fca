"""DCGAN. Radford, Metz & Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks" (2016): strided and transposed convolutions instead of pooling,
batch norm in both networks but at the image, ReLU in the generator, LeakyReLU in the discriminator.

With classes: Mirza & Osindero, "Conditional Generative Adversarial Nets" (2014). A code ends in the
class as a one-hot vector, and the discriminator sees a map of each class behind the image.
"""
from __future__ import annotations

from ... import functional as F, nn
from ...nn.sizes import positive, whole
from ..registry import network
from .adversarial import LOSSES, Pair

__all__ = ["DCGAN", "cdcgan_32", "dcgan_32", "dcgan_64", "dcgan_128"]


class DCGAN(Pair):
    """size: of an image, 4 times a power of two. base: channels at half that size; each halving
    doubles them, down to 4x4 (the paper's figure 1 has base 128: 1024 at 4x4). latent: numbers of a
    code, before those of its class. loss: of adversarial.LOSSES."""

    def __init__(self, size: int = 64, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 0,
                 loss: str = "gan"):
        check(type(self).__name__, size, channels=channels, base=base, latent=latent)
        whole(type(self).__name__, num_classes=num_classes)
        if loss not in LOSSES:
            raise ValueError(f"{type(self).__name__}: loss must be one of {', '.join(LOSSES)}, got {loss!r}")
        self.image, self.pictures = (latent + num_classes,), (channels, size, size)
        self.classes, self.loss = num_classes, loss
        self.generator = generator(size, channels, base, latent + num_classes)
        self.discriminator = discriminator(size, channels + num_classes, base)
        self.apply(initialise)


def check(name: str, size: int, **counts: int) -> None:
    positive(name, size=size, **counts)
    if size < 8 or size & (size - 1):
        raise ValueError(f"{name}: size must be a power of two, 8 or more, got {size!r}")


def widths(size: int, base: int) -> list[int]:
    """Channels at size / 2, size / 4, ..., 4."""
    return [base << level for level in range(size.bit_length() - 3)]


class FromCodes(nn.Sequential):
    """Layers of maps, which take codes (N, latent) as maps of one pixel."""

    def forward(self, input):
        return super().forward(F.reshape(input, (*input.shape, 1, 1)))


def generator(size: int, channels: int, base: int, latent: int) -> FromCodes:
    """Codes (N, latent) -> images (N, channels, size, size) in -1 .. 1."""
    wide = widths(size, base)[::-1]
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, wide[0], 4, bias=False), nn.BatchNorm2d(wide[0]), nn.ReLU()]
    for width, narrower in zip(wide, wide[1:]):
        layers += [nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False), nn.BatchNorm2d(narrower), nn.ReLU()]
    return FromCodes(*layers, nn.ConvTranspose2d(wide[-1], channels, 4, 2, 1, bias=False), nn.Tanh())


def discriminator(size: int, channels: int, base: int, norm: bool = True, outputs: int = 1) -> nn.Sequential:
    """Images (N, channels, size, size) -> logits (N, outputs). norm=False: without batch norm, as a
    critic whose gradient is penalised image by image."""
    wide = widths(size, base)
    layers: list[nn.Module] = [nn.Conv2d(channels, wide[0], 4, 2, 1, bias=not norm), nn.LeakyReLU(0.2)]
    for width, wider in zip(wide, wide[1:]):
        layers += [nn.Conv2d(width, wider, 4, 2, 1, bias=not norm), *([nn.BatchNorm2d(wider)] if norm else []),
                   nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(wide[-1], outputs, 4, bias=not norm), nn.Flatten())


def initialise(module: nn.Module) -> None:
    """Section 4: a normal of deviation 0.02, around 0, of norms around 1."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


@network(image=(100,))
def dcgan_32(size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, loss: str = "gan") -> DCGAN:
    """32x32 images."""
    return DCGAN(size, channels, base, latent, loss=loss)


@network(image=(100,))
def dcgan_64(size: int = 64, channels: int = 3, base: int = 64, latent: int = 100, loss: str = "gan") -> DCGAN:
    """The paper's 64x64 images; base 128 has its figure's channels."""
    return DCGAN(size, channels, base, latent, loss=loss)


@network(image=(100,))
def dcgan_128(size: int = 128, channels: int = 3, base: int = 64, latent: int = 100, loss: str = "gan") -> DCGAN:
    """128x128 images."""
    return DCGAN(size, channels, base, latent, loss=loss)


@network(image=(110,))
def cdcgan_32(size: int = 32, channels: int = 3, base: int = 64, latent: int = 100, num_classes: int = 10,
              loss: str = "gan") -> DCGAN:
    """32x32 images of a class that is asked for."""
    return DCGAN(size, channels, base, latent, num_classes, loss)
