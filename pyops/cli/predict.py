"""pyops predict: the digit in an image, with a checkpoint that `pyops train` wrote, or its
likeliest classes, with one of a Trainer."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from . import UsageError
from .images import open_grey, prepare


def add_arguments(parser):
    parser.add_argument(
        "checkpoint", type=Path,
        help="checkpoint.safetensors of `pyops train lenet5`, or of a Trainer with a network of create_model")
    parser.add_argument("image", type=Path,
                        help="an image; for LeNet-5 of one digit, dark on light or light on dark")


def run(args) -> int:
    metadata = read(args.checkpoint)[1]
    if "model" not in metadata:
        raise UsageError(f"{args.checkpoint}: not a checkpoint of `pyops train lenet5`, nor of a network of "
                         f"create_model: its metadata has {', '.join(metadata) or 'nothing'}")
    if not is_own(metadata):
        return of_classes(args)
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


def of_classes(args) -> int:
    from .opened import chances, likeliest, opened
    found = opened(args.checkpoint, args.image)
    print("\n".join(likeliest(*chances(found.model, found.input), found.names)))
    return 0


def is_own(metadata) -> bool:
    """Whether `pyops train lenet5` wrote it."""
    return metadata.get("model") == "lenet5" and "form" in metadata


def read(path: Path):
    """The checkpoint's arrays and metadata. UsageError where it cannot be read."""
    from ..train import checkpoint
    try:
        return checkpoint.load(path)
    except ImportError as error:
        raise UsageError(
            "reading a checkpoint needs safetensors: pip install 'pyops-kernels[train]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(error) from error


def load(path: Path):
    """The model of a checkpoint of `pyops train lenet5` and the checkpoint's metadata. UsageError
    says what does not fit."""
    from .. import models, nn
    state, metadata = read(path)
    forms = {"1998": models.lenet5, "modern": models.lenet5_modern}
    if not is_own(metadata) or metadata["form"] not in forms or not metadata.get("box", "").isdigit():
        told = {key: metadata.get(key) for key in ("model", "form", "box")}
        raise UsageError(f"{path}: not a checkpoint of `pyops train lenet5`: its metadata has {told}")
    with nn.init.skip_draws():
        model = forms[metadata["form"]]().eval()
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error
    return model, metadata


def predict(model, image: np.ndarray) -> np.ndarray:
    """The probabilities of the ten digits."""
    from .. import no_grad
    from ..core.tensor import Tensor
    from ..train.data import to_input
    with no_grad():
        return model.probabilities(model(Tensor(to_input(image[None])))).data[0]
