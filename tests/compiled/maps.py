"""Kernels of compiled programs under test: maps are laid out here, inside larger arrays, and
results come back planar.

Samples of a map lie further apart than an image. Lanes that pad its last block hold large numbers,
which must reach no real channel. Outputs start as NaN between guard bands.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyops.core.backends import BACKENDS
from pyops.core.threads import num_threads

BLOCK, GARBAGE, GUARD = 16, 1e4, 77
NONE = ("clamp", -np.inf, np.inf)
RELU = ("clamp", 0.0, np.inf)
RELU6 = ("clamp", 0.0, 6.0)
EPS = np.finfo(np.float32).eps


def blocks(channels):
    return -(-channels // BLOCK)


def to_map(planar, garbage=GARBAGE):
    """(n, c, h, w) as a view (n, blocks, h, w, 16) into something larger."""
    n, c, h, w = planar.shape
    whole = np.full((n, blocks(c) * BLOCK, h, w), garbage, np.float32)
    whole[:, :c] = planar
    larger = np.full((n, blocks(c) + 1, h, w, BLOCK), np.nan, np.float32)
    larger[:, :-1] = whole.reshape(n, blocks(c), BLOCK, h, w).transpose(0, 1, 3, 4, 2)
    return larger[:, :-1]


def from_map(view, channels):
    n, count, h, w, _ = view.shape
    return view.transpose(0, 1, 4, 2, 3).reshape(n, count * BLOCK, h, w)[:, :channels].copy()


def per_channel(numbers):
    """A number a channel, with zeros up to whole blocks."""
    return None if numbers is None else np.pad(numbers, (0, -len(numbers) % BLOCK)).astype(np.float32)


@dataclass(frozen=True)
class Image:
    """An argument (n, c, h, w), handed over as a map."""
    planar: np.ndarray

    def sample(self, i):
        return Image(self.planar[i:i + 1])


@dataclass(frozen=True)
class Rows:
    """A planar argument whose first axis is the batch."""
    planar: np.ndarray

    def sample(self, i):
        return Rows(self.planar[i:i + 1].copy())


@dataclass(frozen=True)
class MapOut:
    """A result (n, c, h, w) that the kernel writes as a map."""
    shape: tuple

    def sample(self, i):
        return MapOut((1, *self.shape[1:]))

    def make(self):
        n, c, h, w = self.shape
        larger = np.full((n, blocks(c) + 2, h, w, BLOCK), GUARD, np.float32)
        larger[:, 1:-1] = np.nan
        return larger[:, 1:-1], larger

    def take(self, y, larger):
        assert (larger[:, 0] == GUARD).all() and (larger[:, -1] == GUARD).all(), "stored outside the output"
        return from_map(y, self.shape[1])


@dataclass(frozen=True)
class PlanarOut:
    """A planar result whose first axis is the batch."""
    shape: tuple

    def sample(self, i):
        return PlanarOut((1, *self.shape[1:]))

    def make(self):
        count = int(np.prod(self.shape))
        larger = np.full(count + 128, GUARD, np.float32)
        larger[64:64 + count] = np.nan
        return larger[64:64 + count].reshape(self.shape), larger

    def take(self, y, larger):
        assert (larger[:64] == GUARD).all() and (larger[-64:] == GUARD).all(), "stored outside the output"
        return y.copy()


def run(backend, kernel, *args):
    """The planar results of one call."""
    made = [a.make() if isinstance(a, (MapOut, PlanarOut)) else None for a in args]
    given = [m[0] if m else to_map(a.planar) if isinstance(a, Image) else a.planar if isinstance(a, Rows)
             else a for a, m in zip(args, made)]
    getattr(BACKENDS[backend].sets["f32"], kernel)(*given)
    return [a.take(*m) for a, m in zip(args, made) if m]


def check(backend, kernel, *args, want, tolerance):
    """Results within `tolerance` eps of the greatest value of `want`; the same bits with 1, 2 and 3
    threads and for each sample alone."""
    want = want if isinstance(want, list) else [want]
    with num_threads(1):
        got = run(backend, kernel, *args)
    for g, w in zip(got, want, strict=True):
        assert_close(g, w, tolerance)
    for threads in (2, 3):
        with num_threads(threads):
            again = run(backend, kernel, *args)
        for g, a in zip(got, again):
            assert np.array_equal(g, a, equal_nan=True), f"other bits with {threads} threads"
    for i in range(len(got[0]) if len(got[0]) > 1 else 0):
        alone = run(backend, kernel, *(a.sample(i) if hasattr(a, "sample") else a for a in args))
        for g, a in zip(got, alone):
            assert np.array_equal(g[i:i + 1], a, equal_nan=True), f"sample {i} differs when alone"


def assert_close(got, want, tolerance):
    want = np.asarray(want)
    assert got.shape == want.shape
    finite = np.isfinite(want)
    assert np.array_equal(got[~finite], want[~finite].astype(np.float32),
                          equal_nan=True), "NaN or infinity differ"
    scale = np.abs(want[finite]).max(initial=0) or 1
    worst = np.abs(got[finite] - want[finite]).max(initial=0) / (EPS * scale)
    assert worst <= tolerance, f"off by {worst:.1f} eps of the greatest value, {tolerance} allowed"
