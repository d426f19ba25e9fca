"""Functions of pyops.functional with random arguments beside torch's of the same name, in float64:
values, and gradients of all float arrays.

A row of DRAWS makes the call: draw(random) -> (arrays, ours, theirs), both functions of the arrays.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch

from pyops import functional as F, validate
from pyops.core.tensor import Tensor

from .hunt import called

REFUSED = (ValueError, TypeError, IndexError)
MEMORY = 3 << 30
TF = torch.nn.functional


def normal(draw: random.Random, *shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(draw.getrandbits(32)).standard_normal(shape) * scale


def same(name: str, arrays, *args, **kwargs):
    """A call with these arguments on either side."""
    return arrays, lambda *a: getattr(F, name)(*a, *args, **kwargs), lambda *a: getattr(TF, name)(*a, *args, **kwargs)


def grid_sample(draw: random.Random):
    axes = draw.choice((2, 2, 3))
    n, c = draw.choice((1, 2)), draw.choice((1, 3, 8, 17))
    size = [draw.randint(1, 9) for _ in range(axes)]
    places = [draw.randint(1, 6) for _ in range(axes)]
    grid = normal(draw, n, *places, axes, scale=draw.choice((0.3, 1.0, 4.0)))
    mode = draw.choice(("nearest", "bilinear", "bicubic")[: 5 - axes])
    return same("grid_sample", [normal(draw, n, c, *size), grid], mode,
                draw.choice(("zeros", "border", "reflection")), draw.random() < 0.5)


def affine_grid(draw: random.Random):
    axes, n = draw.choice((2, 3)), draw.randint(1, 3)
    size = (n, 1, *(draw.randint(1, 6) for _ in range(axes)))
    return same("affine_grid", [normal(draw, n, axes, axes + 1)], size, draw.random() < 0.5)


DRAWS: dict[str, Callable] = {"grid_sample": grid_sample, "affine_grid": affine_grid}


def one(seed: int) -> None:
    draw = random.Random(seed)
    compare(draw.choice(list(DRAWS)), draw)


def compare(name: str, draw: random.Random) -> None:
    """One draw of a row, ours beside torch's."""
    arrays, ours, theirs = DRAWS[name](draw)
    real = [a.dtype.kind == "f" for a in arrays]
    mine = [Tensor(a, requires_grad=f) for a, f in zip(arrays, real)]
    other = [torch.from_numpy(a.copy()).requires_grad_(f) for a, f in zip(arrays, real)]
    called()
    want, got = validate.flat(theirs(*other)), validate.flat(ours(*mine))
    assert len(want) == len(got), f"{name}: {len(got)} results"
    for g, w in zip(got, want):
        validate.assert_close(g.data, w.detach().numpy(), 1e5, f"{name}: value")
    leaves = [(m, o) for m, o, f in zip(mine, other, real) if f]
    given = [(g, w) for g, w in zip(got, want) if w.requires_grad]
    for g, w in given:
        weight = normal(draw, *w.shape)
        g.backward(weight)
        w.backward(torch.from_numpy(np.asarray(weight)), retain_graph=True)
    for i, (m, o) in enumerate(leaves if given else ()):
        want_grad = np.zeros(m.shape) if o.grad is None else o.grad.numpy()
        got_grad = np.zeros(m.shape) if m.grad is None else m.grad
        validate.assert_close(got_grad, want_grad, 1e5, f"{name}: gradient {i}")
