"""The part of pyops generate that writes images, by a checkpoint of `pyops train gan`."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from . import UsageError


def is_generative(metadata: dict[str, str]) -> bool:
    """Whether a checkpoint's network makes images."""
    from ..models.registry import NETWORKS
    name = metadata.get("model")
    return name in NETWORKS and NETWORKS[name].task == "generative"


def run(args) -> int:
    """Writes one sheet (a name with an ending), or a folder of images."""
    from .. import train
    from ..models.generative.base import ImageTranslator
    if args.out is None:
        raise UsageError("-o must say where the images go: FILE.png for a sheet, or a folder")
    try:
        model, _ = train.load_model(args.checkpoint)
        if isinstance(model, ImageTranslator) != bool(args.image):
            raise UsageError(f"{args.checkpoint}: {type(model).__name__} makes images of "
                             + ("codes, not of --image" if args.image else "images: give them by --image"))
        images = translated(model, args.image) if args.image else drawn(model, args)
        written(images, args.out)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    print(f"{len(images)} images; wrote {args.out}")
    return 0


def drawn(model, args) -> np.ndarray:
    labels = None if args.label is None else np.full(args.count, args.label)
    return model.paint(model.codes(args.count, labels, np.random.default_rng(args.seed)))


def translated(model, paths: list[Path]) -> list[np.ndarray]:
    """What the network makes of each image, which keep their sizes."""
    from ..train.folder import load_image
    from ..train.segmentation import read_image
    channels, found = model.image[0], []
    for path in paths:
        size = read_image(path).shape[:2]
        image = load_image(path, size, size, channels)
        planes = image.transpose(2, 0, 1) if channels == 3 else image[None]
        found.append(model.paint(planes[None] * np.float32(2 / 255) - np.float32(1))[0])
    return found


def written(images, out: Path) -> None:
    """One image, or several of one size on a sheet, as a file; in a folder a file each."""
    from ..train.generative import draw_sheet
    if out.suffix:
        if len({image.shape for image in images}) > 1:
            raise ValueError("images of different sizes make no sheet: -o must be a folder")
        draw_sheet(out, np.stack(images), margin=0 if len(images) == 1 else 2)
        return
    width = len(str(len(images) - 1))
    for i, image in enumerate(images):
        draw_sheet(out / f"{i:0{width}d}.png", image[None], margin=0)


def metadata_of(path: Path) -> dict[str, str]:
    """UsageError where there is no such file, or it is damaged."""
    from ..train import checkpoint
    try:
        return checkpoint.load(path)[1]
    except ImportError as error:
        raise UsageError("reading a checkpoint needs safetensors: pip install 'pyops-kernels[train]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
