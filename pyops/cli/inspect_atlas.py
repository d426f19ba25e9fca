"""pyops inspect --show atlas: answers of a layer to many images, laid out and made visible."""
from __future__ import annotations

from . import UsageError
from .inspect_images import images_of
from .opened import Opened

MOST, STEPS, SIDE = 400, 60, 48


def draw(found: Opened, args):
    from .. import inspect
    if args.layer is None:
        raise UsageError("--show atlas needs --layer, one with maps")
    images = images_of(found, args.image, args.most or MOST, args.seed)
    print(f"{len(images.inputs)} images; layout by {args.layout or 'UMAP where installed, else t-SNE'}")
    made = inspect.atlas(found.model, images.inputs, args.layer, sides=(max(2, args.cells // 2), args.cells),
                         names=found.names or images.names, size=args.size or min(SIDE, found.form.shape[1]),
                         steps=args.steps or STEPS, method=args.layout, seed=args.seed, mean=found.form.mean,
                         std=found.form.std)
    title = f"activation atlas of {args.layer} of {type(found.model).__name__}"
    yield inspect.pictures.draw_atlas(args.out / f"atlas-{args.layer}.png", made, title)
    yield inspect.pictures.atlas_page(args.out / f"atlas-{args.layer}.html", made, title)
