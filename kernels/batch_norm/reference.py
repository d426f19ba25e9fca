"""batch_norm in NumPy: the definition. Ioffe & Szegedy, "Batch Normalization" (2015)."""
import numpy as np


def per_channel(v, x):
    """A vector of channels, shaped to broadcast against x."""
    return v.reshape((1, -1) + (1,) * (x.ndim - 2))


def over_channels(x):
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def affine(x, weight, bias):
    if weight is not None:
        x = x * per_channel(weight, x)
    return x if bias is None else x + per_channel(bias, x)


def batch_norm(x, mean, var, weight, bias, *, eps):
    return affine((x - per_channel(mean, x)) / np.sqrt(per_channel(var, x) + eps), weight, bias)


def batch_norm_training(x, weight, bias, *, eps):
    """Returns y, and mean and biased variance per channel."""
    values = max(x.size // max(x.shape[1], 1), 1)   # of no values the statistics are 0
    mean = x.sum(over_channels(x)) / values
    var = ((x - per_channel(mean, x)) ** 2).sum(over_channels(x)) / values
    return batch_norm(x, mean, var, weight, bias, eps=eps), mean, var


def batch_norm_backward(dy, x, weight, mean, var, *, eps, training):
    """Returns dx, dweight, dbias. In training mean and var depend on x, else they are constants."""
    axes = over_channels(x)
    rstd = 1 / np.sqrt(per_channel(var, x) + eps)
    n = (x - per_channel(mean, x)) * rstd
    g = dy if weight is None else dy * per_channel(weight, x)
    share = training / max(x.size // max(x.shape[1], 1), 1)
    moved = share * (g.sum(axes, keepdims=True) + n * (g * n).sum(axes, keepdims=True))
    return rstd * (g - moved), (dy * n).sum(axes), dy.sum(axes)
