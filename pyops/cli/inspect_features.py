"""pyops inspect --show features: images that units of a network answer most to."""
from __future__ import annotations

import numpy as np

from . import UsageError, known
from .opened import Opened

KINDS = ("channel", "neuron", "layer", "pair", "direction")
MOST, STEPS, BETWEEN = 9, 200, 5


def draw(found: Opened, args):
    from .. import inspect
    known(args.of, KINDS, "--of")
    kind = args.of if args.layer or args.of == "pair" else "class"
    if args.layer is None and args.of in ("neuron", "layer", "direction"):
        raise UsageError(f"--of {args.of} needs --layer")
    shape = found.form.shape if args.size is None else (found.form.shape[0], args.size, args.size)
    wanted = list(goals(found, args, kind))
    panels = []
    for objective, count in wanted:
        made = inspect.visualise(found.model, objective, shape, count=count, steps=args.steps or STEPS, seed=args.seed,
                                 diversity=args.diversity, variation=args.variation, mean=found.form.mean,
                                 std=found.form.std)
        panels += [inspect.Panel(image, text(objective, found.names, reached, count)) for image, reached in
                   zip(made.images, made.values[-1])]
        print(f"{objective.text}: from {made.values[0].mean():.3g} to {made.values[-1].mean():.3g}")
    place = args.layer or "the classifier"
    columns = args.count if args.count > 1 else None
    name = f"features-{args.layer or 'classes'}{'' if kind in ('channel', 'class') else '-' + kind}.png"
    yield inspect.figure(args.out / name, panels, f"what {'units' if kind != 'layer' else 'all units'} of {place} "
                         f"of {type(found.model).__name__} answer most to", columns)


def text(objective, names, reached: float, count: int) -> str:
    said = objective.text
    if names and objective.layers == (None,) and said.startswith("class "):
        said = names[int(said.split()[1])]
    return f"{said}: {reached:.3g}"


def goals(found: Opened, args, kind: str):
    """(objective, how many images) for each thing to show."""
    from ..inspect import objective as o
    from ..inspect.subject import subject
    looked, place = subject(found.model), args.layer
    zeros = np.zeros((1, *found.form.shape), np.float32)
    here = zeros if found.input is None else found.input[None]
    answer = looked.look(here, [place])[place]
    units = args.unit or list(range(min(MOST, answer.shape[1])))
    if kind == "layer":
        yield o.layer(place), args.count
    elif kind == "direction":
        if found.input is None:
            raise UsageError("--of direction needs an image, whose answer it is")
        yield o.direction(place, answer[0].reshape(answer.shape[1], -1).mean(1), 1.0), args.count
    elif kind == "pair":
        if len(units) != 2:
            raise UsageError(f"--of pair needs two units, --unit A,B, got {args.unit}")
        one, other = (o.score(u) if place is None else o.channel(place, u) for u in units)
        count = max(args.count, BETWEEN)
        yield o.pair(one, other, count), count
    else:
        make = {"channel": o.channel, "neuron": o.neuron}
        for unit in units:
            yield o.score(unit) if kind == "class" else make[kind](place, unit), args.count
