"""Normalisation layers."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..core.types import DType
from . import init
from .layer import Layer
from .module import Module, Parameter
from .sizes import whole


def _affine(module: Any, shape: Any, affine: bool, bias: bool, dtype: DType) -> None:
    """weight and bias of `shape` where wanted, then their start: ones and zeros."""
    module.weight = Parameter(np.empty(shape, dtype)) if affine else None
    module.bias = Parameter(np.empty(shape, dtype)) if affine and bias else None
    module.reset_parameters()


class _Normalisation(Module):
    weight: Parameter | None
    bias: Parameter | None
    said: tuple[str, ...]

    def reset_parameters(self) -> None:
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.said)


class _RunningStatistics(_Normalisation):
    """Per-channel statistics that follow the batches: running = (1 - momentum) * running
    + momentum * batch."""
    said = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    ranks: tuple[int, ...]
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(self, num_features: int, eps: float, momentum: float | None, affine: bool,
                 track_running_stats: bool, dtype: DType, bias: bool) -> None:
        whole(type(self).__name__, num_features=num_features)
        self.num_features, self.eps = num_features, eps
        self.momentum: Any = momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        _affine(self, num_features, affine, bias, dtype)
        self.register_buffer("running_mean", np.zeros(num_features, dtype) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features, dtype) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        if self.track_running_stats:
            self.running_mean[...], self.running_var[...], self.num_batches_tracked[...] = 0, 1, 0

    def _check_rank(self, input: Any) -> None:
        if len(input.shape) not in self.ranks:
            raise ValueError(f"{type(self).__name__}: input must have {' or '.join(map(str, self.ranks))} "
                             f"axes, got shape {tuple(input.shape)}")


class _BatchNorm(_RunningStatistics):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
                 affine: bool = True,
                 track_running_stats: bool = True, *, dtype: DType = np.float32, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, input: Any) -> Any:
        self._check_rank(input)
        momentum = self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked[...] += 1
            if momentum is None:   # the plain average of all batches
                momentum = 1 / int(self.num_batches_tracked)
        return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias,
                            self.training or self.running_mean is None, momentum or 0.0, self.eps)


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, statistics per channel of (N, C) or (N, C, L).
    Ioffe & Szegedy (2015)."""
    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, statistics per channel of (N, C, H, W).
    Ioffe & Szegedy (2015)."""
    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias, statistics per channel of (N, C, D, H, W).
    Ioffe & Szegedy (2015)."""
    ranks = (5,)


class _InstanceNorm(_RunningStatistics):
    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, *, dtype: DType = np.float32, bias: bool = True) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, input: Any) -> Any:
        self._check_rank(input)
        alone = len(input.shape) == self.ranks[0]   # one sample, without a batch axis
        shape = tuple(input.shape)
        x = F.reshape(input, (1, *shape)) if alone else input
        y = F.instance_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                            self.training or not self.track_running_stats, self.momentum, self.eps)
        return F.reshape(y, shape) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Each channel of each sample of (N, C, L) normalised by its own mean and variance.
    Ulyanov et al. (2016)."""
    ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Each channel of each sample of (N, C, H, W) normalised by its own mean and variance.
    Ulyanov et al. (2016)."""
    ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Each channel of each sample of (N, C, D, H, W) normalised by its own mean and variance.
    Ulyanov et al. (2016)."""
    ranks = (4, 5)


class LayerNorm(_Normalisation):
    """Each sample normalised over its last axes, of normalized_shape. Ba, Kiros & Hinton (2016)."""
    said = ("normalized_shape", "eps", "elementwise_affine")

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5,
                 elementwise_affine: bool = True, bias: bool = True, *, dtype: DType = np.float32) -> None:
        self.normalized_shape = ((normalized_shape,) if isinstance(normalized_shape, int)
                                 else tuple(normalized_shape))
        self.eps, self.elementwise_affine = eps, elementwise_affine
        _affine(self, self.normalized_shape, elementwise_affine, bias, dtype)

    def forward(self, input: Any) -> Any:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(_Normalisation):
    """Channels in num_groups groups, each group of each sample normalised. Wu & He (2018)."""
    said = ("num_groups", "num_channels", "eps", "affine")

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *,
                 dtype: DType = np.float32, bias: bool = True) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_channels {num_channels} must divide into num_groups {num_groups}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        _affine(self, num_channels, affine, bias, dtype)

    def forward(self, input: Any) -> Any:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class LocalResponseNorm(Layer, of="local_response_norm"):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta.
    Krizhevsky et al. (2012)."""
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
