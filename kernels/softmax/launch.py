"""Grids of the softmax kernels: x is seen as (outer, n, inner)."""
import math

import numpy as np

__all__ = ["log_softmax", "log_softmax_backward", "softmax", "softmax_backward"]

FILE = "softmax/cuda.cu"
WARP_MOST = 1024   # longest line that one warp takes


def along(device, kernel, arrays, dim):
    shape = arrays[0].shape
    outer, n, inner = math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1:])
    lines = outer * inner
    if lines * n == 0:
        return
    if inner > 1:
        device.launch(FILE, f"{kernel}_across", (-(-lines // 256),), (256,),
                      (*arrays, np.int64(outer), n, np.int64(inner)))
    elif n <= WARP_MOST:
        device.launch(FILE, f"{kernel}_warp", (-(-lines // 8),), (256,), (*arrays, np.int64(lines), n))
    else:
        device.launch(FILE, f"{kernel}_block", (lines,), (1024 if n > 8192 else 256,), (*arrays, n))


def softmax(device, x, dim, y):
    along(device, "softmax", (x, y), dim)


def log_softmax(device, x, dim, y):
    along(device, "log_softmax", (x, y), dim)


def softmax_backward(device, dy, y, dim, dx):
    along(device, "softmax_backward", (dy, y, dx), dim)


def log_softmax_backward(device, dy, y, dim, dx):
    along(device, "log_softmax_backward", (dy, y, dx), dim)
