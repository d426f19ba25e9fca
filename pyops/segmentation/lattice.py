"""Gaussian filters over points of many features, on the permutohedral lattice."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.backends import get_backend

__all__ = ["Lattice"]

MOST_FEATURES = 16
RANGE = 2.0 ** 20   # features beyond this many deviations would leave float32's whole numbers


class Lattice:
    """filter(values): at each point the sum over all points j of exp(-|f_i - f_j|^2 / 2) values_j,
    nearly, and times a factor that is the same everywhere but near the ends of the cloud; divide by
    filter(ones) for means. Adams, Baek & Davis, "Fast High-Dimensional Filtering Using the
    Permutohedral Lattice" (2010). Time and memory are linear in the points.

    features: (n, d) float32 or float64, d from 1 to 16, in units of the Gaussian's deviation.
    vertices: how many of the lattice's are touched. ValueError for features that are not finite.
    """

    def __init__(self, features: np.ndarray):
        features = np.ascontiguousarray(features)
        if features.ndim != 2 or not 1 <= features.shape[1] <= MOST_FEATURES or features.dtype not in (np.float32,
                                                                                                      np.float64):
            raise ValueError(f"Lattice: features must be (points, 1 to {MOST_FEATURES}) float32 or float64, got "
                             f"{features.shape} {features.dtype}")
        if not (np.abs(features) <= RANGE).all():
            raise ValueError(f"Lattice: features must be finite and at most {RANGE:.0f} in size, got "
                             f"{np.abs(features).max():g}")
        n, d = features.shape
        self.dtype, self.kernels = features.dtype, native(features.dtype)
        self.places = np.empty((n, d + 1), np.int64)
        self.weights = np.empty((n, d + 1), self.dtype)
        keys, count = np.empty((n * (d + 1), d), np.int64), np.empty(1, np.int64)
        self.kernels.lattice_build(features, self.places, self.weights, keys, count)
        self.vertices = int(count[0])
        self.neighbours = np.empty((self.vertices, d + 1, 2), np.int64)
        self.kernels.lattice_neighbours(keys[:self.vertices], self.neighbours)
        self.starts, self.points = np.empty(self.vertices + 1, np.int64), np.empty(self.places.size, np.int64)
        self.splat = np.empty(self.places.size, self.dtype)
        self.kernels.lattice_members(self.places, self.weights, self.starts, self.points, self.splat)

    def filter(self, values: np.ndarray) -> np.ndarray:
        """values: (n, c) of the features' type. Returns (n, c)."""
        values = np.ascontiguousarray(values, self.dtype)
        if values.ndim != 2 or len(values) != len(self.places):
            raise ValueError(f"Lattice.filter: values must be ({len(self.places)}, channels), got {values.shape}")
        result = np.empty_like(values)
        self.run(values, self.splat, self.weights, result[:0], result)
        return result

    def scaled(self, before: np.ndarray, behind: np.ndarray):
        """add_to(result, values, base): result = base + behind * filter(before * values), where before and
        behind are (n,), the others (n, c) and contiguous, all of the features' type; result may be base.
        ValueError for others."""
        n = len(self.places)
        for name, numbers in (("before", before), ("behind", behind)):
            if numbers.shape != (n,) or numbers.dtype != self.dtype:
                raise ValueError(f"Lattice.scaled: {name} must be {(n,)} {self.dtype}, got {numbers.shape} "
                                 f"{numbers.dtype}")
        splat, slices = self.splat * before[self.points], self.weights * behind[:, None]

        def add_to(result: np.ndarray, values: np.ndarray, base: np.ndarray) -> None:
            if values.ndim != 2 or len(values) != n or not result.shape == values.shape == base.shape:
                raise ValueError(f"Lattice.scaled: result, values and base must be ({n}, channels) all, got "
                                 f"{result.shape}, {values.shape} and {base.shape}")
            self.run(values, splat, slices, base, result)
        return add_to

    def run(self, values, splat, slices, base, result) -> None:
        if values.size:
            self.kernels.lattice_filter(values, self.starts, self.points, splat, self.neighbours, self.places, slices,
                                        base, result)


def native(dtype: np.dtype) -> Any:
    """The CPU's kernels: of the active backend, or, where that has no C++, of the best there is."""
    for name in (None, "avx512", "avx2", "neon", "scalar"):
        try:
            backend = get_backend(name)
        except (ValueError, KeyError):
            continue
        if hasattr(backend, "sets"):
            return backend.sets["f32" if dtype == np.float32 else "f64"]
    raise RuntimeError("Lattice: this build has no kernels for this CPU")
