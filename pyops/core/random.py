"""The random generator behind initialisation, dropout and data order, seeded by `manual_seed`."""
from __future__ import annotations

import numpy as np

_generator = None   # made when first asked for: importing numpy.random takes as long as all of pyops.ops


def manual_seed(seed: int) -> np.random.Generator:
    """Restarts the default generator from `seed` (an int >= 0) and returns it: the same calls then
    draw the same numbers."""
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def default_generator() -> np.random.Generator:
    """What draws wherever no generator is given."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator
