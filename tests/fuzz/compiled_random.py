"""Random networks of nn layers, compiled, against the same networks eager in float64; with other
batch sizes, threads and precisions.

A network grows layer by layer from a random shape; a layer that refuses its input is left out. Sums
and concatenations of two branches are among the layers, since fusions and places in the arena
depend on who reads what.
"""

from __future__ import annotations

import random

import numpy as np

import pyops
import pyops.functional as F
from pyops import nn, no_grad, num_threads

from .values import kinds, nudged

REFUSED = ()
# Winograd's bound (docs/performance.md) is over a layer's largest output; layers behind it pass an
# error on, some enlarge it.
ALLOWED = {"strict": 5e-5, "default": 4e-4, "fast": 2e-3}
# What eager calls in float32 err by, of the largest output; a network whose eager calls err by more,
# as where it norms away all but roundings, enlarges errors so much.
USUAL = 5e-6
MEMORY = 1 << 30

POINTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.SiLU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.GELU,
    nn.ELU,
    nn.Mish,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Softplus,
    nn.SELU,
    nn.ScaledTanh,
)


class Both(nn.Module):
    """Two branches from one value, joined."""

    def __init__(self, one, other, how):
        self.one, self.other, self.how = one, other, how

    def forward(self, x):
        a, b = self.one(x), self.other(x)
        return F.cat([a, b], 1) if self.how == "cat" else a * b if self.how == "mul" else a + b


class Mean(nn.Module):
    def forward(self, x):
        return F.mean(x, tuple(range(2, len(x.shape))))


class Scaled(nn.Module):
    """x s, x + t or x s + t, by a number or one a channel."""

    def __init__(self, draw, channels, axes):
        shape = draw.choice(((), (1,), (channels, *[1] * axes), (1, channels, *[1] * axes)))
        numbers = [np.float32(draw.uniform(-2, 2)) for _ in range(2 * int(np.prod(shape)))]
        self.s, self.t = np.array(numbers, np.float32).reshape(2, *shape)
        self.which = draw.choice(("s", "t", "st", "ts"))

    def forward(self, x):
        for kind in self.which:
            x = x * self.s.astype(x.dtype) if kind == "s" else x + self.t.astype(x.dtype)
        return x


