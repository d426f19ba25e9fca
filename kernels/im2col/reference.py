"""unfold (im2col) and its adjoint fold (col2im) in NumPy: the definition. Chellapilla,
Puri & Simard (2006).

A column block (N, C kh kw, L) holds, for every tap of the window and each of the L = OH OW places,
the value under that tap.
"""
import numpy as np


def taps(kernel, dilation, stride, places):
    """((i, j), slices of the padded image that the tap meets at all places), row by row."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield (i, j), tuple(slice(t * d, t * d + s * (o - 1) + 1, s)
                                for t, d, s, o in zip((i, j), dilation, stride, places))


def places(size, kernel, dilation, padding, stride):
    """Number of windows along each axis."""
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                 for n, k, d, p, s in zip(size, kernel, dilation, padding, stride))


def unfold(x, *, kernel, dilation, padding, stride):
    """y[.., c kh kw + i kw + j, o] = x[.., c, o stride + (i, j) dilation - padding], 0
    outside the image."""
    *lead, h, w = x.shape
    at = places((h, w), kernel, dilation, padding, stride)
    padded = np.pad(x, [(0, 0)] * len(lead) + [(p, p) for p in padding])
    y = np.empty((*lead, *kernel, *at), x.dtype)
    for (i, j), window in taps(kernel, dilation, stride, at):
        y[..., i, j, :, :] = padded[(..., *window)]
    return y.reshape(*lead[:-1], lead[-1] * kernel[0] * kernel[1], at[0] * at[1])


def fold(columns, *, size, kernel, dilation, padding, stride):
    """The sum at each pixel of what unfold copied from there; what fell on the
    padding is dropped."""
    at = places(size, kernel, dilation, padding, stride)
    *lead, rows, _ = columns.shape
    blocks = columns.reshape(*lead, rows // (kernel[0] * kernel[1]), *kernel, *at)
    padded = np.zeros((*blocks.shape[:-4], *(n + 2 * p for n, p in zip(size, padding))), columns.dtype)
    for (i, j), window in taps(kernel, dilation, stride, at):
        padded[(..., *window)] += blocks[..., i, j, :, :]
    return padded[..., padding[0]:padding[0] + size[0], padding[1]:padding[1] + size[1]]
