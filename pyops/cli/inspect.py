"""pyops inspect: pictures of what a checkpoint's network has learnt and of what it sees in an image."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from . import UsageError

MOST_MAPS, MOST_LAYERS = 64, 6


def add_arguments(parser):
    parser.add_argument("checkpoint", type=Path, help="of `pyops train lenet5`, or of a Trainer with a network of create_model")
    parser.add_argument("image", type=Path, help="what the network shall look at")
    parser.add_argument("-o", "--out", type=Path, default=Path("inspect"), metavar="DIR", help="where the PNG sheets go (default: inspect)")
    parser.add_argument("--class", dest="target", type=int, metavar="N", help="whose evidence to show (default: the likeliest)")
    parser.add_argument("--layer", metavar="NAME", help="for filters and for Grad-CAM (default: the first and the last convolution)")
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="of activation maximisation (default: 100)")


def run(args) -> int:
    from .train import needs
    needs("PIL", "safetensors")
    model, image, names = opened(args.checkpoint, args.image)
    try:
        for path in draw(model, image, args, names):
            print(f"wrote {path}")
    except (ValueError, OSError) as why:
        raise UsageError(str(why)) from why
    return 0


def opened(checkpoint: Path, image: Path):
    """The model, the image as its input (C, H, W), and its classes' names or None. UsageError says what does not fit."""
    from .. import train
    from ..train.description import told
    from . import predict
    try:
        metadata = train.checkpoint.load(checkpoint)[1]
        if metadata.get("model") == "lenet5" and "form" in metadata:   # of `pyops train lenet5`
            model, metadata = predict.load(checkpoint)
            return model, digit(image, int(metadata["box"])), None
        model, metadata = train.load_model(checkpoint)
        if not model.top and not model.own_head:
            raise ValueError(f"{checkpoint}: holds a trunk without a classifier, which has no classes to show")
        shape = told(metadata, "image", list(model.image))
        size = tuple(shape[1:])
        if "prepare" in metadata:
            print(f"note: in training images went through {metadata['prepare']}, which the checkpoint does not hold; here pixels are 0 .. 1")
        if "digits" in metadata:
            return model, digit(image, told(metadata, "digits")), told(metadata, "class_names")
        array = pixels(image, shape[0], size, tuple(told(metadata, "resize", size)), told(metadata, "normalize"))
        return model, array, told(metadata, "class_names")
    except (OSError, ValueError) as why:
        raise UsageError(why) from why


def digit(path: Path, box: int) -> np.ndarray:
    from ..train.data import to_input
    from . import predict
    return to_input(predict.prepare(predict.open_grey(path), box)[None])[0]


def pixels(path: Path, channels: int, size: tuple[int, int], resize: tuple[int, int], normalize):
    """The image (C, H, W) in 0 .. 1, or by [mean, std] of `normalize`, scaled to cover `resize` and cut to `size` from its middle."""
    from ..train import Normalize, to_unit
    from ..train.folder import load_image
    try:
        array = load_image(path, size, resize, channels)[None]
    except FileNotFoundError as why:
        raise UsageError(f"{path}: no such file") from why
    except Exception as why:   # decoders raise of many kinds
        raise UsageError(f"{path}: cannot be read as an image: {why}") from why
    return (Normalize(*normalize) if normalize else to_unit)(array)[0]


def draw(model, image: np.ndarray, args, names=None):
    """Writes the sheets and prints the likeliest classes; yields the paths."""
    from .. import functional as F
    from .. import inspect, no_grad
    from ..tensor import Tensor
    from ..train.metrics import scores_of
    with no_grad():
        scores = scores_of(model, model(Tensor(image[None]))).data
    chances = np.asarray(scores if getattr(model, "activation", None) else F.softmax(scores, 1))[0]
    order = np.argsort(-scores[0], kind="stable")[:5]
    print("\n".join(f"class {c}{f' ({names[c]})' if names else ''}: score {scores[0, c]:.3f}, {100 * chances[c]:.1f} %" for c in order))
    target = int(order[0]) if args.target is None else args.target
    if not 0 <= target < scores.shape[1]:
        raise UsageError(f"--class must be 0 .. {scores.shape[1] - 1}, got {target}")
    kernels = inspect.filters(model, args.layer)
    yield sheet(args.out / "filters.png", [(k, str(i)) for i, k in enumerate(kernels[:MOST_MAPS])], f"filters of {args.layer or 'the first convolution'}")
    maps = inspect.feature_maps(model, image[None])
    names = [n for n, m in maps.items() if m.shape[2] > 1]
    for name in [names[i] for i in np.unique(np.linspace(0, len(names) - 1, MOST_LAYERS).astype(int))] if names else []:
        yield sheet(args.out / f"maps-{name}.png", [(m, str(i)) for i, m in enumerate(maps[name][0][:MOST_MAPS])], f"maps of {name}")
    made = [(inspect.maximise(model, image.shape, int(c), steps=args.steps), f"class {c}") for c in order]
    yield sheet(args.out / "maximised.png", made, "what the likeliest classes answer most to")
    covered = inspect.occlusion(model, image, target, max(2, min(image.shape[1:]) // 6))
    cam = inspect.grad_cam(model, image, target, args.layer)
    yield sheet(args.out / "evidence.png", [(image, "image"), (inspect.overlay(image, covered), "occlusion"), (inspect.overlay(image, cam), "Grad-CAM")],
                f"evidence for class {target}", 3)


def sheet(path, tiles, title, columns=None):
    from ..inspect import sheet as write
    write(path, tiles, title, columns)
    return path
