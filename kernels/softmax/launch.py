"""Grids of the softmax kernels: x is seen as (outer, n, inner)."""
import math

import numpy as np

__all__ = ["log_softmax", "log_softmax_backward", "softmax", "softmax_backward"]

FILE = "softmax/cuda.cu"
WARP, WIDE_WARP = 8 * 32, 32 * 32   # longest lines that a warp's registers hold


def along(device, kernel, arrays, dim, held, long):
    """held: values a thread of a block that holds its line, 0 where none does; long: the kernel of
    lines that nothing holds."""
    shape = arrays[0].shape
    outer, n, inner = math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1:])
    lines = outer * inner
    if lines * n == 0:
        return
    if inner > 1:
        device.launch(FILE, f"{kernel}_across", (-(-lines // 256),), (256,),
                      (*arrays, np.int64(outer), n, np.int64(inner)))
    elif n <= WIDE_WARP:
        device.launch(FILE, f"{kernel}_warp" if n <= WARP else f"{kernel}_wide_warp", (-(-lines // 8),), (32, 8),
                      (*arrays, np.int64(lines), n))
    elif n <= 1024 * held:
        device.launch(FILE, f"{kernel}_block", (lines,), (-(-n // held // 32) * 32,),
                      (*arrays, np.int64(lines), n))
    else:
        device.launch(FILE, long, (lines,), (1024 if n > 8192 else 256,), (*arrays, n))


def forward(device, kernel, x, dim, y):
    # values a thread, as BLOCK_VALUES in cuda.cu
    along(device, kernel, (x, y), dim, 8 if device.real == "f64" else 16, f"{kernel}_long")


def softmax(device, x, dim, y):
    forward(device, "softmax", x, dim, y)


def log_softmax(device, x, dim, y):
    forward(device, "log_softmax", x, dim, y)


def softmax_backward(device, dy, y, dim, dx):
    along(device, "softmax_backward", (dy, y, dx), dim, 0, "softmax_backward_block")


def log_softmax_backward(device, dy, y, dim, dx):
    along(device, "log_softmax_backward", (dy, y, dx), dim, 0, "log_softmax_backward_block")
