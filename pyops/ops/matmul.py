"""Matrix products: matmul with broadcasting, and the fully connected layer."""
from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Context
from ..core.types import Arrays
from .broadcast import contiguous
from .result_shapes import broadcast
from .shape import broadcast_to

reference = LateFunctions("pyops.kernels.gemm.reference")

__all__ = ["matmul", "linear", "bmm"]


def matmul(input: Arrays, other: Arrays, *, out: Arrays | None = None) -> Arrays:
    """The matrix product over the last two axes; leading axes broadcast.

    input: (..., M, K) or (K,), other: (..., K, N) or (K,), float32 or float64. A 1-D operand is a
    row (first) or a column (second) whose axis is dropped from the result. Raises ValueError where
    K differs or leading axes do not broadcast.
    """
    if getattr(input, "prepares_weights", False) or getattr(other, "prepares_weights", False):
        input, other = expanded(input, other)
    return MATMUL(input, other, out=out)


def expanded(a, b):
    """The operands of a product to be compiled: where both are broadcast that is an op of its own,
    since a program cannot run NumPy."""
    ma, mb, lead, _, _ = plan(tuple(a.shape), tuple(b.shape))
    return tuple(x if math.prod(m[:-2]) == 1 or m[:-2] == lead else broadcast_to(x, lead + m[-2:])
                 for x, m in ((a, ma), (b, mb)))


def bmm(input: Arrays, mat2: Arrays, *, out: Arrays | None = None) -> Arrays:
    """matmul of (B, M, K) and (B, K, N)."""
    if len(input.shape) != 3 or len(mat2.shape) != 3 or input.shape[0] != mat2.shape[0]:
        raise ValueError(
            f"bmm: needs (B, M, K) and (B, K, N), got {tuple(input.shape)} and {tuple(mat2.shape)}")
    return MATMUL(input, mat2, out=out)


def linear(input: Arrays, weight: Arrays, bias: Arrays | None = None, *, out: Arrays | None = None) -> Arrays:
    """input @ weight.T + bias: a fully connected layer.

    input: (..., features), float32 or float64; weight: (outputs, features), or (features,) for
    a single output without an axis; bias: (outputs,), or () then, or None. Raises ValueError
    where they do not fit.
    """
    return LINEAR(input, weight, bias, out=out)


# ---- matmul

def check_matmul(a, b):
    return plan(a.shape, b.shape)


@lru_cache(4096)
def plan(a, b):
    """Validates; returns the operands' and the product's shape as batches of matrices, and
    the result's shape."""
    if not a or not b:
        raise ValueError(f"matmul: operands need at least one axis, got {a} and {b}")
    ma, mb = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    if ma[-1] != mb[-2]:
        raise ValueError(f"matmul: {a} and {b} do not fit: the reduced axes are {ma[-1]} and {mb[-2]}")
    try:
        lead = broadcast(ma[:-2], mb[:-2])[0]
    except ValueError:
        raise ValueError(f"matmul: the leading axes of {a} and {b} do not broadcast") from None
    result = lead + ((ma[-2],) if len(a) > 1 else ()) + ((mb[-1],) if len(b) > 1 else ())
    return ma, mb, lead, (math.prod(lead), ma[-2], mb[-1]), result


def as_batch(x, matrix, lead):
    """x as (batch, rows, columns), with a batch of 1 where all of the product's matrices
    meet the same one."""
    if math.prod(matrix[:-2]) == 1:
        return x.reshape(1, *matrix[-2:])
    if matrix[:-2] == lead:
        return x.reshape(math.prod(lead), *matrix[-2:])
    return contiguous(np.broadcast_to(x.reshape(matrix), lead + matrix[-2:])).reshape(math.prod(lead), *matrix[-2:])


@lru_cache(4096)
def batches(a, b):
    """The shapes in which operands and product are given to the kernel, where none is to be repeated first."""
    ma, mb, lead, product, _ = plan(a, b)
    # one matrix on the right: the batch is more rows on the left
    if math.prod(mb[:-2]) == 1 and len(ma) > 2:
        rows = product[0] * product[1]
        return (1, rows, ma[-1]), (1, *mb[-2:]), (1, rows, mb[-1])
    counts = [math.prod(m[:-2]) for m in (ma, mb)]
    if any(n != 1 and m[:-2] != lead for n, m in zip(counts, (ma, mb))):
        return None
    return (counts[0], *ma[-2:]), (counts[1], *mb[-2:]), product


def matmul_forward(k, a, b):
    ma, mb, lead, product, shape = plan(a.shape, b.shape)
    c = k.empty(shape)
    shapes = batches(a.shape, b.shape)
    if shapes is None:
        k.gemm(as_batch(a, ma, lead), as_batch(b, mb, lead), False, False, c.reshape(product))
    else:
        left, right, result = shapes
        k.gemm(a if a.shape == left else a.reshape(left), b if b.shape == right else b.reshape(right),
               False, False, c if shape == result else c.reshape(result))
    return c


