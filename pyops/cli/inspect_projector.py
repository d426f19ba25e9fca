"""pyops inspect --show projector: images by what the network makes of them, and wrong predictions
among their neighbours."""
from __future__ import annotations

import numpy as np

from . import UsageError
from .inspect_evidence import shown
from .inspect_images import images_of
from .opened import Opened

MOST = 600


def draw(found: Opened, args):
    from ..inspect import pictures, projector
    images = images_of(found, args.image, args.most or MOST, args.seed)
    if images.labels is None:
        raise UsageError(f"{args.image}: the projector needs a folder a class")
    made = projector.embed(found.model, images.inputs, images.labels, args.layer, method=args.layout, seed=args.seed)
    names = images.names
    print(f"{len(made.labels)} images, {len(made.wrong)} taken for another class; {100 * projector.purity(made):.1f} % "
          f"of the nearest {made.neighbours.shape[1]} by features are of an image's own class")
    kind, pixels = type(found.model).__name__, np.stack([shown(found, one) for one in images.inputs])
    where = args.layer or "the last layer's input"
    yield pictures.draw_projection(args.out / "projector.png", made, names, f"{where} of {kind}")
    yield pictures.projection_page(args.out / "projector.html", made, pixels, names, f"{where} of {kind}")
    wrong = pictures.draw_neighbours(args.out / "wrong.png", made, pixels, names, f"wrong predictions of {kind}, and "
                                     "what they are like")
    if wrong is not None:
        yield wrong
