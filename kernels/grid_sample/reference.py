"""grid_sample in NumPy: the definition. A position of the grid is a place on each axis of the image,
which has taps there; a value is the sum over the product of the axes' taps of weight x pixel.

Any number of axes. Jaderberg et al. (2015), "Spatial transformer networks"; Keys (1981) for cubic, a
= -0.75.
"""
import math
from itertools import product

import numpy as np

NEAREST, LINEAR, CUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2
COUNT = {NEAREST: 1, LINEAR: 2, CUBIC: 4}


def grid_sample(x, grid, *, mode, around, corners):
    """x (N, C, *image), grid (N, *places, axes) -> (N, C, *places)."""
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
    for index, weight, _ in taps(grid, x.shape[2:], mode, around, corners):
        y += weight[:, None] * pixels(x, index, weight)
    return y


def grid_sample_input_gradient(g, grid, *, size, mode, around, corners):
    """d(sum of g y) / dx, of spatial `size`."""
    dx = np.zeros((*g.shape[:2], math.prod(size)), g.dtype)
    for index, weight, _ in taps(grid, size, mode, around, corners):
        at = np.ravel_multi_index(tuple(i for i, _ in index), size)
        inside = np.all([m for _, m in index], axis=0)
        for n, c in np.ndindex(*g.shape[:2]):
            np.add.at(dx[n, c], at[n][inside[n]], (g[n, c] * weight[n])[inside[n]])
    return dx.reshape(*g.shape[:2], *size)


def grid_sample_grid_gradient(g, x, grid, *, mode, around, corners):
    """d(sum of g y) / d grid."""
    dgrid = np.zeros_like(grid)
    for index, weight, slopes in taps(grid, x.shape[2:], mode, around, corners):
        sums = (g * pixels(x, index, weight)).sum(1)
        for axis, slope in enumerate(slopes):
            dgrid[..., -1 - axis] += sums * slope
    return dgrid


def pixels(x, index, weight):
    """(N, C, *places): x at a tap, 0 outside."""
    batch = np.arange(x.shape[0]).reshape(-1, *[1] * (weight.ndim - 1))
    values = np.moveaxis(x[(batch, slice(None), *(at for at, _ in index))], -1, 1)
    return np.where(np.all([inside for _, inside in index], axis=0)[:, None], values, 0)


def taps(grid, size, mode, around, corners):
    """Yields, for each tap, (index, inside) of each axis, its weight, and its slope along each."""
    n = len(size)
    axes = [along(grid[..., n - 1 - a], size[a], mode, around, corners) for a in range(n)]
    for of in product(*axes):
        weights = [w for _, w, _ in of]
        yield ([at for at, _, _ in of], math.prod(weights),
               [math.prod([*weights[:a], of[a][2], *weights[a + 1:]]) for a in range(n)])


def along(position, size, mode, around, corners):
    """[((index, inside), weight, d weight / d position)] of one axis."""
    last = size - 1
    low, span = (0, last) if corners else (-0.5, size)
    at = (position + 1) / 2 * last if corners else ((position + 1) * size - 1) / 2
    step = np.full(at.shape, span / 2, at.dtype)
    if mode != CUBIC and around == REFLECTION:
        at, turns = reflected(at, low, span)
        step *= turns
    if mode != CUBIC and around != ZEROS:
        step = np.where((at > 0) & (at < last), step, 0)
        at = np.clip(at, 0, last)
    elif around != REFLECTION:
        at = np.clip(at, -4, last + 4)   # further out is as there
    if mode == NEAREST:
        nearest = np.round(at)
        return [(indexed(nearest, last), np.where(np.isnan(at), at, 1).astype(at.dtype), np.zeros_like(at))]
    t = at - np.floor(at)
    if mode == LINEAR:
        weights = [(1 - t, -step), (t, step)]
    else:
        weights = [(w, s * step) for w, s in map(keys, (t + 1, t, t - 1, t - 2))]
    found = []
    for k, (weight, slope) in enumerate(weights):
        tap = np.floor(at) + k - (mode == CUBIC)
        if mode == CUBIC and around == REFLECTION:
            tap = reflected(tap, low, span)[0]
        index, inside = indexed(tap, last)
        found.append(((index, inside | (mode == CUBIC and around != ZEROS)), weight, slope))
    return found


def indexed(tap, last):
    return (np.clip(np.where(np.isnan(tap), 0, tap), 0, last).astype(np.int64), (tap >= 0) & (tap <= last))


def reflected(at, low, span):
    """Mirrored at both ends as often as it takes, and which way it goes there."""
    if span == 0:
        return at * 0, np.zeros_like(at)
    turns = np.where(at < low, -1, 1)
    flips, rest = np.divmod(np.abs(at - low), span)
    odd = flips % 2 == 1
    return np.where(odd, span - rest, rest) + low, np.where(odd, -turns, turns)


def keys(d):
    """The weight at a signed distance, and its slope."""
    a, x = -0.75, np.abs(d)
    near = x <= 1
    weight = np.where(near, ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a)
    slope = np.where(near, (3 * (a + 2) * x - 2 * (a + 3)) * x, (3 * a * x - 10 * a) * x + 8 * a)
    return weight, np.sign(d) * slope