def matmul_gradient(ctx: Context):
    a, b = ctx.inputs
    return (MATMUL_GRADIENT(ctx.g, a, b, side=0) if ctx.needs[0] else None,
            MATMUL_GRADIENT(ctx.g, a, b, side=1) if ctx.needs[1] else None)


def reduced(products, matrix, lead):
    """Products over all leading axes, summed over those that the operand was broadcast along."""
    if products.shape[0] == 1 or matrix[:-2] == lead:
        return products
    full = products.reshape(*lead, *matrix[-2:])
    padded = (1,) * (len(lead) - len(matrix) + 2) + tuple(matrix[:-2])
    return full.sum(tuple(i for i, (p, own) in enumerate(zip(padded, lead)) if p == 1 and own != 1),
                    keepdims=True)


def matmul_gradient_forward(k, dy, a, b, *, side):
    """dA = dC B^T (side 0) or dB = A^T dC (side 1)."""
    ma, mb, lead, product, _ = check_matmul(a, b)
    g, left, right = dy.reshape(product), as_batch(a, ma, lead), as_batch(b, mb, lead)
    if side == 0:
        grad = k.empty((product[0], *ma[-2:]))
        k.gemm(g, right, False, True, grad)
        return contiguous(reduced(grad, ma, lead).reshape(a.shape))
    # one matrix on the right: sum over the batch is part of the reduction
    if left.shape[0] > 1 and math.prod(mb[:-2]) == 1:
        grad = k.empty((1, *mb[-2:]))
        rows = product[0] * product[1]   # there may be none
        k.gemm(left.reshape(1, rows, ma[-1]), g.reshape(1, rows, mb[-1]), True, False, grad)
        return grad.reshape(b.shape)
    grad = k.empty((product[0], *mb[-2:]))
    k.gemm(left, g, True, False, grad)
    return contiguous(reduced(grad, mb, lead).reshape(b.shape))


def reference_matmul_gradient(dy, a, b, *, side):
    ma, mb, lead, product, _ = check_matmul(a, b)
    g = dy.reshape(*lead, *product[1:])
    a2, b2 = a.reshape(ma), b.reshape(mb)
    if side == 0:
        return unbroadcast(g @ b2.swapaxes(-1, -2), ma).reshape(a.shape)
    return unbroadcast(a2.swapaxes(-1, -2) @ g, mb).reshape(b.shape)


def unbroadcast(x, shape):
    x = x.sum(tuple(range(x.ndim - len(shape))))
    return x.sum(tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1), keepdims=True)


# ---- linear

def check_linear(x, weight, bias):
    return linear_plan(x.shape, weight.shape, None if bias is None else bias.shape)


@lru_cache(4096)
def linear_plan(x, weight, bias):
    """Validates; returns the result's shape."""
    if len(weight) not in (1, 2) or not x or x[-1] != weight[-1]:
        raise ValueError(f"linear: input {x} and weight {weight} do not fit: the last axes must be equal, "
                         "weight (outputs, features)")
    if bias is not None and bias != weight[:-1]:
        raise ValueError(f"linear: bias {bias} must be {weight[:-1]} for weight {weight}")
    return x[:-1] + weight[:-1]


def linear_forward(k, x, weight, bias):
    y = k.empty(check_linear(x, weight, bias))
    k.linear(x, weight if weight.ndim == 2 else weight[None], bias, y)
    return y


def linear_gradient(ctx: Context):
    x, weight, bias = ctx.inputs
    need_x, need_w, need_b = ctx.needs
    return (LINEAR_INPUT_GRADIENT(ctx.g, weight) if need_x else None,
            LINEAR_WEIGHT_GRADIENT(ctx.g, x) if need_w else None,
            ROW_SUM(ctx.g, axes=len(weight.shape) - 1) if need_b else None)


def one_matrix(x, leading):
    """x as a batch of one matrix; its first `leading` axes become the rows."""
    return x.reshape(1, math.prod(x.shape[:leading]), math.prod(x.shape[leading:]))


def linear_input_gradient_forward(k, dy, weight):
    w = weight if weight.ndim == 2 else weight[None]
    dx = k.empty((*(dy.shape[:-1] if weight.ndim == 2 else dy.shape), w.shape[1]))
    k.gemm(one_matrix(dy, dx.ndim - 1), w[None], False, False, one_matrix(dx, dx.ndim - 1))
    return dx


