"""Grids of local_response_norm: threads along pixels, stretches of channels across."""
import math

import numpy as np

from ...cuda.arguments import ACC

__all__ = ["local_response_norm", "local_response_norm_backward"]

FILE = "local_response_norm/cuda.cu"
STRETCH = 16   # channels of a thread


def over_pixels(device, kernel, args, x):
    samples, channels, pixels = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    stretch = max(STRETCH, -(-channels // 65535))
    device.launch(FILE, kernel, (-(-samples * pixels // 256), -(-channels // stretch)), (256,),
                  (*args, np.int64(samples * pixels), channels, np.int64(pixels), stretch))


def window(x, size):
    """Channels before and after the middle one; more than there are change nothing."""
    return min(size // 2, x.shape[1]), min((size - 1) // 2, x.shape[1])


def local_response_norm(device, x, size, alpha, beta, k, y):
    if x.size:
        over_pixels(device, "lrn", (x, *window(x, size), float(alpha / size), float(beta), float(k), y), x)


def local_response_norm_backward(device, dy, x, size, alpha, beta, k, dx):
    if not x.size:
        return
    terms, direct = (device.empty(x.shape, ACC[device.real]) for _ in range(2))
    reach = window(x, size)
    over_pixels(device, "lrn_backward_terms",
                (dy, x, *reach, float(alpha / size), float(beta), float(k), terms, direct), x)
    over_pixels(device, "lrn_backward", (terms, direct, x, *reach, float(2 * beta * alpha / size), dx), x)
