"""What every network that makes images has in common, and what a trainer asks of it.

A network has players: parts that are trained in turns, each by a loss of its own. An adversarial
pair has two, an autoencoder one.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import functional as F, nn
from ...core import random
from ...core.tensor import Tensor, no_grad
from ...nn.sizes import whole

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["Generative", "ImageTranslator", "Turn"]


@dataclass
class Turn:
    """One batch while it is trained on. inputs, targets: as the dataset gives them. players: who
    steps. made: what forward passes left for each other. losses: of each part, before the step;
    said: other numbers for the curve."""
    inputs: np.ndarray
    targets: np.ndarray
    players: tuple[str, ...]
    made: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    said: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """What the paper trains it with: an optimiser of pyops.optim and its settings."""
    optimizer: str = "Adam"
    lr: float = 2e-4
    settings: tuple[tuple[str, Any], ...] = (("betas", (0.5, 0.999)),)


class Generative(nn.Module):
    """A subclass defines forward(codes), which returns images (N, *pictures) in -1 .. 1; parts,
    begin and objective are for training.

    image: the shape of one code, what forward takes. pictures: (channels, height, width) of an
    image. classes: how many a code can ask for, 0 where there are none.
    """
    image: tuple[int, ...] = (100,)
    pictures: tuple[int, int, int] = (3, 64, 64)
    classes: int = 0
    players: tuple[str, ...] = ("discriminator", "generator")
    averaged: str = "generator"   # the player that makes images: its weights are worth averaging
    rule = Rule()
    recipe: Recipe | None = None

    def current_settings(self) -> dict:
        """What was changed since create_model made it: nothing can be."""
        return {}

    def codes(self, count: int, labels: Any = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """`count` codes (count, *image), float32, standard normal; of a network with classes the
        last `classes` numbers are the label as a one-hot vector (labels: (count,); default: in
        turn). rng: default pyops' own. ValueError for labels that are no classes."""
        whole(f"{type(self).__name__}.codes", count=count)
        rng = rng or random.default_generator()
        drawn = rng.standard_normal((count, self.image[0] - self.classes), np.float32)
        if not self.classes:
            if labels is not None:
                raise ValueError(f"{type(self).__name__}.codes: the network has no classes, got labels")
            return drawn
        asked = checked_labels(self, np.arange(count) % self.classes if labels is None else labels, count)
        return np.concatenate([drawn, one_hot(asked, self.classes)], 1)

    def paint(self, codes: Any, size: int = 64) -> np.ndarray:
        """Images (N, *pictures) of codes (N, *image), in evaluation mode, `size` at a time; modes
        are put back."""
        codes = self.checked(codes)
        with evaluating(self), no_grad():
            return np.concatenate([self(Tensor(codes[i:i + size])).data for i in range(0, len(codes), size)]
                                  or [np.zeros((0, *self.pictures), np.float32)])

    def checked(self, codes: Any) -> np.ndarray:
        """What forward takes, or ValueError."""
        found = np.asarray(codes, np.float32)
        if found.shape[1:] != tuple(self.image):
            raise ValueError(f"{type(self).__name__}.paint: codes must have shape (N, "
                             f"{', '.join(map(str, self.image))}), got {found.shape}")
        return found

    # ---- training

    def parts(self, player: str) -> Sequence[nn.Module]:
        """The modules that a player's steps change."""
        return [getattr(self, player)]

    def parameters_of(self, player: str) -> Iterator[nn.Parameter]:
        return (p for module in self.parts(player) for p in module.parameters())

    def plays(self, batch: int) -> tuple[str, ...]:
        """Who steps on batch number `batch`, in this order."""
        return self.players

    def begin(self, turn: Turn) -> None:
        """What all players of a turn need."""

    def objective(self, player: str, turn: Turn) -> dict[str, Tensor]:
        """The parts of this player's loss, scalars by name; their sum is the loss."""
        raise NotImplementedError(f"{type(self).__name__} defines no objective")

    def after(self, player: str) -> None:
        """What follows a step, such as clipping weights."""

    def examples(self, data: Any, rng: np.random.Generator) -> np.ndarray:
        """Codes of which a training draws images again and again, to show how they change. data: a
        dataset of images."""
        return self.codes(8 * self.classes or 64, rng=rng)

    def sheet(self, examples: np.ndarray) -> tuple[np.ndarray, int]:
        """(images, columns): what to draw of examples."""
        return self.paint(examples), self.classes or 8

    def remembered(self) -> dict[str, np.ndarray]:
        """What resuming a training needs beside the weights, by name."""
        return {}

    def remembering(self, arrays: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Checks what `remembered` gave; what takes it over. ValueError."""
        return lambda: None


class ImageTranslator(Generative):
    """A network that makes an image of an image: what it takes for codes are images (N, C, H, W), C
    that of `image`, of any size that it can work on."""

    def codes(self, count: int, labels: Any = None, rng: np.random.Generator | None = None) -> np.ndarray:
        raise ValueError(f"{type(self).__name__}: images are made of images, not of random codes")

    def checked(self, codes: Any) -> np.ndarray:
        found = np.asarray(codes, np.float32)
        if found.ndim != 4 or found.shape[1] != self.image[0]:
            raise ValueError(f"{type(self).__name__}.paint: images must be (N, {self.image[0]}, H, W), got "
                             f"{found.shape}")
        return found


class evaluating:
    """A context: a module in evaluation mode; each part's own mode is put back."""

    def __init__(self, module: nn.Module):
        self.module = module

    def __enter__(self) -> None:
        self.was = [(m, m.training) for m in self.module.modules()]
        self.module.eval()

    def __exit__(self, *_: Any) -> None:
        for module, mode in self.was:
            module.training = mode


def checked_labels(model: Generative, labels: Any, count: int) -> np.ndarray:
    """(count,) whole numbers below model.classes."""
    asked = np.asarray(labels)
    if asked.dtype.kind not in "iu" or asked.shape != (count,):
        raise ValueError(f"{type(model).__name__}.codes: labels must be {count} whole numbers, got {asked.dtype} "
                         f"{asked.shape}")
    if count and not 0 <= asked.min() <= asked.max() < model.classes:
        raise ValueError(f"{type(model).__name__}.codes: labels must be 0 .. {model.classes - 1}, got "
                         f"{asked.min()} .. {asked.max()}")
    return asked


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 (N, classes)."""
    return np.eye(classes, dtype=np.float32)[labels]


def with_maps(images: Any, labels: np.ndarray, classes: int) -> Any:
    """Images (N, C, H, W) with a map a class behind their channels: ones for their own class, zeros
    for the others."""
    maps = np.broadcast_to(one_hot(labels, classes)[:, :, None, None], (*labels.shape, classes, *images.shape[2:]))
    return F.cat([images, np.ascontiguousarray(maps, images.dtype)], 1)
