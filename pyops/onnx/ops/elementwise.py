"""Elementwise operators, comparisons, casts."""

from __future__ import annotations

import math

import numpy as np

from ... import functional as F, names
from ...core.dispatch import ELEMENTS
from ...ops.comparison import ISINF
from ...ops.typed import as_type
from . import narrow
from .row import Unsupported, axis_of, dtype_of, known, op, rank, real, traced
from .shape import broadcast_shape

# op -> NumPy's for what our kernels do not take; ours is the function of that name in
# pyops/names.py
UNARY = {
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": None,
    "Tanh": np.tanh,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Abs": np.abs,
    "Neg": np.negative,
    "Erf": None,
    "Reciprocal": np.reciprocal,
    "Softplus": lambda x: np.logaddexp(0, x),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "HardSwish": None,
    "Mish": None,
}
NUMPY = {
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.round,
    "Sign": np.sign,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "IsNaN": np.isnan,
    "Not": np.logical_not,
    "BitwiseNot": np.bitwise_not,
}
PAIRS = {
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}
ARITHMETIC = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
}  # likewise
OURS = {name: getattr(F, function) for name, function in names.ours("onnx").items()}


def like(result, x):
    """NumPy's result in the type of the input: ONNX does not promote."""
    return np.asarray(result).astype(x.dtype, copy=False)


@op("Identity", keeps=True)
def identity(call):
    return call[0]


def unary(ours, numpys):
    def row(call):
        x = call[0]
        if real(x):
            return ours(x)
        if numpys is None:
            return like(ours(x.astype(np.float32)), x)
        return like(numpys(x), x)

    return row


for _name, _numpys in UNARY.items():
    op(_name)(unary(OURS[_name], _numpys))


def only_arrays(function, ours=None):
    """NumPy's function; ours where a program is given an operand."""

    def row(call):
        if ours is not None and traced(*call.inputs):
            call.room(broadcast_shape(*(tuple(v.shape) for v in call.inputs)), call[0].dtype, copies=2)
            return ours(*call.inputs)
        arrays = [known(v, "an operand") for v in call.inputs]
        call.room(broadcast_shape(*(v.shape for v in arrays)), arrays[0].dtype, copies=2)
        result = function(*arrays)
        return result if result.dtype == bool else like(result, arrays[0])

    return row


for _name, _function in {**NUMPY, **PAIRS}.items():
    op(_name)(only_arrays(_function, OURS.get(_name)))


def broadcast(call):
    """The operands of operator sets before 7, where b's axes began at `axis` of a."""
    a, b = call.inputs
    if (
        len(a.shape)
        and call.version < 7
        and call.attr("broadcast")
        and call.attr("axis") is not None
        and len(b.shape) < len(a.shape)
    ):
        axis = axis_of(call.attr("axis"), len(a.shape))
        b = F.reshape(b, (*b.shape, *[1] * (len(a.shape) - axis - len(b.shape))))
    return a, b


def arithmetic(ours, numpys, several):
    def row(call):
        operands = call.inputs if several else broadcast(call)
        call.room(broadcast_shape(*(tuple(v.shape) for v in operands)), operands[0].dtype, copies=2)
        result = operands[0]
        for operand in operands[1:]:
            result = ours(result, operand) if real(result, operand) else like(numpys(result, operand), result)
        return result

    return row


for _name, _numpys in ARITHMETIC.items():
    op(_name)(arithmetic(OURS[_name], _numpys, _name in ("Max", "Min")))


@op("Sum")
def total(call):
    call.room(broadcast_shape(*(tuple(v.shape) for v in call.inputs)), call[0].dtype, copies=2)
    result = call[0]
    for operand in call.inputs[1:]:
        result = F.add(result, operand) if real(result, operand) else like(result + operand, result)
    return result


@op("Mean")
def mean_of(call):
    result = total(call)
    return F.mul(result, 1 / len(call.inputs)) if real(result) else like(result / len(call.inputs), call[0])


