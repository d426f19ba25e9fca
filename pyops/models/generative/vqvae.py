"""VQ-VAE. van den Oord, Vinyals & Kavukcuoglu, "Neural Discrete Representation Learning" (2017): each
place of the encoder's map is replaced by the nearest of a book of vectors.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import functional as F, nn
from ...core import random
from ...core.tensor import Tensor, no_grad
from ...nn.sizes import positive, whole
from ..registry import network
from .base import Generative, Rule, Turn, evaluating

__all__ = ["VQVAE", "vqvae_32"]


class Block(nn.Module):
    """ReLU, 3x3, ReLU, 1x1, added to what came in."""

    def __init__(self, channels: int, hidden: int):
        self.layers = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(),
                                    nn.Conv2d(hidden, channels, 1))

    def forward(self, input):
        return F.add(input, self.layers(input))


class VQVAE(Generative):
    """Section 4.1: two strided convolutions of `hidden` channels and two residual blocks in, the same
    out. entries: vectors in the book, of `depth` numbers. commitment: beta of equation 3.

    A code is (size / 4, size / 4) whole numbers below `entries`. codes() draws each place's by how
    often it was seen there in training; the paper's prior is a network of its own.
    """
    players = ("autoencoder",)
    averaged = "autoencoder"
    rule = Rule("Adam", 2e-4, ())
    takes = np.int64

    def __init__(self, size: int = 32, channels: int = 3, hidden: int = 256, entries: int = 512, depth: int = 64,
                 commitment: float = 0.25):
        positive("VQVAE", size=size, channels=channels, hidden=hidden, entries=entries, depth=depth)
        if size % 4:
            raise ValueError(f"VQVAE: size must be a multiple of 4, got {size}")
        self.image, self.pictures, self.commitment = (size // 4, size // 4), (channels, size, size), commitment
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, 4, 2, 1), nn.ReLU(), nn.Conv2d(hidden, hidden, 4, 2, 1), Block(hidden, hidden),
            Block(hidden, hidden), nn.ReLU(), nn.Conv2d(hidden, depth, 1))
        self.book = nn.Embedding(entries, depth)
        nn.init.uniform_(self.book.weight, -1 / entries, 1 / entries)
        self.decoder = nn.Sequential(
            nn.Conv2d(depth, hidden, 3, padding=1), Block(hidden, hidden), Block(hidden, hidden), nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(hidden, channels, 4, 2, 1))
        self.register_buffer("seen", np.zeros((*self.image, entries), np.float32))

    def forward(self, codes):
        """Images (N, channels, size, size) of numbers (N, size / 4, size / 4)."""
        return self.decoder(F.permute(self.book(codes), (0, 3, 1, 2)))

    def encode(self, images):
        """The encoder's map (N, depth, h, w), and the nearest entries' numbers, int64 (N, h, w)."""
        found = self.encoder(images)
        vectors = np.moveaxis(found.data if isinstance(found, Tensor) else found, 1, -1)
        book = self.book.weight.data
        away = (book ** 2).sum(1) - 2 * vectors @ book.T   # and the vector's own square, which is the same for all
        return found, away.argmin(-1).astype(np.int64)

    def parts(self, player: str) -> Sequence[nn.Module]:
        return [self.encoder, self.book, self.decoder]

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        found, numbers = self.encode(Tensor(turn.inputs))
        nearest = F.permute(self.book(numbers), (0, 3, 1, 2))
        # the decoder's gradient goes past the book to the encoder
        through = F.add(found, nearest.detach() - found.detach())
        rows, columns = np.indices(self.image)
        np.add.at(self.seen, (rows[None], columns[None], numbers), 1)
        turn.said["entries used"] = len(np.unique(numbers)) / len(self.book.weight.data)
        return {"reconstruction": F.mse_loss(self.decoder(through), turn.inputs),
                "book": F.mse_loss(nearest, found.detach()),
                "commitment": F.mul(F.mse_loss(found, nearest.detach()), self.commitment)}

    def codes(self, count: int, labels: Any = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """int64 (count, size / 4, size / 4). ValueError for labels, which the network does not know."""
        if labels is not None:
            raise ValueError("VQVAE.codes: the network has no classes, got labels")
        whole("VQVAE.codes", count=count)
        rng = rng or random.default_generator()
        share = np.cumsum(self.seen + 1e-6, -1, dtype=np.float64)
        drawn = rng.random((count, *self.image, 1)) * share[..., -1:]
        return (drawn > share).sum(-1)

    def checked(self, codes: Any) -> np.ndarray:
        found = np.asarray(codes)
        if found.dtype.kind not in "iu" or found.shape[1:] != self.image:
            raise ValueError(f"VQVAE.paint: codes must be whole numbers (N, {', '.join(map(str, self.image))}), got "
                             f"{found.dtype} {found.shape}")
        if found.size and not 0 <= found.min() <= found.max() < len(self.book.weight.data):
            raise ValueError(f"VQVAE.paint: codes must be 0 .. {len(self.book.weight.data) - 1}, got {found.min()} .. "
                             f"{found.max()}")
        return found

    def reconstruct(self, images: np.ndarray) -> np.ndarray:
        """What images' codes give, in evaluation mode."""
        with evaluating(self), no_grad():
            return self.paint(self.encode(Tensor(images))[1])

    def examples(self, data, rng) -> np.ndarray:
        return data.take(np.arange(min(32, len(data))))[0]

    def sheet(self, examples: np.ndarray) -> tuple[np.ndarray, int]:
        """Images beside what their codes give."""
        return np.stack([examples, self.reconstruct(examples)], 1).reshape(-1, *self.pictures), 8


@network(image=(8, 8))
def vqvae_32(size: int = 32, channels: int = 3, hidden: int = 256, entries: int = 512, depth: int = 64,
             commitment: float = 0.25) -> VQVAE:
    """The paper's network for CIFAR-10."""
    return VQVAE(size, channels, hidden, entries, depth, commitment)
