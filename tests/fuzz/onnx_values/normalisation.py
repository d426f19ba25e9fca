"""Normalisation."""

from __future__ import annotations

import numpy as np

from .draw import FLOATS, recipe


@recipe("LayerNormalization", "RMSNormalization")
def layer_norm(d, op):
    x = d.values(d.shape(1, empty=0), d.pick(*FLOATS[:5]))
    x = d.given(np.clip(np.nan_to_num(x.astype(float)), -9, 9).astype(x.dtype), False)
    axis = d.axis(x.ndim)
    scale = x.shape[axis % x.ndim :]
    d.given(d.n.standard_normal(scale).astype(x.dtype))
    if op == "LayerNormalization" and d.chance(0.5):
        d.given(d.n.standard_normal(scale).astype(x.dtype))
    d.opset = 23
    return {"axis": axis, "epsilon": d.pick(1e-5, 1e-2)}


@recipe("GroupNormalization")
def group_norm(d, op):
    g, c = d.r.randint(1, 3), d.r.randint(1, 3)
    dtype = d.pick(*FLOATS[:5])
    d.given(d.n.standard_normal((2, g * c, *d.shape(1, 2, empty=0))).astype(dtype), False)
    d.opset = d.pick(21, 22)
    for _ in range(2):
        d.given(d.n.standard_normal(g * c).astype(dtype))
    return {"num_groups": g}


@recipe("LRN")
def lrn(d, op):
    """As many samples as channels: the reference counts the one for the other."""
    c = d.r.randint(1, 6)
    d.given(d.n.standard_normal((c, c, *d.shape(2, 2, empty=0))).astype(d.pick(*FLOATS[:4])), False)
    return {
        "size": d.pick(1, 2, 3, 4, 5),
        "alpha": d.pick(1e-4, 0.1),
        "beta": d.pick(0.75, 0.5),
        "bias": d.pick(1.0, 2.0),
    }


@recipe("LpNormalization")
def lp_norm(d, op):
    x = d.values(d.shape(1, empty=0), d.pick(*FLOATS[:4]))
    x = d.given(np.nan_to_num(x, posinf=9, neginf=-9), False)
    return {"axis": d.axis(x.ndim), "p": 2}  # for 1 the reference adds values, not their sizes