@op("Div")
def div(call):
    a, b = broadcast(call)
    call.room(broadcast_shape(tuple(a.shape), tuple(b.shape)), a.dtype, copies=4)
    if traced(a, b) and np.dtype(a.dtype).kind in "iu":
        return F.div(a, b, rounding_mode="trunc")
    if real(a, b):
        return F.div(a, b)
    if a.dtype.kind not in "iu":
        return like(a / b, a)
    below = np.floor_divide(
        a,
        b,
        # C's division rounds towards zero; by way of floats large numbers would lose their last digits
    )
    return like(below + ((a % b != 0) & ((a < 0) != (b < 0))), a) if a.dtype.kind == "i" else like(below, a)


@op("Pow")
def power(call):
    a, b = broadcast(call)
    shape = call.room(broadcast_shape(tuple(a.shape), tuple(b.shape)), np.float64, copies=4)
    # in the type of the base, as all operators here; a whole base takes a float's whole part
    if traced(a, b) and a.dtype != b.dtype:
        if np.dtype(a.dtype).kind in "iu" and np.dtype(b.dtype).kind == "f":
            return as_type(F.pow(as_type(a, b.dtype), b), a.dtype)
        b = as_type(b, a.dtype)
    if traced(a, b) and np.dtype(a.dtype).kind in "iu":
        return F.pow(a, b)
    if real(a) and not traced(b):
        if b.size == 1:
            y = F.pow(a, float(b.reshape(-1)[0]))
            return y if tuple(y.shape) == shape else F.reshape(y, shape)
        b = b.astype(a.dtype)
    if real(a) and (traced(a, b) or a.dtype == b.dtype):
        return F.pow(a, b)
    if a.dtype.kind == "f":
        return like(np.power(a, b.astype(a.dtype)), a)
    if b.dtype.kind in "iu" and not np.any(b < 0):
        return like(np.power(a, b.astype(np.int64)), a)
    with np.errstate(invalid="ignore"):
        return like(np.power(a.astype(np.float64), b.astype(np.float64)), a)


@op("Mod")
def modulo(call):
    if traced(*call.inputs):
        return (F.fmod if call.attr("fmod", 0) else F.remainder)(*call.inputs)
    a, b = (known(v, "an operand") for v in call.inputs)
    call.room(broadcast_shape(a.shape, b.shape), a.dtype, copies=2)
    return like(np.fmod(a, b) if call.attr("fmod", 0) else np.mod(a, b), a)


@op("BitShift")
def shift(call):
    left = call.attr("direction") == "LEFT"
    if traced(*call.inputs) and call.attr("direction") in ("LEFT", "RIGHT"):
        return (F.bitwise_left_shift if left else F.bitwise_right_shift)(*call.inputs)
    a, b = (known(v, "an operand") for v in call.inputs)
    call.room(broadcast_shape(a.shape, b.shape), a.dtype, copies=2)
    if call.attr("direction") not in ("LEFT", "RIGHT"):
        raise ValueError(f"direction must be LEFT or RIGHT, got {call.attr('direction')!r}")
    return np.left_shift(a, b) if call.attr("direction") == "LEFT" else np.right_shift(a, b)


@op("IsInf")
def is_inf(call):
    if traced(call[0]):
        return ISINF(
            call[0],
            positive=bool(call.attr("detect_positive", 1)),
            negative=bool(call.attr("detect_negative", 1)),
        )
    x = known(call[0], "the operand")
    return np.isinf(x) & (
        (x > 0) & bool(call.attr("detect_positive", 1)) | (x < 0) & bool(call.attr("detect_negative", 1))
    )


@op("Clip")
def clip(call):
    x = call[0]
    if call.version >= 11 and traced(*call.inputs) and (traced(call[1], call[2])
                                                        or np.dtype(x.dtype).kind in "iu"):
        x = x if call[1] is None else F.maximum(x, call[1])  # where bounds cross, the upper one wins
        return x if call[2] is None else F.minimum(x, call[2])
    low, high = (
        (call.attr("min"), call.attr("max"))
        if call.version < 11
        else (None if call[i] is None else call.number(i, "a bound") for i in (1, 2))
    )
    if real(x):
        return x if low is None and high is None else F.clamp(x, low, high)
    x = (
        x if low is None else np.maximum(x, x.dtype.type(low))
    )  # the lower bound first: where they cross, the upper one wins
    return x if high is None else np.minimum(x, x.dtype.type(high))


