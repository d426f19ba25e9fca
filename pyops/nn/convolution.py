"""Convolutions and transposed convolutions in one, two and three spatial axes."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..core.types import DType
from ..ops.spatial import axes
from . import init
from .layer import Size
from .module import Module, Parameter
from .sizes import whole


class _Convolution(Module):
    """What both kinds share: arguments as torch takes them, weight and bias, initialisation."""
    spatial: int
    function: str   # of pyops.functional
    padding: Any    # widths, or 'same' or 'valid'

    def _set(self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any,
             dilation: Any, groups: int, padding_mode: str) -> None:
        name, n = type(self).__name__, self.spatial
        whole(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name}: in_channels {in_channels} and out_channels {out_channels} must divide "
                             f"into groups {groups}")
        self.in_channels, self.out_channels, self.groups, self.padding_mode = (in_channels, out_channels,
                                                                               groups, padding_mode)
        self.kernel_size = axes(kernel_size, n, name, "kernel_size", 1)
        self.stride = axes(stride, n, name, "stride", 1)
        self.padding = padding if isinstance(padding, str) else axes(padding, n, name, "padding")
        self.dilation = axes(dilation, n, name, "dilation", 1)

    def _make(self, weight_shape: Any, bias: Any, dtype: DType) -> None:
        self.weight = Parameter(np.empty(weight_shape, dtype))
        self.bias = Parameter(np.empty(self.out_channels, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.like_linear(self.weight, self.bias)

    def extra_repr(self) -> str:
        said = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"]
        usual = {"padding": (0,) * self.spatial, "dilation": (1,) * self.spatial, "groups": 1,
                 "padding_mode": "zeros"}
        said += [f"{k}={getattr(self, k)!r}" for k, v in usual.items() if getattr(self, k) != v]
        return ", ".join(said + ([] if self.bias is not None else ["bias=False"]))


class _Conv(_Convolution):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
                 padding: Size | str = 0, dilation: Size = 1, groups: int = 1, bias: bool = True,
                 padding_mode: str = "zeros", *, dtype: DType = np.float32) -> None:
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(f"{type(self).__name__}: padding_mode must be zeros, reflect, replicate or "
                             f"circular, got {padding_mode!r}")
        self._set(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        if padding not in ("same", "valid") and isinstance(padding, str):
            raise ValueError(
                f"{type(self).__name__}: padding must be 'same', 'valid' or widths, got {padding!r}")
        if padding == "same" and max(self.stride) > 1:
            raise ValueError(f"{type(self).__name__}: padding 'same' needs stride 1, got {self.stride}")
        self._make((out_channels, in_channels // groups, *self.kernel_size), bias, dtype)

    def _sides(self) -> Any:
        """Padding as F.pad takes it: the last axis first, before and after."""
        if self.padding == "valid":
            return (0,) * (2 * self.spatial)
        if self.padding == "same":
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            pairs = [(t // 2, t - t // 2) for t in total]
        else:
            pairs = [(p, p) for p in self.padding]
        return tuple(width for pair in reversed(pairs) for width in pair)

    def forward(self, input: Any) -> Any:
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._sides(), self.padding_mode), 0
        return getattr(F, self.function)(input, self.weight, self.bias, self.stride, padding, self.dilation,
                                         self.groups)


class _ConvTranspose(_Convolution):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size = 1,
                 padding: Size = 0, output_padding: Size = 0, groups: int = 1, bias: bool = True,
                 dilation: Size = 1, padding_mode: str = "zeros", *, dtype: DType = np.float32) -> None:
        if padding_mode != "zeros":
            raise ValueError(f"{type(self).__name__}: padding_mode must be zeros, got {padding_mode!r}")
        self._set(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, padding_mode)
        self.output_padding = axes(output_padding, self.spatial, type(self).__name__, "output_padding")
        self._make((in_channels, out_channels // groups, *self.kernel_size), bias, dtype)

    def _padding_for(self, input_shape: Any, output_size: Any) -> Any:
        """The output_padding that makes the result output_size (its spatial axes)."""
        least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in
                 zip(input_shape[-self.spatial:], self.stride, self.padding, self.dilation, self.kernel_size)]
        extra = tuple(o - n for o, n in zip(output_size[-self.spatial:], least))
        if any(not 0 <= e < max(s, d) for e, s, d in zip(extra, self.stride, self.dilation)):
            raise ValueError(f"{type(self).__name__}: output_size {tuple(output_size)} cannot come from "
                             f"input {tuple(input_shape)}: the least is {tuple(least)}, the largest less "
                             "than one stride or dilation more")
        return extra

    def forward(self, input: Any, output_size: Any = None) -> Any:
        extra = self.output_padding if output_size is None else self._padding_for(input.shape, output_size)
        return getattr(F, self.function)(input, self.weight, self.bias, self.stride, self.padding, extra,
                                         self.groups, self.dilation)


class Conv1d(_Conv):
    """Cross-correlation over (N, C, L). weight: (out_channels, in_channels / groups, k)."""
    spatial, function = 1, "conv1d"


class Conv2d(_Conv):
    """Cross-correlation over (N, C, H, W). weight: (out_channels, in_channels / groups, kh, kw)."""
    spatial, function = 2, "conv2d"


class Conv3d(_Conv):
    """Cross-correlation over (N, C, D, H, W). weight: (out_channels, in_channels /
    groups, kd, kh, kw)."""
    spatial, function = 3, "conv3d"


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of Conv1d over (N, C, L). weight: (in_channels, out_channels / groups, k)."""
    spatial, function = 1, "conv_transpose1d"


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of Conv2d over (N, C, H, W). weight: (in_channels, out_channels / groups, kh,
    kw)."""
    spatial, function = 2, "conv_transpose2d"


class ConvTranspose3d(_ConvTranspose):
    """The adjoint of Conv3d over (N, C, D, H, W). weight: (in_channels, out_channels /
    groups, kd, kh, kw)."""
    spatial, function = 3, "conv_transpose3d"
