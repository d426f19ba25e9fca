"""Random networks compiled for sizes that vary, at other sizes against a Program made for these: bit for
bit the same, in either order of sizes, or refused by both.

The networks are those of compiled_random.py, with layers that compute with their input's shape.
"""

from __future__ import annotations

import random

import numpy as np

import pyops
import pyops.functional as F
from pyops import nn

from .compiled_random import network

REFUSED = ()
MEMORY = 1 << 30


class Shaped(nn.Module):
    """Something that an author computes from a shape."""

    def __init__(self, kind: int):
        self.kind = kind

    def forward(self, x):
        n, channels, *spatial = x.shape
        if not spatial:
            return [lambda: x.reshape((n, 1, channels)), lambda: x[:, : channels // 2 + 1],
                    lambda: F.cat([x, x[:, -1:]], 1)][self.kind % 3]().reshape((n, -1))
        last = spatial[-1]
        forms = (
            lambda: x.reshape((n, channels, -1)),
            lambda: x[..., last // 2 :] if last > 3 else x,
            lambda: F.pad(x, (0, -last % 4)),
            lambda: F.interpolate(x, size=tuple(s + 1 for s in spatial), mode="nearest"),
            lambda: F.permute(x, (0, 1, *range(len(spatial) + 1, 1, -1))),
            lambda: F.cat(F.chunk(x, 2, 0), 0) if n > 1 else x,
            lambda: x * (1.0 / (last + n)),
            lambda: F.matmul(x, F.transpose(x, -1, -2)) if len(spatial) == 2 else F.stack([x, x], 2).mean(2),
            lambda: F.softmax(x.reshape((n, -1)), -1).reshape(x.shape),
            lambda: F.broadcast_to(F.mean(x, (0,), keepdim=True), (n, channels, *spatial)),
        )
        return forms[self.kind % len(forms)]()


def model_of(draw: random.Random, shape) -> nn.Module:
    parts: list[nn.Module] = []
    at = shape
    for _ in range(draw.randrange(1, 4)):
        for made in (network(draw, at, draw.randrange(3)), Shaped(draw.randrange(1 << 10))):
            try:
                new = made.eval()(np.zeros(at, np.float32)).shape
            except (ValueError, IndexError):
                continue
            if 0 < np.prod(new) <= 60_000 and 2 <= len(new) <= 4:
                parts.append(made)
                at = tuple(new)
    return nn.Sequential(*parts).eval()


def tried(run):
    """Its result, or that the sizes are refused."""
    try:
        return run()
    except (ValueError, IndexError, TypeError) as why:
        return type(why)


def one(seed: int) -> None:
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    side = lambda: draw.choice((1, 2, 5, 7, 8, 12, 15))  # noqa: E731
    shape = (draw.choice((1, 2, 3)), draw.choice((1, 3, 4, 16, 24)), *(side() for _ in range(draw.choice((1, 2, 2)))))
    model = model_of(draw, shape)
    axes = draw.choice(([0], [0, -1], list(range(2, len(shape))), [0, *range(2, len(shape))]))
    options = {"batch_invariant": draw.random() < 0.2, "memory": draw.choice(("balanced", "fast", "lean"))}
    says = f"{model!r} on {shape}, axes {axes}, {options}"
    x = rng.standard_normal(shape).astype(np.float32)
    first = tried(lambda: pyops.compile(model, x, dynamic={0: dict.fromkeys(axes)}, **options))
    if isinstance(first, type):
        assert isinstance(tried(lambda: pyops.compile(model, x, **options)), type), f"{first.__name__} alone: {says}"
        return
    for _ in range(5):
        other = list(shape)
        for axis in axes:
            other[axis] = max(1, draw.choice((1, 2, other[axis], other[axis] + 1, 2 * other[axis], side())))
        y = rng.standard_normal(other).astype(np.float32)
        want = tried(lambda y=y: pyops.compile(model, y, **options)(y))
        got = tried(lambda y=y: first(y))
        if isinstance(want, type) or isinstance(got, type):
            assert want is got, f"{other}: {got}, a Program for it {want}: {says}"
            continue
        assert got.shape == want.shape, f"{other}: shape {got.shape}, not {want.shape}: {says}"
        assert np.array_equal(got, want, equal_nan=True), f"{other}: other bits: {says}"
