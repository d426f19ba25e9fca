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
    return np.asarray(np.random.default_rng(draw.getrandbits(32)).standard_normal(shape) * scale)


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


def einsum(draw: random.Random):
    """Operands of a few letters each, of which some repeat, are hidden or are of size one."""
    letters, count = "abcdXY"[: draw.randint(1, 6)], draw.choice((1, 2, 2, 2, 3, 4))
    sizes, terms, arrays = {n: draw.randint(1, 4) for n in letters}, [], []
    hidden = [draw.randint(1, 3) for _ in range(draw.randint(0, 2))]
    for _ in range(count):
        names = [draw.choice(letters) for _ in range(draw.randint(0, 4))]
        shape = [sizes[n] if names.count(n) > 1 or draw.random() < 0.9 else 1 for n in names]
        term = "".join(names)
        if hidden and draw.random() < 0.7:
            at = draw.randint(0, len(names))
            own = [n if draw.random() < 0.8 else 1 for n in hidden[draw.randint(0, len(hidden)):]]
            term, shape = term[:at] + "..." + term[at:], [*shape[:at], *own, *shape[at:]]
        terms.append(term)
        arrays.append(normal(draw, *shape))
    equation = ",".join(terms)
    if draw.random() < 0.7:
        used = sorted({c for c in equation if c.isalpha()})
        draw.shuffle(used)
        out = used[: draw.randint(0, len(used))]
        if "..." in equation:   # torch may leave them out, and so may we
            out.insert(draw.randint(0, len(out)), "...")
        equation += "->" + "".join(out)
    return arrays, lambda *a: F.einsum(equation, *a), lambda *a: torch.einsum(equation, *a)


DRAWS: dict[str, Callable] = {"grid_sample": grid_sample, "affine_grid": affine_grid, "einsum": einsum}


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
