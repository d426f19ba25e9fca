"""Whole numbers of few bits that stand for real ones: real = (whole - zero point) scale. ONNX's
QuantizeLinear and DequantizeLinear."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays, DType, Operand
from .broadcast import plan
from .typed import NO_CUDA, as_type, dtype_of, is_number

reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["dequantize_linear", "fake_quantize_per_tensor_affine", "quantize_linear"]

BYTES = ("int8", "uint8", "int16", "uint16")
FLOAT = np.dtype(np.float32)


def check(x: Any, scale: Any, zero: Any, *, dtype: Any = None, **_: Any) -> None:
    name, whole = ("quantize_linear",
                   np.dtype(dtype)) if dtype is not None else ("dequantize_linear", x.dtype)
    if whole.name not in BYTES:
        raise TypeError(f"{name}: whole numbers are of {', '.join(BYTES)}, got {whole}")
    if {scale.dtype, zero.dtype, *([x.dtype] if dtype is not None else [])} != {FLOAT}:
        raise TypeError(f"{name}: real numbers are of float32, got {x.dtype}, scale {scale.dtype}, zero "
                        f"point {zero.dtype}")
    plan(name, x.shape, scale.shape, zero.shape)


def quantise_forward(k: Any, x: Any, scale: Any, zero: Any, *, dtype: Any, least: int, most: int) -> Any:
    check(x, scale, zero, dtype=dtype)
    shape, *layout = plan("quantize_linear", x.shape, scale.shape, zero.shape)
    y = k.empty(shape, np.dtype(dtype))
    k.quantise(x, scale, zero, *layout, float(least), float(most), y)
    return y


def dequantise_forward(k: Any, x: Any, scale: Any, zero: Any) -> Any:
    check(x, scale, zero)
    shape, *layout = plan("dequantize_linear", x.shape, scale.shape, zero.shape)
    y = k.empty(shape, FLOAT)
    k.dequantise(x, scale, zero, *layout, y)
    return y


QUANTISE = Op("quantise", "aaa", quantise_forward, reference.quantise, None, check, kernels=("quantise",),
              tolerance=0, todo=NO_CUDA,
              bytes=lambda x, *_, **__: 5 * x.size, per_sample=True, pointwise=True)
DEQUANTISE = Op("dequantise", "aaa", dequantise_forward, reference.dequantise, None, check,
                kernels=("dequantise",), tolerance=1, todo=NO_CUDA,
                bytes=lambda x, *_: 5 * x.size, per_sample=True, pointwise=True)


def fake_quantise_forward(k: Any, x: Any, *, scale: float, least: float, most: float, by: float) -> Any:
    check_floats(x)
    y = k.empty(x.shape, FLOAT)
    k.fake_quantise(x, scale, least, most, by, y)
    return y


def check_floats(x: Any, **_: Any) -> None:
    if x.dtype != FLOAT:
        raise TypeError(f"fake_quantize_per_tensor_affine: takes float32, got {x.dtype}")


FAKE_QUANTISE = Op("fake_quantise", "a", fake_quantise_forward, reference.fake_quantise, None, check_floats,
                   kernels=("fake_quantise",), tolerance=0, todo=NO_CUDA, bytes=lambda x, **_: 2 * x.nbytes,
                   per_sample=True, pointwise=True)


def quantize_linear(input: Arrays, scale: Operand, zero_point: Operand = 0, dtype: DType = np.uint8,
                    quant_min: int | None = None, quant_max: int | None = None) -> Arrays:
    """round(input / scale) + zero_point, limited to what dtype (8 or 16 bits) holds, or to
    quant_min .. quant_max; ties to even, NaN the least.

    scale and zero_point: numbers, or arrays that broadcast; computed in float32.
    TypeError for other dtypes.
    """
    whole = np.dtype(dtype)
    if whole.name not in BYTES:
        raise TypeError(f"quantize_linear: whole numbers are of {', '.join(BYTES)}, got {whole}")
    limits = np.iinfo(whole)
    least, most = (limits.min if quant_min is None else quant_min), (limits.max if quant_max is None
                                                                     else quant_max)
    if not limits.min <= least <= most <= limits.max:
        raise ValueError(f"quantize_linear: quant_min {least} and quant_max {most} do not lie within {whole}")
    found: Arrays = QUANTISE(as_type(input, FLOAT), _real(scale), _real(zero_point), dtype=whole,
                             least=int(least), most=int(most))
    return found


def dequantize_linear(input: Arrays, scale: Operand, zero_point: Operand = 0) -> Arrays:
    """(input - zero_point) scale, in float32. input: of 8 or 16 bits; scale and zero_point:
    numbers, or arrays that broadcast."""
    found: Arrays = DEQUANTISE(input, _real(scale), _real(zero_point))
    return found


def fake_quantize_per_tensor_affine(input: Arrays, scale: float, zero_point: int, quant_min: int,
                                    quant_max: int) -> Arrays:
    """quantize_linear and dequantize_linear at once, by one scale and zero point, to the whole numbers
    from quant_min to quant_max: (limited(round(input / scale) + zero_point) - zero_point) scale.

    input: any shape; computed in float32, not differentiable. Ties go to even, NaN becomes the
    least. ValueError where quant_min <= zero_point <= quant_max does not hold, where they need more
    than 17 bits, or for a scale that is not positive.
    """
    if not (-(1 << 16) <= quant_min <= zero_point <= quant_max <= 1 << 16 and 0 < scale < float("inf")):
        raise ValueError(f"fake_quantize_per_tensor_affine: quant_min {quant_min}, zero_point {zero_point}, "
                         f"quant_max {quant_max} must ascend within 17 bits, scale {scale} be positive")
    scale = float(np.float32(scale))
    found: Arrays = FAKE_QUANTISE(as_type(input, FLOAT), scale=scale, least=float(quant_min - zero_point),
                                  most=float(quant_max - zero_point), by=scale)
    return found


def _real(value: Any) -> Any:
    return (np.array(value, FLOAT) if is_number(value) else value if dtype_of(value) == FLOAT
            else as_type(value, FLOAT))
