"""Quantised networks whose scales are powers of two, computed on bytes and on floats: every number on
the way is exact, so both give the same bits.
"""

from __future__ import annotations

import random
from unittest.mock import patch

import numpy as np

import pyops
import pyops.functional as F
from pyops.graph.passes import bytes_products

REFUSED = ()
MEMORY = 1 << 30


def one(seed: int) -> None:
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    channels = draw.choice((1, 3, 4, 16, 20, 33))
    size = draw.choice((1, 5, 9, 14)), draw.choice((1, 6, 9, 31))
    x = rng.standard_normal((draw.choice((1, 1, 2, 3)), channels, *size)).astype(np.float32) * 4
    plan = [draw.choice(("conv", "conv", "conv", "table", "add", "pool", "scale", "dynamic", "part"))
            for _ in range(draw.randrange(1, 7))]
    seeds = [draw.randrange(1 << 30) for _ in plan]
    model = lambda v: run(v, plan, seeds)  # noqa: E731
    threads = draw.choice((1, 2, 3))
    with patch.object(bytes_products, "fast", lambda: True):
        on_bytes = pyops.compile(model, x, threads=threads)
    with patch.object(bytes_products, "fast", lambda: False):
        on_floats = pyops.compile(model, x, precision="strict", threads=threads)
    got, want = on_bytes(x), on_floats(x)
    assert np.array_equal(got, want), f"{np.abs(got - want).max()} apart: {plan} on {x.shape}, seeds {seeds}"


def run(x, plan, seeds):
    draw = random.Random(seeds[0])
    dtype = draw.choice(("uint8", "uint8", "int8"))
    real = back(x, 2.0**-4, draw.choice((0, 7, 128) if dtype == "uint8" else (0, -128, 9)), dtype)
    for kind, seed in zip(plan, seeds):
        draw, rng = random.Random(seed), np.random.default_rng(seed)
        zero, dtype = draw.choice(((0, "uint8"), (3, "uint8"), (200, "uint8"), (0, "int8"), (-128, "int8")))
        if kind == "conv":
            real = back(layer(real, draw, rng), 1.0, zero, dtype)
        elif kind == "table":
            real = back(F.abs(F.mul(F.relu(real), np.float32(0.5))), 1.0, zero, dtype)
        elif kind == "add":
            real = back(F.relu(F.add(real, back(F.neg(real), 1.0, zero, dtype))), 2.0, zero, dtype)
        elif kind == "pool" and min(real.shape[2:]) > 2:
            real = back(F.max_pool2d(real, 3, 2, 1), 1.0, zero, dtype)
        elif kind == "scale":
            real = back(F.add(F.mul(layer(real, draw, rng), np.float32(0.5)), np.float32(1.5)), 1.0, zero, dtype)
        elif kind == "part":   # as bytes
            q = F.quantize_linear(real, 1.0, zero, dtype)
            q = F.getitem(q, (slice(None), slice(real.shape[1] // 3, None), slice(None, None, draw.choice((1, 2)))))
            real = F.dequantize_linear(q, 1.0, zero)
        elif kind == "dynamic":
            s = F.add(F.mul(F.sign(F.amax(real)), 0.25), 0.5)
            q = F.quantize_linear(real, 1.0, F.add(F.sign(F.amin(real)), 5.0), "uint8")
            real = F.mul(layer(F.dequantize_linear(q, 1.0, F.add(F.sign(F.amin(real)), 5.0)), draw, rng), s)
            real = back(real, 1.0, zero, dtype)
    return real


def back(x, scale, zero, dtype):
    """Quantised and made whole numbers again."""
    return F.dequantize_linear(F.quantize_linear(x, scale, zero, dtype), 1.0, zero)


def layer(x, draw, rng):
    """A convolution of whole numbers whose sums a float32 holds, brought into the range of bytes."""
    channels, filters = x.shape[1], draw.choice((1, 5, 16, 24, 40))
    low, high = draw.choice(((-127, 128), (-20, 236), (-3, 4)))
    kernel = min(draw.choice((1, 1, 3, 2)), *x.shape[2:]), min(draw.choice((1, 1, 3, 5)), *x.shape[2:])
    w = rng.integers(low, high, (filters, channels, *kernel)).astype(np.float32)
    b = rng.integers(-2000, 2000, filters).astype(np.float32) if draw.random() < 0.5 else None
    padding = draw.randrange(kernel[0] // 2 + 1), draw.randrange(kernel[1] // 2 + 1)
    y = F.conv2d(x, w, b, stride=draw.choice((1, 1, 2)), padding=padding)
    if draw.random() < 0.3:
        y = F.relu(y)
    return F.mul(y, np.float32(2.0 ** -draw.choice((8, 10, 12))))
