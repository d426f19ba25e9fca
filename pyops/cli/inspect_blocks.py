"""pyops inspect --show blocks: what each position of a layer sees in an image, and for which of two
classes it speaks."""
from __future__ import annotations

import numpy as np

from . import UsageError
from .inspect_evidence import called, chosen, shown
from .opened import Opened, chances

STEPS = 100


def draw(found: Opened, args):
    from .. import inspect
    from ..inspect import grid, objective, pictures
    from ..inspect.evidence import last_maps
    from ..inspect.subject import subject
    target, said = chosen(found, args)
    scores, _ = chances(found.model, found.input)
    if len(scores) < 2:
        raise UsageError("--show blocks compares two classes, and the network has one")
    against = int(np.argsort(-scores, kind="stable")[1 if target == int(np.argmax(scores)) else 0])
    against = against if args.against is None else args.against
    if not 0 <= against < len(scores) or against == target:
        raise UsageError(f"--against must be a class 0 .. {len(scores) - 1} other than {target}, got {against}")
    layer = args.layer or last_maps("blocks", subject(found.model), found.input)
    seen = grid.activation_grid(found.model, found.input, layer, cells=args.cells, size=args.size,
                                steps=args.steps or STEPS, seed=args.seed, mean=found.form.mean, std=found.form.std)
    one, other = (objective.score(c) for c in (target, against))
    evidence = [(text, inspect.attribution_grid(found.model, found.input, goal, layer)) for text, goal in (
        (f"for {called(found, target)}", one), (f"for {called(found, against)}", other),
        (f"{called(found, target)} (red) or {called(found, against)} (blue)", one - other))]
    yield pictures.draw_blocks(args.out / f"blocks-{layer}.png", shown(found), seen, evidence,
                               f"what {layer} sees, and why {type(found.model).__name__} says {said}")
