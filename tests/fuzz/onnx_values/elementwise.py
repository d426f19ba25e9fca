"""Elementwise operators, comparisons, casts."""

from __future__ import annotations

import numpy as np
from onnx import helper

from .draw import FLOATS, INTS, recipe


@recipe(
    *"Sigmoid Tanh Exp Log Sqrt Erf Reciprocal Softplus Softsign HardSwish Mish Floor Ceil".split(),
    *"Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh IsNaN LeakyRelu Elu Selu".split(),
    *"Celu ThresholdedRelu HardSigmoid Gelu".split(),
)
def float_unary(d, op):
    d.finite = op == "ThresholdedRelu"  # ours keeps NaN, as torch's does
    d.operand(d.shape(), d.dtype("f"))
    if op in ("LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "HardSigmoid") and d.chance(0.5):
        return {"alpha": d.pick(0.5, 1.0, 2.0)}
    return {"approximate": d.pick("none", "tanh")} if op == "Gelu" else {}


@recipe("Relu", "Abs", "Neg", "Sign", "Identity", "Shrink", "IsInf")
def unary(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i") if op not in ("IsInf",) else d.pick(*FLOATS[:4]))
    if op == "IsInf":
        return {"detect_positive": d.pick(0, 1), "detect_negative": d.pick(0, 1)}
    if op == "Neg" and x.dtype.kind == "u":
        return None
    return {"lambd": d.pick(0.5, 2.0), "bias": d.pick(0.0, 1.0)} if op == "Shrink" else {}


@recipe("Not", "BitwiseNot")
def inverted(d, op):
    d.operand(d.shape(), d.dtype("b" if op == "Not" else "i"))
    return {}


@recipe(
    "Add", "Sub", "Mul", "Div", "Mod", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "PRelu"
)
def pairs(d, op):
    a, dtype = d.shape(), d.dtype("f", "i")
    b = d.broadcasting(a)
    if d.chance(0.5) and op != "PRelu":
        a, b = b, a
    d.operand(a, dtype)
    d.finite = op == "PRelu"  # 0 times an infinite slope
    y = d.values(b, dtype)
    whole = dtype.kind in "iu"
    d.given(np.where(y == 0, 1, y).astype(dtype) if op in ("Div", "Mod") and whole else y, d.chance(0.4))
    return {"fmod": int(not whole or d.chance(0.5))} if op == "Mod" else {}


@recipe("And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bits(d, op):
    a, dtype = d.shape(), d.dtype("i" if op.startswith("Bit") else "b")
    d.operand(a, dtype)
    d.operand(d.broadcasting(a), dtype)
    return {}


@recipe("BitShift")
def shift(d, op):
    a, dtype = d.shape(), d.pick(*INTS[4:])
    d.operand(a, dtype)
    d.given(d.n.integers(0, 8, d.broadcasting(a)).astype(dtype))
    return {"direction": d.pick("LEFT", "RIGHT")}


@recipe("Pow")
def power(d, op):
    a, dtype = d.shape(), d.pick(*FLOATS, np.dtype("int32"), np.dtype("int64"))
    x = (
        np.abs(d.values(a, dtype if dtype.kind not in "i" else "int8")).astype(dtype)
        if d.chance(0.7)
        else d.values(a, dtype)
    )
    d.given(np.minimum(x, 8).astype(dtype) if dtype.kind == "i" else x, d.chance(0.2))
    e = d.pick(*FLOATS, np.dtype("int32"), np.dtype("int64"))
    shape = d.pick((), (1,), (1, 1, 1), d.broadcasting(a))
    d.given(np.asarray(d.n.choice([2, 3, 1, 0], shape), np.float64).astype(e), d.chance(0.7))
    return {}


@recipe("Max", "Min", "Sum", "Mean")
def several(d, op):
    a, dtype = d.shape(), d.dtype("f", "i") if op in ("Max", "Min") else d.dtype("f")
    for _ in range(d.r.randint(1, 4)):
        d.operand(d.broadcasting(a), dtype)
    return {}


@recipe("Where")
def where(d, op):
    a, dtype = d.shape(), d.dtype("f", "i", "b")
    d.given(d.values(d.broadcasting(a), bool))
    d.operand(d.broadcasting(a), dtype)
    d.operand(d.broadcasting(a), dtype)
    return {}


@recipe("Clip")
def clip(d, op):
    dtype = d.dtype("f", "i")
    d.operand(d.shape(), dtype)
    for bound in (-2, 3):
        d.given(np.array(d.pick(bound, 1) if dtype.kind != "u" else abs(bound), dtype)) if d.chance(
            0.7
        ) else d.absent()
    while d.names and not d.names[-1]:
        d.names.pop()
    return {}


@recipe("Cast")
def cast(d, op):
    x, to = d.values(d.shape(), d.dtype("f", "i", "b")), d.dtype("f", "i", "b")
    if to.kind in "iu" and x.dtype.kind not in "iub":  # what is out of range has no defined value
        x = np.clip(np.nan_to_num(x.astype(float)), 0 if to.kind == "u" else -100, 100).astype(x.dtype)
    d.given(x, d.chance(0.3))
    return {"to": helper.np_dtype_to_tensor_dtype(to)}
