"""Super-resolution. Dong, Loy, He & Tang, "Image Super-Resolution Using Deep Convolutional Networks"
(2016): SRCNN sharpens an image that was enlarged bicubically. Shi et al., "Real-Time Single Image and
Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network" (2016): ESPCN works
at the small size, and its last layer's channels become pixels.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import functional as F, nn
from ...core.tensor import Tensor
from ...nn.sizes import positive
from ..registry import network
from .base import ImageTranslator, Rule, Turn
from .pix2pix import side_by_side

__all__ = ["ESPCN", "SRCNN", "espcn", "srcnn"]


class Enlarger(ImageTranslator):
    """A dataset's inputs are small images, (N, channels, H, W), its targets large ones, `factor` times
    as high and wide. enlarged(images) is bicubic."""
    players = ("network",)
    averaged = "network"
    rule = Rule("Adam", 1e-3, ())

    def __init__(self, factor: int, channels: int):
        positive(type(self).__name__, factor=factor, channels=channels)
        self.factor, self.image, self.pictures = factor, (channels, 64, 64), (channels, 64 * factor, 64 * factor)

    def enlarged(self, images):
        return F.interpolate(images, scale_factor=float(self.factor), mode="bicubic")

    def parts(self, player: str) -> Sequence[nn.Module]:
        return [self.layers]

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        return {"squared error": F.mse_loss(self(Tensor(turn.inputs)), turn.targets)}

    def examples(self, data, rng) -> np.ndarray:
        inputs, self.wanted = data.take(np.arange(min(12, len(data))))
        return inputs

    def sheet(self, examples: np.ndarray) -> tuple[np.ndarray, int]:
        """Three columns: bicubic, the network's, the large image."""
        return side_by_side(np.clip(np.asarray(self.enlarged(examples)), -1, 1), self.paint(examples), self.wanted), 3


class SRCNN(Enlarger):
    """9-1-5 layers of 64 and 32 channels, after bicubic enlargement; 8,032 weights and 97 biases for one
    channel."""

    def __init__(self, factor: int = 3, channels: int = 1, widths: tuple[int, int] = (64, 32)):
        super().__init__(factor, channels)
        first, second = widths
        self.layers = nn.Sequential(nn.Conv2d(channels, first, 9, padding=4), nn.ReLU(), nn.Conv2d(first, second, 1),
                                    nn.ReLU(), nn.Conv2d(second, channels, 5, padding=2))

    def forward(self, input):
        return self.layers(self.enlarged(input))


class ESPCN(Enlarger):
    """5-3-3 layers of 64 and 32 channels with tanh, then pixel_shuffle."""

    def __init__(self, factor: int = 3, channels: int = 1, widths: tuple[int, int] = (64, 32)):
        super().__init__(factor, channels)
        first, second = widths
        self.layers = nn.Sequential(
            nn.Conv2d(channels, first, 5, padding=2), nn.Tanh(), nn.Conv2d(first, second, 3, padding=1), nn.Tanh(),
            nn.Conv2d(second, channels * factor ** 2, 3, padding=1))

    def forward(self, input):
        return F.pixel_shuffle(self.layers(input), self.factor)


@network(image=(1, 64, 64), published=8_032 + 97, source="section 4.1: 8,032 weights")
def srcnn(factor: int = 3, channels: int = 1) -> SRCNN:
    """The paper's 9-1-5."""
    return SRCNN(factor, channels)


@network(image=(1, 64, 64))
def espcn(factor: int = 3, channels: int = 1) -> ESPCN:
    """The paper's 5-3-3."""
    return ESPCN(factor, channels)
