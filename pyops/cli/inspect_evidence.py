"""pyops inspect --show evidence: where in an image the score of a class comes from, asked in ten ways."""
from __future__ import annotations

import numpy as np

from . import UsageError
from .opened import Opened, chances, likeliest


def draw(found: Opened, args):
    from .. import inspect
    target, said = chosen(found, args)
    panels = inspect.explanations(found.model, found.input, target, args.layer, args.methods, shown(found))
    yield inspect.figure(args.out / "evidence.png", panels, f"where {type(found.model).__name__} sees {said}",
                         note="heat: how much; red and blue: for and against")


def chosen(found: Opened, args) -> tuple[int, str]:
    """The class asked for, or the likeliest, and how to call it."""
    scores, shares = chances(found.model, found.input)
    print("\n".join(likeliest(scores, shares, found.names)))
    target = int(np.argmax(scores)) if args.target is None else args.target
    if not 0 <= target < len(scores):
        raise UsageError(f"--class must be 0 .. {len(scores) - 1}, got {target}")
    return target, f"{called(found, target)} ({100 * shares[target]:.0f} %)"


def called(found: Opened, target: int) -> str:
    return found.names[target] if found.names else f"class {target}"


def shown(found: Opened, image: np.ndarray | None = None) -> np.ndarray:
    """The input as pixels in 0 .. 1."""
    mean, std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (found.form.mean, found.form.std))
    return np.clip((found.input if image is None else image) * std + mean, 0, 1)
