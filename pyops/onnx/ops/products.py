"""Matrix products."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F
from .row import known, op, rank, real, traced
from .shape import broadcast_shape

SLOW = 32  # multiply-adds of ours in the time of one of NumPy's own loops


def cost_of(operand) -> int:
    return 1 if real(operand) else SLOW


def product_of(call, a, b):
    """Checks the shapes of matmul's operands; returns what they come to."""
    if not rank(a) or not rank(b):
        raise ValueError(f"operands of shapes {tuple(a.shape)} and {tuple(b.shape)} have no matrices")
    left, right = (
        (1, *a.shape) if rank(a) == 1 else tuple(a.shape),
        (*b.shape, 1) if rank(b) == 1 else tuple(b.shape),
    )
    if left[-1] != right[-2]:
        raise ValueError(f"operands of shapes {tuple(a.shape)} and {tuple(b.shape)} do not multiply")
    shape = call.room((*broadcast_shape(left[:-2], right[:-2]), left[-2], right[-1]), a.dtype, copies=2)
    call.work(math.prod(shape) * left[-1] * cost_of(a))
    return tuple(
        s
        for i, s in enumerate(shape)
        if not (i == len(shape) - 2 and rank(a) == 1 or i == len(shape) - 1 and rank(b) == 1)
    )


@op("MatMul")
def matmul(call):
    a, b = call.inputs
    shape = product_of(call, a, b)
    if not traced(a, b) and (0 in a.shape or 0 in b.shape):
        return np.zeros(shape, a.dtype)
    if not real(a, b):
        return np.matmul(a, b)
    return (
        F.linear(a, b.T if traced(a) else np.ascontiguousarray(b.T))   # which is packed from where it lies
        if not traced(b) and b.ndim == 2 and rank(a) >= 2
        else F.matmul(a, b)
    )


@op("Gemm")
def gemm(call):
    a, b, c = call[0], call[1], call[2]
    alpha, beta = call.attr("alpha", 1.0), call.attr("beta", 1.0)
    if rank(a) != 2 or rank(b) != 2:
        raise ValueError(f"takes two matrices, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    if call.attr("transA", 0):
        a = F.transpose(a, 0, 1) if traced(a) else np.ascontiguousarray(a.T)
    turned = bool(call.attr("transB", 0))
    shape = (a.shape[0], b.shape[0 if turned else 1])
    if (
        a.shape[1] != b.shape[1 if turned else 0]
        or c is not None
        and broadcast_shape(shape, tuple(c.shape)) != shape
    ):
        raise ValueError(
            f"operands come to shapes {tuple(a.shape)} and {tuple(b.shape[::-1] if turned else b.shape)}"
            f"{'' if c is None else f', C to {tuple(c.shape)}'}, which do not fit"
        )
    call.room(shape, a.dtype, copies=3)
    call.work(shape[0] * shape[1] * a.shape[1] * cost_of(a))
    if not real(a, b):
        y = a @ (b.T if turned else b)
        y = (
            y if alpha == 1 else alpha * y
        )  # one is left out: by way of floats large numbers would lose their last digits
        return (y if c is None else y + (c if beta == 1 else beta * c)).astype(a.dtype, copy=False)
    bias = c is not None and not traced(c) and beta == 1 and alpha == 1 and c.ndim == 1 and c.size == shape[1]
    if not traced(b):
        b = b if turned else b.T
        y = F.linear(a, b if traced(a) else np.ascontiguousarray(b), c if bias else None)
    else:
        y = F.matmul(a, F.transpose(b, 0, 1) if turned else b)
        bias = False
    y = y if alpha == 1 else F.mul(y, alpha)
    return y if c is None or bias or beta == 0 else F.add(y, c if beta == 1 else F.mul(c, beta))


@op("Einsum")
def einsum(call):
    equation = call.attr("equation").replace(" ", "")
    if len(equation) > 256:
        raise ValueError(f"an equation has at most 256 letters, got {len(equation)}")
    terms, sizes = equation.split("->")[0].split(","), {}
    for term, x in zip(terms, call.inputs):
        letters = term.replace("...", "")
        sizes.update({n: max(sizes.get(n, 1), s) for n, s in zip(letters, x.shape) if "..." not in term})
        if "..." in term:   # of which axes hidden ones are, F.einsum says; no more than all of them
            sizes.update({(term, i): s for i, s in enumerate(x.shape)})
    call.work(len(call.inputs) * math.prod(sizes.values()))
    named = equation.split("->")[1] if "->" in equation else [n for n in sizes if equation.count(str(n)) == 1]
    call.room([sizes[n] for n in named if n in sizes])
    return F.einsum(equation, *call.inputs)


@op("Det")
def det(call):
    x = known(call[0], "the operand")
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"takes square matrices, got shape {x.shape}")
    call.work(x.size * x.shape[-1])
    return np.asarray(np.linalg.det(x), x.dtype)
