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
    from ..train.generative import draw_sheet
    if args.out is None:
        raise UsageError("-o must say where the images go: FILE.png for a sheet, or a folder")
    try:
        model, _ = train.load_model(args.checkpoint)
        labels = None if args.label is None else np.full(args.count, args.label)
        images = model.paint(model.codes(args.count, labels, np.random.default_rng(args.seed)))
        if args.out.suffix:
            draw_sheet(args.out, images)
        else:
            width = len(str(args.count - 1))
            for i, image in enumerate(images):
                draw_sheet(args.out / f"{i:0{width}d}.png", image[None], margin=0)
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
    print(f"{args.count} images; wrote {args.out}")
    return 0


def metadata_of(path: Path) -> dict[str, str]:
    """UsageError where there is no such file, or it is damaged."""
    from ..train import checkpoint
    try:
        return checkpoint.load(path)[1]
    except ImportError as error:
        raise UsageError("reading a checkpoint needs safetensors: pip install 'pyops-kernels[train]'") from error
    except (OSError, ValueError) as error:
        raise UsageError(error) from error
