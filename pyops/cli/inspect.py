"""pyops inspect: pictures of what a checkpoint's network has learnt and of what it sees in an
image."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from . import UsageError
from .opened import Opened, chances, digit, likeliest, opened

MOST_MAPS, MOST_LAYERS = 64, 6


def add_arguments(parser):
    parser.add_argument("checkpoint", type=Path, help="of `pyops train lenet5`, of a Trainer with a network "
                        "of create_model, or models.weights.save's file of one")
    parser.add_argument("image", type=Path, help="what the network shall look at")
    parser.add_argument("-o", "--out", type=Path, default=Path("inspect"), metavar="DIR",
                        help="where the PNG sheets go (default: inspect)")
    parser.add_argument("--class", dest="target", type=int, metavar="N",
                        help="whose evidence to show (default: the likeliest)")
    parser.add_argument("--layer", metavar="NAME",
                        help="for filters and for Grad-CAM (default: the first and the last convolution)")
    parser.add_argument("--steps", type=int, default=100, metavar="N",
                        help="of activation maximisation (default: 100)")


def run(args) -> int:
    from .train import needs
    needs("PIL", "safetensors")
    model, image, classes = shown(args.checkpoint, args.image)
    try:
        for path in draw(model, image, args, classes):
            print(f"wrote {path}")
    except (ValueError, OSError) as why:
        raise UsageError(str(why)) from why
    return 0


def shown(checkpoint: Path, image: Path) -> Opened:
    """Of `pyops train lenet5` too, whose checkpoints predict knows."""
    from . import predict
    if not predict.is_own(predict.read(checkpoint)[1]):
        return opened(checkpoint, image)
    model, metadata = predict.load(checkpoint)
    return Opened(model, digit(image, int(metadata["box"])), None)


def draw(model, image: np.ndarray, args, classes):
    """Writes the sheets and prints the likeliest classes; yields the paths."""
    from .. import inspect
    scores, shares = chances(model, image)
    print("\n".join(likeliest(scores, shares, classes)))
    order = np.argsort(-scores, kind="stable")[:5]
    target = int(order[0]) if args.target is None else args.target
    if not 0 <= target < len(scores):
        raise UsageError(f"--class must be 0 .. {len(scores) - 1}, got {target}")
    kernels = inspect.filters(model, args.layer)
    yield sheet(args.out / "filters.png", [(k, str(i)) for i, k in enumerate(kernels[:MOST_MAPS])],
                f"filters of {args.layer or 'the first convolution'}")
    maps = inspect.feature_maps(model, image[None])
    names = [n for n, m in maps.items() if m.shape[2] > 1]
    for name in ([names[i] for i in np.unique(np.linspace(0, len(names) - 1, MOST_LAYERS).astype(int))]
                 if names else []):
        yield sheet(args.out / f"maps-{name}.png",
                    [(m, str(i)) for i, m in enumerate(maps[name][0][:MOST_MAPS])], f"maps of {name}")
    made = [(inspect.maximise(model, image.shape, int(c), steps=args.steps), f"class {c}") for c in order]
    yield sheet(args.out / "maximised.png", made, "what the likeliest classes answer most to")
    covered = inspect.occlusion(model, image, target, max(2, min(image.shape[1:]) // 6))
    cam = inspect.grad_cam(model, image, target, args.layer)
    yield sheet(args.out / "evidence.png", [(image, "image"), (inspect.overlay(image, covered), "occlusion"),
                                            (inspect.overlay(image, cam), "Grad-CAM")],
                f"evidence for class {target}", 3)


def sheet(path, tiles, title, columns=None):
    from ..inspect import sheet as write
    write(path, tiles, title, columns)
    return path
