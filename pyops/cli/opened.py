"""A checkpoint's network, and an image in the form in which it saw images in training."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import UsageError
from .images import open_grey, prepare


class Form(NamedTuple):
    """How images become inputs. shape: (C, H, W) of one. An input is (pixel - mean) / std by channel,
    pixels in 0 .. 1. read(path) -> an input."""
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    read: Callable[[Path], np.ndarray]


class Opened(NamedTuple):
    """model: in evaluation mode. input: (C, H, W), or None where no image was named. names: of the
    classes, or None."""
    model: Any
    input: np.ndarray | None
    names: list[str] | None
    form: Form


def opened(checkpoint: Path, image: Path | None, classifies: bool = True) -> Opened:
    """UsageError says what does not fit; that the network says no classes of images only with
    `classifies`."""
    from .. import train
    from ..train.description import told
    try:
        model, metadata = train.load_model(checkpoint)
        if classifies and (fault := no_classifier(model)):
            raise ValueError(f"{checkpoint}: {fault}")
        names = told(metadata, "class_names")
        if "digits" in metadata:
            form = of_digits(told(metadata, "digits"))
        else:
            shape = told(metadata, "image", list(getattr(model, "image", ())))
            if len(shape) != 3:
                raise ValueError(f"{checkpoint}: holds the network {type(model).__name__}, which takes no images")
            channels, *size = shape
            resize, normalize = told(metadata, "resize", size), told(metadata, "normalize")
            form = of_pixels(channels, tuple(size), tuple(resize), normalize)
    except (OSError, ValueError) as why:
        raise UsageError(why) from why
    if "prepare" in metadata:
        print(f"note: in training images went through {metadata['prepare']}, which the checkpoint does not "
              "hold; here pixels are 0 .. 1")
    return Opened(model, None if image is None else form.read(image), names, form)


def no_classifier(model) -> str:
    """Why `model` gives no scores of classes; "" if it does."""
    from ..models.classification.classifier import Classifier
    if not isinstance(model, Classifier):
        return f"holds the network {type(model).__name__}, which does not say what an image as a whole shows"
    return "" if model.top or model.own_head else "holds a trunk without a classifier, which has no classes to show"


def of_digits(box: int) -> Form:
    from ..train.data import INK, PAPER, SIDE
    span = INK - PAPER
    return Form((1, SIDE, SIDE), (-PAPER / span,), (1 / span,), lambda path: digit(path, box))


def of_pixels(channels: int, size: tuple[int, int], resize: tuple[int, int], normalize) -> Form:
    mean, std = normalize or ([0.0] * channels, [1.0] * channels)
    return Form((channels, *size), tuple(mean), tuple(std),
                lambda path: pixels(path, channels, size, resize, normalize))


def digit(path: Path, box: int) -> np.ndarray:
    """The image (1, 32, 32) as Digits are."""
    from ..train.data import to_input
    return to_input(prepare(open_grey(path), box)[None])[0]


def pixels(path: Path, channels: int, size: tuple[int, int], resize: tuple[int, int],
           normalize) -> np.ndarray:
    """The image (C, H, W) in 0 .. 1, or by [mean, std] of `normalize`, scaled to cover `resize` and
    cut to `size` from its middle."""
    from ..train import Normalize, to_unit
    from ..train.folder import load_image
    try:
        array = load_image(path, size, resize, channels)[None]
    except FileNotFoundError as why:
        raise UsageError(f"{path}: no such file") from why
    except Exception as why:   # decoders raise of many kinds
        raise UsageError(f"{path}: cannot be read as an image: {why}") from why
    return (Normalize(*normalize) if normalize else to_unit)(array)[0]


def chances(model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and probabilities, each (classes,)."""
    from .. import functional as F, no_grad
    from ..core.tensor import Tensor
    from ..train.metrics import scores_of
    with no_grad():
        scores = scores_of(model, model(Tensor(image[None]))).data
        shares = scores if getattr(model, "activation", None) else np.asarray(F.softmax(scores, 1))
    return scores[0], shares[0]


def likeliest(scores: np.ndarray, shares: np.ndarray, names, most: int = 5) -> list[str]:
    """A line a class, the likeliest first."""
    return [f"class {c}{f' ({names[c]})' if names else ''}: score {scores[c]:.3f}, {100 * shares[c]:.1f} %"
            for c in np.argsort(-scores, kind="stable")[:most]]
