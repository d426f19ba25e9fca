"""pyops inspect CHECKPOINT IMAGE: an overview of what a network has learnt and of what it sees in an
image."""
from __future__ import annotations

import numpy as np

from . import UsageError
from .opened import Opened, chances, likeliest

MOST_MAPS, MOST_LAYERS, STEPS = 64, 6, 100


def draw(found: Opened, args):
    """Writes the sheets and prints the likeliest classes; yields the paths."""
    from .. import inspect
    model, image, classes = found.model, found.input, found.names
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
    made = [(inspect.maximise(model, image.shape, int(c), steps=args.steps or STEPS), f"class {c}") for c in order]
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
