"""Matrix products."""

from __future__ import annotations

import numpy as np

from .draw import FLOATS, recipe


@recipe("MatMul")
def matmul(d, op):
    n, k, m = (d.r.randint(0 if d.chance(0.05) else 1, 6) for _ in range(3))
    dtype = d.pick(*FLOATS, np.dtype("int32"), np.dtype("int64"), np.dtype("uint32"))
    lead = d.shape(0, 2)
    left = (k,) if d.chance(0.15) else (*d.broadcasting(lead), n, k)
    right = (k,) if d.chance(0.15) else (*d.broadcasting(lead), k, m)
    d.operand(left, dtype)
    d.operand(right, dtype, 0.5)
    return {}


@recipe("Gemm")
def gemm(d, op):
    n, k, m = (d.r.randint(0 if d.chance(0.05) else 1, 6) for _ in range(3))
    dtype = d.pick(*FLOATS[:5], np.dtype("int32"), np.dtype("int64"))
    ta, tb = d.pick(0, 1), d.pick(0, 1)
    small = lambda s: d.given(d.n.integers(-99, 99, s).astype(dtype), d.chance(0.5))  # noqa: E731
    if dtype.kind == "i":  # the reference multiplies by alpha in floats
        d.operand = lambda shape, dtype, constant=0: small(shape)
    d.operand((k, n) if ta else (n, k), dtype)
    d.operand((m, k) if tb else (k, m), dtype, 0.7)
    if d.chance(0.6):
        d.operand(d.broadcasting((n, m)), dtype, 0.7)
    whole = dtype.kind == "i"
    return {
        "transA": ta,
        "transB": tb,
        "alpha": 1.0 if whole else d.pick(1.0, 0.5),
        "beta": 1.0 if whole else d.pick(1.0, 2.0, 0.0),
    }


@recipe("Einsum")
def einsum(d, op):
    equation, shapes = d.pick(
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("...ij,...jk->...ik", ((2, 2, 3), (3, 4))),
        ("ii->i", ((3, 3),)),
        ("ij->", ((2, 3),)),
        ("bij,bjk", ((2, 2, 3), (2, 3, 4))),
        ("i,j,k->kij", ((2,), (3,), (4,))),
        ("...->...", ((2, 0),)),
    )
    dtype = d.pick(*FLOATS[:5])
    for shape in shapes:
        d.operand(shape, dtype)
    return {"equation": equation}
