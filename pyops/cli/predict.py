"""pyops predict: the digit in an image, with a checkpoint that `pyops train` wrote."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from . import UsageError


def add_arguments(parser):
    parser.add_argument("checkpoint", type=Path, help="checkpoint.safetensors of `pyops train`")
    parser.add_argument("image", type=Path, help="an image of one digit, dark on light or light on dark")


def run(args) -> int:
    model, metadata = load(args.checkpoint)
    image = prepare(open_grey(args.image), int(metadata["box"]))
    probabilities = predict(model, image)
    best = int(np.argmax(probabilities))
    for digit, p in enumerate(probabilities):
        print(f"{digit}  {100 * p:6.2f} %  {'#' * round(40 * p)}{'  <-' if digit == best else ''}")
    rest = 1 - probabilities.sum()
    if rest > 5e-5:
        print(f"no digit  {100 * rest:.2f} %")
    return 0


def load(path: Path):
    """The model of a checkpoint and the checkpoint's metadata. UsageError says what does not fit."""
    from .. import models, nn, train
    try:
        state, metadata = train.checkpoint.load(path)
    except ImportError as error:
        raise UsageError("reading a checkpoint needs safetensors: pip install 'pyops[train]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    forms = {"1998": models.lenet5, "modern": models.lenet5_modern}
    if metadata.get("model") != "lenet5" or metadata.get("form") not in forms or not metadata.get("box", "").isdigit():
        raise UsageError(f"{path}: not a checkpoint of `pyops train lenet5`: its metadata is {metadata or 'empty'}")
    with nn.init.skip_draws():
        model = forms[metadata["form"]]().eval()
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    return model, metadata


def open_grey(path: Path) -> np.ndarray:
    """The image's grey levels (h, w), 0 .. 255, transparency on white."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise UsageError("reading an image needs Pillow: pip install 'pyops[train]'") from error
    try:
        with Image.open(path) as image:
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return np.asarray(image.convert("L"), np.float32)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: cannot be read as an image: {error}") from error


def prepare(grey: np.ndarray, box: int) -> np.ndarray:
    """uint8 (32, 32) as the training images are: light ink on black, the digit scaled to fill a box of `box` pixels in the middle."""
    from PIL import Image
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > 127:   # paper is what the border shows most of
        grey = 255 - grey
    grey = grey - grey.min()
    if not grey.any():
        raise UsageError("the image has one grey level only: nothing is drawn on it")
    grey *= 255 / grey.max()
    rows, columns = (np.flatnonzero((grey > 64).any(axis)) for axis in (1, 0))
    ink = grey[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    height, width = (max(1, round(n * box / max(ink.shape))) for n in ink.shape)
    ink = np.asarray(Image.fromarray(ink.astype(np.uint8)).resize((width, height), Image.Resampling.BOX if max(ink.shape) >= box
                                                                  else Image.Resampling.NEAREST))
    canvas = np.zeros((32, 32), np.uint8)
    top, left = (32 - height) // 2, (32 - width) // 2
    canvas[top:top + height, left:left + width] = ink
    return canvas


def predict(model, image: np.ndarray) -> np.ndarray:
    """The probabilities of the ten digits."""
    from .. import no_grad
    from ..tensor import Tensor
    from ..train.data import to_input
    with no_grad():
        return model.probabilities(model(Tensor(to_input(image[None])))).data[0]
