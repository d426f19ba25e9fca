"""Matrix products."""
from __future__ import annotations

import numpy as np

from ... import functional as F
from .row import known, op, rank, real, traced


@op("MatMul")
def matmul(call):
    a, b = call.inputs
    if not real(a, b):
        return np.matmul(a, b)
    return F.linear(a, np.ascontiguousarray(b.T)) if not traced(b) and b.ndim == 2 and rank(a) >= 2 else F.matmul(a, b)


@op("Gemm")
def gemm(call):
    a, b, c = call[0], call[1], call[2]
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    if not real(a, b):
        a, b = (m.T if call.attr(name, 0) else m for m, name in ((a, "transA"), (b, "transB")))
        return (alpha * (a @ b) + (0 if c is None else beta * c)).astype(a.dtype)
    a = F.transpose(a, 0, 1) if call.attr("transA", 0) else a
    bias = c is not None and not traced(c) and beta == 1 and alpha == 1 and c.ndim == 1 and c.size == b.shape[0 if call.attr("transB", 0) else 1]
    if not traced(b):
        weight = b if call.attr("transB", 0) else np.ascontiguousarray(b.T)
        y = F.linear(a, weight, c if bias else None)
    else:
        y = F.matmul(a, F.transpose(b, 0, 1) if call.attr("transB", 0) else b)
        bias = False
    y = y if alpha == 1 else F.mul(y, alpha)
    return y if c is None or bias else F.add(y, c if beta == 1 else F.mul(c, beta))


@op("Einsum")
def einsum(call):
    return np.einsum(call.attr("equation").replace(" ", ""), *(known(v, "an operand") for v in call.inputs))


@op("Det")
def det(call):
    return np.asarray(np.linalg.det(known(call[0], "the operand")), call[0].dtype)
