"""The Gaussian filter on the permutohedral lattice in NumPy: the definition. Adams, Baek & Davis, "Fast
High-Dimensional Filtering Using the Permutohedral Lattice" (2010), with matrices instead of a table
of vertices: a splat, a blur along each axis, and the transpose of the splat."""
import numpy as np

FARTHEST = 2.0 ** 20   # of a feature


def simplices(features):
    """Of each point the corners of its simplex, (n, d + 1, d + 1) whole numbers, and its barycentric
    weights, (n, d + 1)."""
    n, d = features.shape
    axis = np.arange(1, d + 1)
    f = features * ((d + 1) * np.sqrt(2 / 3 / (axis * (axis + 1)))).astype(features.dtype)
    above = np.cumsum(f[:, ::-1], 1)[:, ::-1]                 # the sums of a coordinate and those behind it
    x = np.concatenate([above[:, :1], np.concatenate([above[:, 1:], 0 * f[:, :1]], 1) - axis * f], 1)
    cells = np.floor(x / (d + 1) + 0.5).astype(np.int64)
    base, total = cells * (d + 1), cells.sum(1, keepdims=True)
    rank = np.argsort(np.argsort(base - x, 1, kind="stable"), 1, kind="stable") + total
    base = base + (d + 1) * ((rank < 0).astype(np.int64) - (rank > d))
    rank = rank + (d + 1) * ((rank < 0).astype(np.int64) - (rank > d))
    offsets = np.empty_like(x)
    np.put_along_axis(offsets, rank, (x - base) / (d + 1), 1)  # the largest first
    weights = np.concatenate([1 - offsets[:, :1] + offsets[:, -1:], -np.diff(offsets, axis=1)[:, ::-1]], 1)
    remainder = np.arange(d + 1)[:, None]
    corners = base[:, None] + np.where(rank[:, None] <= d - remainder, remainder, remainder - (d + 1))
    return corners, weights


def permutohedral(features, values, *, reverse):
    """features (n, d), values (n, c) -> (n, c)."""
    n, d = features.shape
    if not n:
        return np.empty_like(values)
    lost = ~(np.abs(features) <= FARTHEST).all(1)
    corners, weights = simplices(np.where(lost[:, None], 0, features).astype(features.dtype))
    weights[lost] = 0
    keys, places = np.unique(corners.reshape(-1, d + 1), axis=0, return_inverse=True)
    number = {key: i for i, key in enumerate(map(tuple, keys.tolist()))}
    splat = np.zeros((len(keys), n), features.dtype)
    np.add.at(splat, (places.ravel(), np.repeat(np.arange(n), d + 1)), weights.ravel())
    held = splat @ np.where(lost[:, None], np.zeros((), values.dtype), values)
    for axis in (range(d, -1, -1) if reverse else range(d + 1)):
        step = np.ones(d + 1, np.int64)
        step[axis] -= d + 1
        sides = [[number.get(tuple(key), -1) for key in (keys + sign * step).tolist()] for sign in (1, -1)]
        padded = np.concatenate([held, np.zeros((1, held.shape[1]), held.dtype)])
        held = held / 2 + (padded[sides[0]] + padded[sides[1]]) / 4
    result = (splat.T @ held).astype(values.dtype)
    result[lost] = np.nan
    return result
