"""group_norm in NumPy: the definition. Wu & He, "Group Normalization" (2018)."""
import numpy as np

from ..batch_norm.reference import affine, over_channels, per_channel


def grouped(x, groups):
    """x as (samples, groups, values of a group)."""
    return x.reshape(x.shape[0], groups, x[:1].size // max(len(x[:1]), 1) // groups)


def mean_of(g):
    """Over a group; of no values it is 0."""
    return g.sum(2, keepdims=True) / max(g.shape[2], 1)


def group_norm(x, weight, bias, *, groups, eps):
    """Returns y, and mean and biased variance as (samples, groups)."""
    g = grouped(x, groups)
    mean = mean_of(g)
    var = mean_of((g - mean) ** 2)
    return affine(((g - mean) / np.sqrt(var + eps)).reshape(x.shape), weight, bias), mean[..., 0], var[..., 0]


def group_norm_backward(dy, x, weight, mean, var, *, groups, eps):
    """Returns dx, dweight, dbias."""
    rstd = 1 / np.sqrt(var[..., None] + eps)
    n = (grouped(x, groups) - mean[..., None]) * rstd
    g = grouped(dy if weight is None else dy * per_channel(weight, x), groups)
    dx = rstd * (g - mean_of(g) - n * mean_of(g * n))
    axes = over_channels(x)
    return dx.reshape(x.shape), (dy * n.reshape(x.shape)).sum(axes), dy.sum(axes)
