"""Chains of calls that compiled programs compute on bytes where that is fast (graph/passes/bytes_products.py).

Scales are powers of two, so that every number on the way is exact and nothing depends on who computes it.
"""
import numpy as np

from ...core.cases import A, chain


def whole(*shape, low=-127, high=128):
    """Weights of whole numbers."""
    return np.random.default_rng(sum(shape)).integers(low, high, shape).astype(np.float32)


W1, W2, W3 = whole(24, 20, 3, 3), whole(33, 24, 1, 1), whole(20, 20)
B1, UNSIGNED = whole(24, low=-999, high=999), whole(24, 20, 3, 3, low=-40, high=216)


def bytes_of(F, x, scale=2.0**-5, zero=7, dtype="uint8"):
    return F.dequantize_linear(F.quantize_linear(x, scale, zero, dtype), 1.0, zero)


def again(F, y, scale, zero=3, dtype="uint8"):
    """Sums times a scale, quantised, as QLinearConv has it."""
    return bytes_of(F, F.mul(y, np.float32(scale)), 1.0, zero, dtype)


def residual(dtype):
    def f(F, x):
        x = bytes_of(F, x, 2.0**-5, 7, dtype)
        y = again(F, F.conv2d(x, W1, B1, padding=1), 2.0**-9, 3, dtype)
        z = again(F, F.conv2d(again(F, F.conv2d(y, W2), 2.0**-9, 5, dtype), whole(24, 33, 1, 1)), 2.0**-8, 0, dtype)
        return bytes_of(F, F.relu(F.add(y, z)), 2.0, 0, dtype)
    return f


def through_a_table(F, x):
    y = again(F, F.conv2d(bytes_of(F, x), W1, stride=2), 2.0**-9, 128)
    return F.conv2d(bytes_of(F, F.relu(F.mul(y, np.float32(0.5))), 1.0, 1), W2), F.neg(F.abs(y))


def dynamic(F, x):
    """By numbers of the run: powers of two and whole numbers."""
    most, least = F.amax(x), F.amin(x)
    scale = F.mul(F.add(F.sign(most), 1.0), 2.0**-6)
    zero = F.add(F.mul(F.sign(least), -4.0), 4.0)
    y = F.conv2d(F.dequantize_linear(F.quantize_linear(x, scale, zero, "uint8"), 1.0, zero), UNSIGNED)
    return F.relu(F.mul(y, scale))


def rows(F, x):
    y = again(F, F.linear(bytes_of(F, x), W3), 2.0**-9)
    return F.relu(F.linear(y, W3))


def parts(F, x):
    """Of a value that others move as bytes."""
    q = F.quantize_linear(x, 2.0**-5, -3, "int8")
    halves = [F.getitem(q, (slice(None), slice(k, k + 10))) for k in (0, 10)]
    w = whole(24, 10, 1, 1)
    return F.mul(F.add(*(F.conv2d(F.dequantize_linear(v, 1.0, -3), w) for v in halves)), np.float32(2.0**-9))


CHAINS = {"quantise": [
    chain("parts of a value", parts, A(2, 20, 9, 11)),
    chain("a residual block of uint8", residual("uint8"), A(2, 20, 9, 11)),
    chain("a residual block of int8", residual("int8"), A(2, 20, 9, 11)),
    chain("functions of bytes", through_a_table, A(2, 20, 9, 11)),
    chain("a scale of the run, and weights of uint8", dynamic, A(2, 20, 9, 11), batch=False),
    chain("linear layers", rows, A(3, 5, 20)),
]}