def linear_weight_gradient_forward(k, dy, x):
    single = dy.ndim < x.ndim
    outputs = 1 if single else dy.shape[-1]
    dw = k.empty((outputs, x.shape[-1]))
    k.gemm(one_matrix(dy, x.ndim - 1), one_matrix(x, x.ndim - 1), True, False, dw[None])
    return dw[0] if single else dw


def row_sum_forward(k, dy, *, axes):
    """Sums over all but the last `axes` (0 or 1) axes."""
    matrix = one_matrix(dy, dy.ndim - axes)
    total = k.empty(dy.shape[dy.ndim - axes:])
    k.gemm(np.ones((1, 1, matrix.shape[1]), k.dtype), matrix, False, False,
           total.reshape(1, 1, matrix.shape[2]))
    return total


def reference_linear_input_gradient(dy, weight):
    return dy @ weight if weight.ndim == 2 else dy[..., None] * weight


def reference_linear_weight_gradient(dy, x):
    if dy.ndim < x.ndim:
        return np.tensordot(dy, x, dy.ndim)
    return one_matrix(dy, x.ndim - 1)[0].T @ one_matrix(x, x.ndim - 1)[0]


def reference_row_sum(dy, *, axes):
    return dy.sum(tuple(range(dy.ndim - axes)))


def linear_input_gradient_gradient(ctx: Context):
    dy, weight = ctx.inputs
    return (LINEAR(ctx.g, weight, None) if ctx.needs[0] else None,
            LINEAR_WEIGHT_GRADIENT(dy, ctx.g) if ctx.needs[1] else None)


def linear_weight_gradient_gradient(ctx: Context):
    dy, x = ctx.inputs
    return (LINEAR(x, ctx.g, None) if ctx.needs[0] else None,
            LINEAR_INPUT_GRADIENT(dy, ctx.g) if ctx.needs[1] else None)


def matmul_macs(a, b):
    ma, _, _, product, _ = check_matmul(a, b)
    return math.prod(product) * ma[-1]


def matmul_gradient_gradient(ctx: Context):
    """Of dA, linear in dC and B, or of dB, linear in dC and A."""
    dy, a, b = ctx.inputs
    product = ((ctx.g, b) if ctx.attrs["side"] == 0 else (a, ctx.g))
    need_a, need_b = ctx.needs[1] and ctx.attrs["side"] == 1, ctx.needs[2] and ctx.attrs["side"] == 0
    return (MATMUL(*product) if ctx.needs[0] else None,
            MATMUL_GRADIENT(dy, *product, side=0) if need_a else None,
            MATMUL_GRADIENT(dy, *product, side=1) if need_b else None)


def row_sum_gradient(ctx: Context):
    return (broadcast_to(ctx.g, tuple(ctx.inputs[0].shape)),)


MATMUL_GRADIENT = Op("matmul_gradient", "rrr", matmul_gradient_forward, reference_matmul_gradient,
                     matmul_gradient_gradient, kernels=("gemm",))
LINEAR_INPUT_GRADIENT = Op("linear_input_gradient", "rr", linear_input_gradient_forward,
                           reference_linear_input_gradient, linear_input_gradient_gradient, kernels=("gemm",))
LINEAR_WEIGHT_GRADIENT = Op("linear_weight_gradient", "rr", linear_weight_gradient_forward,
                            reference_linear_weight_gradient,
                            linear_weight_gradient_gradient, kernels=("gemm",))
ROW_SUM = Op("row_sum", "r", row_sum_forward, reference_row_sum, row_sum_gradient, kernels=("gemm",))


def matmul_shapes(a, b):
    ma, mb = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    lead = broadcast(ma[:-2], mb[:-2])[0] if len(ma) > 2 or len(mb) > 2 else ()
    return (lead + ((ma[-2],) if len(a) > 1 else ()) + ((mb[-1],) if len(b) > 1 else ()),)


MATMUL = Op("matmul", "rr", matmul_forward, reference.matmul, matmul_gradient, check_matmul,
            kernels=("gemm",), macs=matmul_macs,
            bytes=lambda a, b: a.nbytes + b.nbytes + math.prod(plan(a.shape, b.shape)[4]) * a.itemsize,
            shapes=matmul_shapes, todo={"per_sample": "either operand may be shared by all samples"})

LINEAR = Op(
    "linear", "rro", linear_forward, reference.linear, linear_gradient, check_linear, kernels=("linear",),
    macs=lambda x, w, b: x.size * (w.size // max(1, w.shape[-1])), applies=frozenset({"activation"}),
    per_sample=lambda shape: len(shape) > 1, filter_axis=0,
    shapes=lambda x, w, b: ((*x[:-1], *w[:-1]),), bytes=lambda x, w, b: x.nbytes + w.nbytes
    + x.size // max(1, x.shape[-1]) * (w.size // max(1, w.shape[-1])) * x.itemsize)