def layer(draw: random.Random, shape: tuple[int, ...], depth: int) -> nn.Module:
    """A layer that might take the shape."""
    channels, axes = shape[1], len(shape) - 2
    if draw.random() < 0.3:
        return draw.choice(POINTWISE)()
    if draw.random() < 0.1:
        return Scaled(draw, channels, axes)
    if axes == 0:
        return draw.choice(
            (
                lambda: nn.Linear(channels, draw.choice((1, 5, 16, 33))),
                lambda: nn.BatchNorm1d(channels),
                lambda: nn.LayerNorm(channels),
                lambda: nn.Softmax(1),
            )
        )()
    of = {
        1: (nn.Conv1d, nn.ConvTranspose1d, nn.MaxPool1d, nn.AvgPool1d, nn.BatchNorm1d),
        2: (nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d),
    }[axes]
    size = draw.choice((1, 2, 3, 3, 3, 5))
    stride, padding = draw.choice((1, 1, 1, 2, 3)), draw.choice((0, size // 2, size // 2, 1))
    filters = draw.choice((1, 3, 8, 16, 17, 32, channels, channels))
    groups = draw.choice([g for g in (1, 1, 1, 2, 4, channels) if channels % g == 0])
    kind = draw.randrange(12)
    if kind < 4:
        return of[0](
            channels,
            filters if filters % groups == 0 else channels,
            size,
            stride,
            padding,
            draw.choice((1, 1, 1, 2)),
            groups,
            bias=draw.random() < 0.7,
        )
    if kind == 4:
        return of[1](channels, filters, size, stride, padding, bias=draw.random() < 0.7)
    if kind == 5:
        return of[2](size, stride, size // 2, ceil_mode=draw.random() < 0.3)
    if kind == 6:
        return of[3](
            size, stride, size // 2, ceil_mode=draw.random() < 0.3, count_include_pad=draw.random() < 0.5
        )
    if kind == 7:
        return of[4](channels)
    if kind == 8:
        return draw.choice(
            (
                nn.GroupNorm(groups, channels),
                nn.AdaptiveAvgPool1d(draw.choice((1, 3)))
                if axes == 1
                else nn.AdaptiveAvgPool2d(draw.choice((1, 2, 3))),
            )
        )
    if kind == 9:
        return Mean() if depth else nn.Identity()
    if kind == 10 and axes == 2:
        return draw.choice(
            (
                nn.Upsample(scale_factor=2, mode=draw.choice(("nearest", "bilinear"))),
                nn.ReflectionPad2d(1),
                nn.ZeroPad2d(tuple(draw.randrange(4) for _ in range(4))),
                nn.ReplicationPad2d(2),
            )
        )
    how = draw.choice(("add", "cat", "mul"))
    if depth > 1:
        return nn.Identity()
    return Both(
        network(draw, shape, draw.randrange(3), depth + 1, same=how != "cat"),
        network(draw, shape, draw.randrange(3), depth + 1, same=how != "cat"),
        how,
    )


def network(draw: random.Random, shape, length: int, depth: int = 0, same: bool = False) -> nn.Sequential:
    """Layers one after the other; `same`: only such as keep the shape."""
    layers: list[nn.Module] = []
    at = shape
    for _ in range(length):
        try:
            with no_grad():
                made = layer(draw, at, depth).eval()
                new = made(np.zeros(at, np.float32)).shape
        except ValueError:
            continue
        if np.prod(new) > 60_000 or not np.prod(new) or len(new) < 2 or (same and new != at):
            continue
        layers.append(made)
        at = tuple(new)
    return nn.Sequential(*layers)


def distance(got, want) -> float:
    """The largest error, of the largest value."""
    return np.abs(got - want).max(initial=0) / max(np.abs(want).max(initial=0), 1e-3)


def one(seed: int) -> None:
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    side = lambda: draw.choice((1, 2, 5, 7, 8, 12, 15))  # noqa: E731
    shape = (
        draw.choice((1, 1, 2, 3)),
        draw.choice((1, 3, 4, 5, 16, 24, 32)),
        *(side() for _ in range(draw.choice((1, 2, 2, 2, 2)))),
    )
    model = network(draw, shape, draw.randrange(1, 9)).eval()
    for name, array in model.state_dict().items():
        if "running_var" in name:
            array[...] = rng.uniform(0.5, 2, array.shape)
        elif "running_mean" in name:
            array[...] = rng.standard_normal(array.shape)
    precision = draw.choice(("strict", "default", "default", "fast"))
    x = rng.standard_normal(shape).astype(np.float32)
    model.double()
    with no_grad():
        want = np.asarray(model(x.astype(np.float64)))
    model.float()
    with no_grad():
        allowed = ALLOWED[precision] * max(1, distance(np.asarray(model(x)), want) / USUAL)
    program = pyops.compile(model, x, precision, threads=draw.choice((1, 2, 3)), dynamic_batch=True)
    got = program(x)
    says = f"{model!r} on {shape}, {precision}"
    assert got.shape == want.shape, f"{says}: shape {got.shape}, not {want.shape}"
    far = distance(got, want)
    assert far <= allowed, f"off by {far:.2g}: {says}"
    other = program(np.concatenate([x, x[:1]]))
    assert other.shape[0] == len(x) + 1, f"another batch has shape {other.shape}: {says}"
    far = distance(other, np.concatenate([want, want[:1]]))
    assert far <= 2 * allowed, f"another batch is off by {far:.2g}: {says}"
    with num_threads(draw.choice((1, 2))):
        assert np.array_equal(program(x), got), f"a second run differs: {says}"
    if draw.random() < 0.3:
        special(draw, rng, model, program, x, says)


def special(draw: random.Random, rng, model, program, x, says: str) -> None:
    """Some numbers become infinite, NaN or huge: NaN and infinity come out where they do in
    float64, but where a rounding of the input moves them there, or eager calls overflow in float32.
    """
    x = x.copy()
    for _ in range(draw.choice((1, 1, 3))):
        x.reshape(-1)[draw.randrange(x.size)] = draw.choice((np.inf, -np.inf, np.nan, 1e12, -1e12))
    with np.errstate(all="ignore"):
        got = kinds([program(x)])[0]
        model.double()
        with no_grad():
            want = kinds([np.asarray(model(x.astype(np.float64))).astype(np.float32)])[0]
            differs = got != want
            for _ in range(8 if differs.any() else 0):
                other = kinds([np.asarray(model(nudged(rng, x))).astype(np.float32)])[0]
                differs &= other == want
            model.float()
            if differs.any():
                differs &= kinds([np.asarray(model(x))])[0] == want
    where = np.argwhere(differs)[:3].tolist()
    assert not differs.any(), f"NaN or infinity elsewhere, at {where}: {says}"
