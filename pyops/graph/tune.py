"""Measures the costs (costs.py) that the choice between convolution algorithms rests on, with the
kernels themselves."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import functional as F
from ..core.backends import BACKENDS
from ..machine import MEMORY, caches, ceilings
from .costs import TILES, Costs

# channels in and out, height and width: what networks are made of
LAYERS = ((64, 56), (128, 28), (192, 28), (256, 14))


def measure(isa: str, threads: int, rounds: int = 30,
            say: Callable[[str], None] = lambda text: None) -> Costs:
    """The costs of an instruction set, in a few seconds. ValueError where it is not available."""
    if not BACKENDS.get(isa) or not BACKENDS[isa].sets:
        raise ValueError(f"tune: {isa!r} is no instruction set of this machine and build")
    times = {(algorithm, layer): nanoseconds(isa, threads, algorithm, layer, rounds, say)
             for algorithm in ("direct", *(f"winograd{m}" for m in TILES)) for layer in LAYERS}
    direct = np.median([times["direct", layer] / (9 * channels * blocks(channels) * size ** 2 / threads)
                        for layer in LAYERS for channels, size in [layer]])
    winograd, *transform = fitted(times, threads)
    say("bandwidth")
    rates = {level: (rate, fits) for level, fits, rate in ceilings(isa, "f32", threads).bandwidth}
    last = [level for level in rates if level != MEMORY][-1] if len(rates) > 1 else MEMORY
    return Costs(threads, float(direct), winograd, tuple(transform), 1 / rates[last][0], 1 / rates[MEMORY][0],
                 max((size for size, _ in caches().values()), default=32 << 20) // 2)


def fitted(times, threads: int) -> list[float]:
    """Nanoseconds of a multiply-add and of the three transforms that come closest to the measured
    layers, by least relative squares."""
    rows = []
    for i, m in enumerate(TILES):
        for channels, size in LAYERS:
            tiles = (-(-size // m)) ** 2 / threads
            row = [tiles * (m + 2) ** 2 * channels * blocks(channels), 0, 0, 0]
            row[1 + i] = tiles * blocks(channels)
            rows.append(np.array(row) / times[f"winograd{m}", (channels, size)])
    solution, *_ = np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)
    return [float(max(value, 0.0)) for value in solution]


def blocks(channels: int) -> int:
    return -(-channels // 16)


def nanoseconds(isa: str, threads: int, algorithm: str, layer: tuple[int, int], rounds: int, say) -> float:
    """The shortest time of a padded 3x3 layer."""
    from .compile import Options, build
    channels, size = layer
    say(f"{algorithm} {channels} channels, {size}x{size}")
    x = np.zeros((1, channels, size, size), np.float32)
    weight = np.full((channels, channels, 3, 3), 1 / (9 * channels), np.float32)
    program = build(lambda x: F.conv2d(x, weight, padding=1), (x,), Options("fast", threads, isa, algorithm))
    place = next(i for i, step in enumerate(program.steps) if step.op == "conv")
    return 1e9 * program.measured(rounds)[place]
