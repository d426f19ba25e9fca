"""Gaussian filters over points of many features. Adams, Baek & Davis, "Fast High-Dimensional Filtering
Using the Permutohedral Lattice" (2010); what dense CRFs pass their messages by."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays

reference = LateFunctions("pyops.kernels.permutohedral.reference")

__all__ = ["permutohedral_filter"]

MOST_FEATURES, FARTHEST = 16, 2.0 ** 20


def permutohedral_filter(features: Arrays, values: Arrays, *, transpose: bool = False,
                         out: Arrays | None = None) -> Arrays:
    """At each point nearly the sum over all points j of exp(-|f_i - f_j|^2 / 2) values_j, times a factor
    that is the same everywhere but near the ends of the cloud; divide by the filter of ones for means.

    features: (n, d), d from 1 to 16, in units of the Gaussian's deviation; values: (n, c); float32 or
    float64. Returns (n, c). Time and memory are linear in n. transpose: the adjoint filter, whose blurs
    come in the other order. Gradients are those of values; features have none, as the lattice is no
    smooth function of them. ValueError where sizes differ, or for features that are not finite or
    beyond 2^20.
    """
    check(tuple(features.shape), tuple(values.shape))
    return PERMUTOHEDRAL(features, values, reverse=bool(transpose), out=out)


@lru_cache(4096)
def check(features, values):
    if len(features) != 2 or len(values) != 2 or features[0] != values[0] or not 1 <= features[1] <= MOST_FEATURES:
        raise ValueError(f"permutohedral_filter: needs features (n, 1 to {MOST_FEATURES}) and values (n, c), got "
                         f"{features} and {values}")


def refuse_far(features, *_, **__):
    """ValueError where points are nowhere; in a program they become NaN."""
    if isinstance(features, np.ndarray) and not (np.abs(features) <= FARTHEST).all():
        raise ValueError(f"permutohedral: features must be finite and at most {FARTHEST:.0f} in size, got "
                         f"{np.abs(features).max():g}")


def forward(k, features, values, *, reverse):
    refuse_far(k.host(features))
    y = k.empty(values.shape)
    k.permutohedral(features, values, reverse, y)
    return y


def gradient(ctx: Context):
    if ctx.needs[0]:
        raise ValueError("permutohedral: features have no gradient, only values have")
    return None, PERMUTOHEDRAL(ctx.inputs[0], ctx.g, reverse=not ctx.attrs["reverse"])


PERMUTOHEDRAL = Op(
    "permutohedral", "rr", forward, reference.permutohedral, gradient, refuse_far,
    kernels=("permutohedral",),
    shapes=lambda features, values, **_: (values,),
    flops=lambda features, values, **_: 4 * (features.shape[1] + 1) * values.size,
    bytes=lambda features, values, **_: features.nbytes + 2 * values.nbytes,
    todo={"per_sample": "points are each other's neighbours"})
