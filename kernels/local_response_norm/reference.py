"""local_response_norm in NumPy: the definition. Krizhevsky, Sutskever & Hinton (2012), section 3.3,
with torch's division by `size`."""
import numpy as np


def window_sums(v, before, after):
    """Sums over the channels c - before .. c + after, those outside counting as zero."""
    channels = v.shape[1]
    total = np.zeros_like(v)
    for shift in range(-min(before, channels), min(after, channels) + 1):
        total[:, max(0, -shift):channels - max(0, shift)] += v[:, max(0, shift):channels + min(0, shift)]
    return total


def denominator(x, size, alpha, k):
    return k + alpha / size * window_sums(x * x, size // 2, (size - 1) // 2)


def local_response_norm(x, *, size, alpha, beta, k):
    return x / denominator(x, size, alpha, k) ** beta


def local_response_norm_backward(dy, x, *, size, alpha, beta, k):
    d = denominator(x, size, alpha, k)
    shared = window_sums(dy * x / d ** (beta + 1), (size - 1) // 2, size // 2)   # the windows that hold c
    return dy / d ** beta - 2 * beta * alpha / size * x * shared
