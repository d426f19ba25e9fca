"""Quantised operators, and casts between all types."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from .draw import FLOATS, recipe

BYTES = [np.dtype(t) for t in ("int8", "uint8")]
NARROW = {name: np.dtype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name))) for name in (
    "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT4E2M1", "INT4", "UINT4", "INT2", "UINT2")}
SOME = [n for n in NARROW if not n.endswith("2")] + ["FLOAT8E5M2"]


def scales(d, shape, axis, block, dtype, zeros, constant):
    """A scale, and a zero point of a type or none, for a tensor, along an axis or for its blocks."""
    if block:
        shape = tuple(-(-n // block) if i == axis else n for i, n in enumerate(shape))
    else:
        shape = d.pick((), (shape[axis],)) if shape else ()
    d.given(np.abs(d.n.standard_normal(shape)).astype(np.float32) + np.float32(0.01), constant)
    if zeros is not None:
        d.given(zeros(shape).astype(dtype), constant)


@recipe("QuantizeLinear", "DequantizeLinear")
def affine(d, op):
    d.opset, d.finite = d.pick(21, 23, 25), True
    name = d.pick("", "", *(n for n in SOME if d.opset > 21 or n != "FLOAT4E2M1"))
    dtype = NARROW[name] if name else d.pick(*BYTES, *(np.dtype(t) for t in ("int16", "uint16")))
    shape = d.shape(1, 4, empty=0)
    axis, block = d.r.randrange(len(shape)), 0
    if d.chance(0.3):
        block = d.r.randint(1, 3)
    real = dtype.kind not in "iu" and "int" not in dtype.name
    if op == "QuantizeLinear":
        d.operand(shape, np.float32)
    else:
        codes = d.n.integers(0, 4, shape)
        d.given(codes.astype(np.float32).astype(dtype), d.chance(0.4))

    def zeros(shape):
        return np.zeros(shape) if real else d.n.integers(0, 3, shape)

    attrs = {"axis": axis - d.pick(0, len(shape))}
    without = op == "DequantizeLinear" and d.chance(0.4)
    scales(d, shape, axis, block, dtype, None if without else zeros, d.chance(0.7))
    if block:
        attrs["block_size"] = block
    return attrs


@recipe("DynamicQuantizeLinear")
def dynamic(d, op):
    d.finite, d.outputs = True, 3
    d.operand(d.shape(0, 3, empty=0), np.float32)
    return {}


@recipe("MatMulInteger")
def matmul_integer(d, op):
    m, k, n = (d.r.randint(1, 6) for _ in range(3))
    lead = d.pick((), (2,))
    a, b = d.operand((*lead, m, k), d.pick(*BYTES)), d.operand((k, n), d.pick(*BYTES), 0.6)
    if d.chance(0.6):
        d.given(np.asarray(d.values((), a.dtype)), d.chance(0.6))
        if d.chance(0.6):
            d.given(np.asarray(d.values((), b.dtype)), d.chance(0.6))
    return {}


@recipe("CastLike")
def cast_like(d, op):
    """To types of few bits, from those that hold what they are given."""
    d.opset, d.finite = 25, True
    dtype = NARROW[d.pick(*NARROW)]
    real = "float" in dtype.name
    shape = d.shape(0, 3)
    x = d.values(shape, d.pick(*FLOATS[:5])) if real else d.n.integers(0, 2, shape).astype(d.pick(*FLOATS[:5]))
    d.given(x, d.chance(0.3))
    d.given(np.zeros(1, np.float32).astype(dtype))
    return {"saturate": d.pick(0, 1)} if "float8" in dtype.name else {}
