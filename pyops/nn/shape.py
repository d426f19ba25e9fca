"""Layers that move values: flattening, padding, resampling, windows."""
from __future__ import annotations

from typing import Any

from .. import functional as F
from ..ops.spatial import axes
from .layer import Layer, Size
from .module import Module


class Flatten(Layer, of="flatten"):
    """Makes one axis of start_dim .. end_dim."""
    start_dim: int = 1
    end_dim: int = -1


class Upsample(Layer, of="interpolate"):
    """Resamples to `size`, or by scale_factor; mode: nearest, linear, bilinear,
    bicubic, trilinear."""
    size: Size | None = None
    scale_factor: float | tuple[float, ...] | None = None
    mode: str = "nearest"
    align_corners: bool | None = None
    recompute_scale_factor: bool | None = None


class Unfold(Layer, of="unfold"):
    """Windows of (N, C, H, W) as columns: (N, C * kh * kw, windows)."""
    kernel_size: Size
    dilation: Size = 1
    padding: Size = 0
    stride: Size = 1


class Fold(Layer, of="fold"):
    """Sums columns back into an image of output_size; the adjoint of Unfold."""
    output_size: Size
    kernel_size: Size
    dilation: Size = 1
    padding: Size = 0
    stride: Size = 1


class _Pad(Module):
    """padding: one width for every side, or (left, right, top, bottom, front, back) as far
    as there are axes."""
    spatial: int
    mode: str
    value: float = 0.0

    def __init__(self, padding: Size) -> None:
        # a negative width crops, as in F.pad
        self.padding = axes(padding, 2 * self.spatial, type(self).__name__, "padding", least=-2 ** 62)

    def forward(self, input: Any) -> Any:
        return (F.pad(input, self.padding, self.mode, self.value) if self.mode == "constant"
                else F.pad(input, self.padding, self.mode))

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Pads with a value."""
    spatial = 1


class ConstantPad2d(_ConstantPad):
    """Pads with a value."""
    spatial = 2


class ConstantPad3d(_ConstantPad):
    """Pads with a value."""
    spatial = 3


class ZeroPad1d(_Pad):
    """Pads with zeros."""
    spatial, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Pads with zeros."""
    spatial, mode = 2, "constant"


class ZeroPad3d(_Pad):
    """Pads with zeros."""
    spatial, mode = 3, "constant"


class ReflectionPad1d(_Pad):
    """Pads with the mirror image, the border not repeated."""
    spatial, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """Pads with the mirror image, the border not repeated."""
    spatial, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """Pads with the mirror image, the border not repeated."""
    spatial, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """Pads with the border's values."""
    spatial, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """Pads with the border's values."""
    spatial, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """Pads with the border's values."""
    spatial, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """Pads with the opposite side's values."""
    spatial, mode = 1, "circular"


class CircularPad2d(_Pad):
    """Pads with the opposite side's values."""
    spatial, mode = 2, "circular"


class CircularPad3d(_Pad):
    """Pads with the opposite side's values."""
    spatial, mode = 3, "circular"
