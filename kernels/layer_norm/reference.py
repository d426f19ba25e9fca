"""layer_norm in NumPy: the definition. Ba, Kiros & Hinton, "Layer Normalization" (2016)."""
import numpy as np


def normalise(x, axes, eps):
    """(x - mean) / sqrt(var + eps) over `axes`, and the mean and reciprocal deviation (axes
    kept)."""
    mean = x.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)
    return (x - mean) * rstd, mean, rstd


def layer_norm(x, weight, bias, *, ndim, eps):
    """Returns y, and mean and rstd per row."""
    axes = tuple(range(x.ndim - ndim, x.ndim))
    y, mean, rstd = normalise(x, axes, eps)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y, mean.ravel(), rstd.ravel()


def layer_norm_backward(dy, x, weight, mean, rstd, *, ndim):
    """Returns dx, dweight, dbias (the last two of the normalised shape)."""
    axes, rows = tuple(range(x.ndim - ndim, x.ndim)), tuple(range(x.ndim - ndim))
    per_row = x.shape[:x.ndim - ndim] + (1,) * ndim
    rstd = rstd.reshape(per_row)
    n = (x - mean.reshape(per_row)) * rstd
    g = dy if weight is None else dy * weight
    dx = rstd * (g - g.mean(axes, keepdims=True) - n * (g * n).mean(axes, keepdims=True))
    return dx, (dy * n).sum(rows), dy.sum(rows)


def rms_norm(x, weight, *, ndim, eps):
    """Returns y, and 1 / root mean square per row. Zhang & Sennrich (2019)."""
    axes = tuple(range(x.ndim - ndim, x.ndim))
    count = max(int(np.prod(x.shape[x.ndim - ndim:])), 1)
    eps = np.finfo(x.dtype).eps if eps is None else eps
    rrms = 1 / np.sqrt((x * x).sum(axes, keepdims=True) / count + eps)
    return x * rrms if weight is None else x * rrms * weight, rrms.ravel()


def rms_norm_backward(dy, x, weight, rrms, *, ndim):
    """Returns dx and dweight (of the normalised shape)."""
    axes, rows = tuple(range(x.ndim - ndim, x.ndim)), tuple(range(x.ndim - ndim))
    rrms = rrms.reshape(x.shape[:x.ndim - ndim] + (1,) * ndim)
    n = x * rrms
    g = dy if weight is None else dy * weight
    count = max(int(np.prod(x.shape[x.ndim - ndim:])), 1)
    return rrms * (g - n * (g * n).sum(axes, keepdims=True) / count), (dy * n).sum(rows)
