"""Pooling, each in one, two and three spatial axes."""
from __future__ import annotations

from .layer import Layer, Size


class _MaxPool(Layer):
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    dilation: Size = 1
    return_indices: bool = False
    ceil_mode: bool = False


class MaxPool1d(_MaxPool, of="max_pool1d"):
    """The maximum of each window, with its index when return_indices."""


class MaxPool2d(_MaxPool, of="max_pool2d"):
    """The maximum of each window, with its index when return_indices."""


class MaxPool3d(_MaxPool, of="max_pool3d"):
    """The maximum of each window, with its index when return_indices."""


class _MaxUnpool(Layer):
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0


class MaxUnpool1d(_MaxUnpool, of="max_unpool1d"):
    """Puts values back where max_pool1d's indices took them from, zeros elsewhere. Call with
    (input, indices[, output_size=])."""


class MaxUnpool2d(_MaxUnpool, of="max_unpool2d"):
    """Puts values back where max_pool2d's indices took them from, zeros elsewhere. Call with
    (input, indices[, output_size=])."""


class MaxUnpool3d(_MaxUnpool, of="max_unpool3d"):
    """Puts values back where max_pool3d's indices took them from, zeros elsewhere. Call with
    (input, indices[, output_size=])."""


class AvgPool1d(Layer, of="avg_pool1d"):
    """The mean of each window."""
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    ceil_mode: bool = False
    count_include_pad: bool = True


class _AvgPool(Layer):
    kernel_size: Size
    stride: Size | None = None
    padding: Size = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


class AvgPool2d(_AvgPool, of="avg_pool2d"):
    """The mean of each window, or its sum over divisor_override."""


class AvgPool3d(_AvgPool, of="avg_pool3d"):
    """The mean of each window, or its sum over divisor_override."""


class _LPPool(Layer):
    norm_type: float
    kernel_size: Size
    stride: Size | None = None
    ceil_mode: bool = False


class LPPool1d(_LPPool, of="lp_pool1d"):
    """(sum of x^norm_type over the window)^(1/norm_type)."""


class LPPool2d(_LPPool, of="lp_pool2d"):
    """(sum of x^norm_type over the window)^(1/norm_type)."""


class LPPool3d(_LPPool, of="lp_pool3d"):
    """(sum of x^norm_type over the window)^(1/norm_type)."""


class _AdaptiveAvgPool(Layer):
    output_size: Size | tuple[int | None, ...]


class AdaptiveAvgPool1d(_AdaptiveAvgPool, of="adaptive_avg_pool1d"):
    """Means over windows that divide the input into output_size parts."""


class AdaptiveAvgPool2d(_AdaptiveAvgPool, of="adaptive_avg_pool2d"):
    """Means over windows that divide the input into output_size parts."""


class AdaptiveAvgPool3d(_AdaptiveAvgPool, of="adaptive_avg_pool3d"):
    """Means over windows that divide the input into output_size parts."""


class _AdaptiveMaxPool(Layer):
    output_size: Size | tuple[int | None, ...]
    return_indices: bool = False


class AdaptiveMaxPool1d(_AdaptiveMaxPool, of="adaptive_max_pool1d"):
    """Maxima over windows that divide the input into output_size parts."""


class AdaptiveMaxPool2d(_AdaptiveMaxPool, of="adaptive_max_pool2d"):
    """Maxima over windows that divide the input into output_size parts."""


class AdaptiveMaxPool3d(_AdaptiveMaxPool, of="adaptive_max_pool3d"):
    """Maxima over windows that divide the input into output_size parts."""
