"""pyops draw: a network's graph as an SVG file, or its layers as a table."""
from __future__ import annotations

from pathlib import Path

from . import UsageError, known


def add_arguments(parser):
    parser.add_argument("name", help="a network of pyops.create_model")
    parser.add_argument("-o", "--output", metavar="FILE.svg", help="where to draw it (default: NAME.svg)")
    parser.add_argument("--depth", type=int, default=2, metavar="N",
                        help="how many names deep modules are opened (default: 2)")
    parser.add_argument("--size", metavar="HxW", help="of the image (default: as published)")
    parser.add_argument("--table", action="store_true",
                        help="print layers, shapes, parameters and MACs instead")


def run(args) -> int:
    from ..graph import describe, draw
    from ..models import create_model, list_models
    from ..models.registry import NETWORKS
    from ..nn import init
    known(args.name, list_models(), "model")
    if not NETWORKS[args.name].image:
        raise UsageError(f"{args.name} reads tokens; networks that are drawn read images")
    with init.skip_draws():
        model = create_model(args.name)
    shape = (model.image[0], *size_of(args.size)) if args.size else None
    output = Path(args.output or f"{args.name}.svg")
    try:
        if args.table:
            print(describe.summary(model, shape))
            return 0
        drawing = draw.svg(model, shape, args.depth)
        output.write_text(drawing)
    except (ValueError, OSError) as why:
        raise UsageError(str(why)) from why
    print(f"wrote {output}")
    return 0


def size_of(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) for p in parts):
        raise UsageError(f"--size takes a height and a width such as 224x224, got {text!r}")
    return int(parts[0]), int(parts[1])