@op("LeakyRelu")
def leaky_relu(call):
    return F.leaky_relu(call[0], call.attr("alpha", 0.01))


@op("Elu")
def elu(call):
    return F.elu(call[0], call.attr("alpha", 1.0))


@op("Selu")
def selu(call):
    alpha, gamma = (
        call.attr("alpha", 1.67326319217681884765625),
        call.attr("gamma", 1.05070102214813232421875),
    )
    return F.mul(F.elu(call[0], alpha), gamma)


@op("Celu")
def celu(call):
    return F.celu(call[0], call.attr("alpha", 1.0))


@op("ThresholdedRelu")
def thresholded_relu(call):
    return F.threshold(call[0], call.attr("alpha", 1.0), 0.0)


@op("HardSigmoid")
def hard_sigmoid(call):
    alpha, beta = call.attr("alpha", 0.2), call.attr("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(call[0])  # torch's layer, which kernels fuse
    return F.clamp(F.add(F.mul(call[0], alpha), beta), 0.0, 1.0)


@op("Gelu")
def gelu(call):
    return F.gelu(call[0], call.attr("approximate", "none"))


@op("Swish")
def swish(call):
    alpha = call.attr("alpha", 1.0)
    return F.silu(call[0]) if alpha == 1 else F.mul(call[0], F.sigmoid(F.mul(call[0], alpha)))


@op("Shrink")
def shrink(call):
    x, lambd, bias = call[0], call.attr("lambd", 0.5), call.attr("bias", 0.0)
    if traced(x):
        return F.where(F.lt(x, -lambd), F.add(x, bias), F.where(F.gt(x, lambd), F.sub(x, bias), 0.0))
    return like(np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, 0)), x)


@op("PRelu")
def prelu(call):
    x, slope = call.inputs
    call.room(x.shape, x.dtype, copies=4)
    if (
        len(slope.shape) == 1 and len(x.shape) > 2 and slope.shape[0] == x.shape[1] != x.shape[-1]
    ):  # a slope a channel, before operator set 9
        slope = F.reshape(slope, (-1, *[1] * (len(x.shape) - 2)))
    if not traced(x, slope):
        return like(np.where(x < 0, x * slope, x), x)
    behind = tuple(slope.shape)[1 - rank(x) :] if rank(slope) >= rank(x) else tuple(slope.shape)
    if not traced(slope) and (
        slope.size == 1
        or rank(x) > 1
        and slope.size == x.shape[1] == (behind[0] if len(behind) == rank(x) - 1 else -1)
    ):
        return F.prelu(x, slope.reshape(-1))  # one number, or one a channel
    return F.add(F.relu(x), F.mul(slope, F.neg(F.relu(F.neg(x)))))


@op("Where", keeps=True)
def where(call):
    condition = call[0]
    call.room(
        broadcast_shape(*(tuple(v.shape) for v in call.inputs)), call[1].dtype, copies=2
    )
    if traced(*call.inputs):
        a, b = call[1], call[2]
        if not traced(a, b) and a.dtype.name in ("float16", "bfloat16"):  # constants are of float32
            return as_type(F.where(condition, as_type(a, np.float32), as_type(b, np.float32)), a.dtype)
        return F.where(condition, a, b)
    return np.where(condition, call[1], call[2])


@op("Cast", "CastLike", keeps=True)
def cast(call):
    x, to = call[0], dtype_of(call.attr("to")) if call.node.op == "Cast" else np.dtype(call[1].dtype)
    if traced(x):
        if to.name not in ELEMENTS:
            raise Unsupported(f"a cast of the model's values to {to}")
        return as_type(x, to)
    call.room(x.shape, to, copies=3)
    return narrow.cast(x, to, bool(call.attr("saturate", 1)), call.attr("round_mode", "up"))


@op("Dropout", keeps=True)
def dropout(call):
    if (
        len(call.inputs) > 2
        and call[2] is not None
        and call.number(2, "training_mode")
        and (call[1] is None or call.number(1, "ratio"))
    ):
        raise Unsupported("training_mode: which values are dropped is random")
    return call[0], np.ones(call[0].shape, bool)
