"""pyops segment: what each pixel of images shows, by a checkpoint of `pyops train segment`; drawn over
the image, and as a mask."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from . import UsageError
from .detect import drawn_places, listed
from .train import needs, positive


def add_arguments(parser):
    parser.add_argument("checkpoint", type=Path, help="a .safetensors of a segmentation network")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of images")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR",
                        help="write NAME.png, the image under its labels' colours, and NAME_mask.png, the labels")
    parser.add_argument("--tile", type=positive(int), metavar="PIXELS",
                        help="work on pieces of this side (default: by the image's size)")
    parser.add_argument("--margin", type=int, default=64, metavar="PIXELS",
                        help="what a piece sees around itself (default: 64)")


def run(args) -> int:
    """1 where an image could not be read."""
    needs("PIL")
    if args.margin < 0:
        raise UsageError(f"--margin must not be negative, got {args.margin}")
    model, names = opened(args.checkpoint)
    paths, wrong = listed(args.images), []
    places = drawn_places(args.out, paths)
    args.out.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            print(f"{path.name}: {written(model, path, places[path], names, args)}")
        except (OSError, ValueError) as why:
            wrong.append(f"{path}: {why}" if str(path) not in str(why) else str(why))
    for line in wrong:
        print(f"left out: {line}")
    print(f"{len(paths) - len(wrong)} images; wrote {args.out}")
    return int(bool(wrong))


def opened(checkpoint: Path):
    """The network in evaluation mode, and its classes' names or None. UsageError where there is
    none."""
    from ..models.segmentation.segmenter import Segmenter
    from ..train import load_model
    try:
        found, metadata = load_model(checkpoint)
    except ImportError as why:
        raise UsageError("reading a checkpoint needs safetensors: pip install 'pyops-kernels[train]'") from why
    except (OSError, ValueError) as why:
        raise UsageError(why) from why
    if not isinstance(found, Segmenter):
        raise UsageError(f"{checkpoint}: holds a {type(found).__name__}, which labels no pixels")
    try:
        names = json.loads(metadata.get("classes", "null"))
    except ValueError:
        names = None
    return found.eval(), names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


def written(model, path: Path, place: Path, names, args) -> str:
    """Writes the two pictures. What the labels' shares are."""
    from PIL import Image

    from ..core.memory import empty_cache
    from ..segmentation import overlay, segment
    from ..train.segmentation import read_image
    image = read_image(path)
    labels = segment(model, image.transpose(2, 0, 1), args.tile, args.margin, scale=1 / 255)
    empty_cache()   # what the pieces took is now the pictures'
    Image.fromarray(overlay(image, labels)).save(place)
    Image.fromarray(labels.astype(np.uint8, copy=False)).save(place.with_name(place.stem + "_mask.png"))
    found = int(labels.max()) + 1
    counts = sum(np.bincount(row, minlength=found) for row in labels)   # by rows: it makes int64 of what it counts
    shares = [(int(c), counts[c] / labels.size) for c in np.argsort(-counts) if counts[c]]
    return ", ".join(f"{names[c] if names and c < len(names) else c} {100 * share:.1f} %" for c, share in shares)
