"""Matrix products in NumPy."""
import numpy as np


def matmul(a, b):
    """a @ b over the last two axes, leading axes broadcast; 1-D operands as in numpy.matmul."""
    return np.matmul(a, b)


def linear(x, weight, bias):
    """x @ weight.T + bias: x (..., features), weight (outputs, features) or (features,)."""
    y = x @ weight.T if weight.ndim == 2 else x @ weight
    return y if bias is None else y + bias


def gemm(a, b, *, transpose_a, transpose_b):
    """Batched product of matrices (batch, m, k) and (batch, k, n); a batch of 1 meets every matrix
    of the other. transpose_* says that the operand is stored with its last two axes exchanged."""
    a = a.swapaxes(1, 2) if transpose_a else a
    b = b.swapaxes(1, 2) if transpose_b else b
    return np.matmul(a, b)


def linear_int8(x, weight, scale, bias):
    """linear of int8 (outputs, features), whose sums are in steps of scale (outputs,)."""
    y = linear(x, weight, None) * scale
    return y if bias is None else y + bias


def linear_int8_input_gradient(dy, weight, scale):
    return (dy * scale) @ weight
