"""Tables of positions: sines and cosines, buckets of distances; turns are in rope.py."""
from __future__ import annotations

import math

import numpy as np

from ... import functional as F


def sinusoidal(count: int, width: int) -> np.ndarray:
    """(count, width) in float64: sin(p / 10000^(2i / width)) at feature 2i, cos at 2i + 1. Vaswani
    et al. (2017), section 3.5."""
    angles = np.arange(count)[:, None] / 10000.0 ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(count, -1)[:, :width]


def distance_buckets(buckets: int, most: int, bidirectional: bool) -> np.ndarray:
    """The bucket of each distance (key - query) from -most to most, beyond which it stays the
    same. Half of a direction's buckets are for single distances, the others grow by a factor. Raffel
    et al. (2020), section 2.1; the arithmetic is float32, as its rounding decides at the borders."""
    distance = np.arange(-most, most + 1)
    offset = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        offset, distance = np.where(distance > 0, buckets, 0), np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    far = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / np.float32(
        math.log(most / exact)) * np.float32(buckets - exact)
    return offset + np.where(distance < exact, distance, np.minimum(exact + far.astype(np.int64), buckets - 1))


def bias_by_distance(queries: int, keys: int, weight, table: np.ndarray):
    """relative_bias of queries and keys that both begin at position 0, as attention takes it by
    distance: (heads, queries + keys - 1)."""
    most = len(table) // 2
    place = np.clip(np.arange(1 - queries, keys), -most, most) + most
    return F.permute(F.embedding(place, F.embedding(table, weight)), (1, 0))


def relative_bias(queries, keys, weight, table: np.ndarray):
    """What is added to scores (1 or N, heads, L, S) of queries (1 or N, L) and keys (1 or N, S) at
    these positions. weight: (buckets, heads); table: distance_buckets."""
    most = len(table) // 2
    distance = F.sub(F.unsqueeze(keys, 1), F.unsqueeze(queries, 2))
    place = F.add(F.clamp(distance, -most, most), most)
    by_distance = F.embedding(table, weight)   # (2 most + 1, heads)
    return F.permute(F.embedding(place, by_distance), (0, 3, 1, 2))
