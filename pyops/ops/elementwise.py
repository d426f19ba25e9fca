"""Elementwise functions, and arithmetic with broadcasting, under torch's names.

Arithmetic takes arrays that broadcast, or a number in place of one of them: it becomes an array of
the other's dtype, float32 where a float meets whole numbers. So do NumPy's scalars, arrays without
axes, and arrays of whole numbers and booleans beside float ones. Halves are computed in float32 and
rounded once (core/dispatch.py).
"""
from __future__ import annotations

import math

import numpy as np

from .._C import pointwise
from ..core import dispatch
from ..core.dispatch import WHOLE
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.tensor import Tensor
from ..core.types import Arrays, Operand
from .broadcast import plan, sum_to
from .cast import cast, python_float

reference = LateFunctions("pyops.kernels.elementwise.reference")
typed_reference = LateFunctions("pyops.kernels.typed.reference")

__all__ = ["abs", "add", "clamp", "clip", "div", "erf", "exp", "expm1", "log", "log1p", "maximum", "minimum", "mul",
           "neg", "pow", "reciprocal", "rsqrt", "sigmoid", "sqrt", "square", "sub", "tanh", "where"]


# ---- functions of one array

def chain(name, slope_in_v):
    """The row of a kernel dx = g f(v), where v is the forward call's input or result; slope_in_v(g,
    v, dx) is g f'(v)."""
    def forward(k, g, v):
        dx = k.empty(g.shape)
        getattr(k, name)(g, v, dx)
        return dx

    def gradient(ctx):
        (g, v), (dx,) = ctx.inputs, ctx.outputs
        return (op(ctx.g, v) if ctx.needs[0] else None,
                mul(ctx.g, slope_in_v(g, v, dx)) if ctx.needs[1] else None)
    op = Op(name, "rr", pointwise(name, 2, False, forward), getattr(reference, name), gradient,
            kernels=(name,), pointwise=True, per_sample=True)
    return op


def unary(name, gradient, epilogue=None, whole=""):
    """The row of a function of one array; an activation, if it has an epilogue."""
    def forward(k, x):
        y = k.empty(x.shape)
        getattr(k, name)(x, y)
        return y
    return Op(name, "r", pointwise(name, 1, False, forward), getattr(reference, name), gradient,
              kernels=(name,), bytes=lambda x: 2 * x.nbytes, pointwise=True, per_sample=True,
              epilogue=epilogue, activation=epilogue is not None, whole=whole)


def of_input(name, slope_in_v):
    row = chain(name, slope_in_v)
    return lambda ctx: (row(ctx.g, ctx.inputs[0]),)


def of_result(name, slope_in_v):
    row = chain(name, slope_in_v)
    return lambda ctx: (row(ctx.g, ctx.outputs[0]),)


NEG = unary("neg", lambda ctx: (neg(ctx.g),), whole="whole_neg")
ABS = unary("abs", of_input("abs_backward", lambda g, x, dx: mul(g, 0.0)), whole="whole_abs")
SQUARE = unary("square", lambda ctx: (mul(mul(ctx.g, ctx.inputs[0]), 2.0),))
SQRT = unary("sqrt", of_result("sqrt_backward", lambda g, y, dx: neg(div(dx, y))))
RSQRT = unary("rsqrt", of_result("rsqrt_backward", lambda g, y, dx: mul(mul(g, square(y)), -1.5)))
RECIPROCAL = unary("reciprocal", of_result("reciprocal_backward", lambda g, y, dx: mul(mul(g, y), -2.0)))
EXP = unary("exp", lambda ctx: (mul(ctx.g, ctx.outputs[0]),))
EXPM1 = unary("expm1", lambda ctx: (mul(ctx.g, exp(ctx.inputs[0])),))
LOG = unary("log", lambda ctx: (div(ctx.g, ctx.inputs[0]),))
LOG1P = unary("log1p", lambda ctx: (div(ctx.g, add(ctx.inputs[0], 1.0)),))
ERF = unary("erf", of_input("erf_backward", lambda g, x, dx: mul(mul(dx, x), -2.0)))
TANH = unary("tanh", of_result("tanh_backward", lambda g, y, dx: mul(mul(g, y), -2.0)), lambda: ("tanh",))
SIGMOID = unary("sigmoid", of_result("sigmoid_backward", lambda g, y, dx: mul(g, sub(1.0, mul(y, 2.0)))),
                lambda: ("sigmoid",))


# ---- arithmetic: its operands

def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, np.generic)


def number(value, like):
    """A Python number as an array of no axes, of the dtype of `like`."""
    if isinstance(like, (np.ndarray, np.generic, Tensor)):
        try:
            return np.array(value, like.dtype)
        except OverflowError:
            raise ValueError(f"{value} is outside of {like.dtype}, the type of the other operand") from None
    return np.array(value,
                    (dispatch.viewed(like) if dispatch.on_device((like,)) else np.from_dlpack(like)).dtype)


def operands(op, a, b):
    """What a call of an arithmetic row is given, as arrays that may share one type. TypeError where
    neither is an array."""
    a, b = python_float(a, b), python_float(b, a)
    if is_number(b):
        if is_number(a):
            raise TypeError(f"{op}: one of the operands must be an array, got {a!r} and {b!r}")
        a = beside_number(a, b)
        return a, number(b, a)
    if is_number(a):
        b = beside_number(b, a)
        return number(a, b), b
    return matched(a, b)


def beside_number(array, value):
    """The array that a Python number meets: of whole numbers, as float32 where that is a float, and
    of truth values as int64 where it is whole, as in torch."""
    kind = getattr(getattr(array, "dtype", None), "kind", "f")
    if kind not in "iub" or isinstance(value, bool) or kind != "b" and not isinstance(value, float):
        return array
    from .typed import as_type
    return as_type(array, np.float32 if isinstance(value, float) else np.int64)


def matched(a, b):
    """Two arrays of different types: whole numbers and booleans take the float type of the other;
    so do NumPy's scalars and arrays without axes beside one with axes, as in torch. Anything else
    stays as it is, and is refused by the row.
    """
    if not isinstance(a, HOST) or not isinstance(b, HOST) or a.dtype is b.dtype:
        return on_device_matched(a, b) if dispatch.on_device((a, b)) else (a, b)
    floats = a.dtype.kind == "f", b.dtype.kind == "f"
    weak = weakness(a), weakness(b)
    if floats[0] and (b.dtype.kind in "iub" or floats[1] and weak[1] > weak[0]):
        return a, in_type(b, a.dtype)
    if floats[1] and (a.dtype.kind in "iub" or floats[0] and weak[0] > weak[1]):
        return in_type(a, b.dtype), b
    return a, b


HOST = (np.ndarray, np.generic, Tensor)
ARRAYS = (np.ndarray, Tensor)


def on_device_matched(a, b):
    """The same of arrays of which one lies on a GPU: whole numbers and truth values take the float type of
    the other."""
    from .typed import as_type, dtype_of
    one, other = dtype_of(a), dtype_of(b)
    if one.kind in "iub" and other.kind not in "iub":
        return as_type(a, other), b
    return a, as_type(b, one) if other.kind in "iub" and one.kind not in "iub" else b


def weakness(value):
    """How readily it takes another's float type: 2 for NumPy's scalars, 1 for arrays without
    axes, 0 for others."""
    return 2 if isinstance(value, np.generic) else 0 if value.ndim else 1


def in_type(value, dtype):
    return cast(value, dtype, copy=False) if isinstance(value, Tensor) else np.asarray(value).astype(dtype)


# ---- arithmetic: its rows

def forward_of(name, count):
    """Broadcasts that many inputs and calls the kernel of that name; attributes
    follow the strides."""
    def forward(k, *inputs, **attrs):
        shape, *layout = plan(name, *[x.shape for x in inputs])
        y = k.empty(shape)
        getattr(k, name)(*inputs, *layout, *attrs.values(), y)
        return y

    def forward_of_two(k, a, b, **attrs):   # the same: most calls, and most small ones
        shape, collapsed, along_a, along_b = plan(name, a.shape, b.shape)
        y = k.empty(shape)
        getattr(k, name)(a, b, collapsed, along_a, along_b, *attrs.values(), y)
        return y
    return pointwise(name, count, True, forward_of_two if count == 2 else forward)


def check_of(name):
    return lambda *inputs, **attrs: plan(name, *[x.shape for x in inputs])


def broadcasting(name, kinds="rr", gradient=None, **traits):
    """The row of an op whose inputs broadcast."""
    return Op(name, kinds, forward_of(name, len(kinds)), getattr(reference, name), gradient, check_of(name),
              kernels=(name,), bytes=lambda *a, **_: 2 * a[0].nbytes, pointwise=True, per_sample=True,
              operands=operands if kinds == "rr" else None, **traits)


def two(rule_a, rule_b):
    """A gradient rule for inputs that broadcast: rule(g, a, b, ctx), summed over repeated axes;
    unwanted ones are not run."""
    def gradient(ctx):
        a, b = ctx.inputs
        return (sum_to(rule_a(ctx.g, a, b, ctx), a.shape) if ctx.needs[0] else None,
                sum_to(rule_b(ctx.g, a, b, ctx), b.shape) if ctx.needs[1] else None)
    return gradient


def scaled(g, factor):
    return g if factor == 1 else mul(g, factor)


ADD = broadcasting("add", whole="whole_add",
                   gradient=two(lambda g, a, b, ctx: g, lambda g, a, b, ctx: scaled(g, ctx.attrs["alpha"])),
                   applies=frozenset({"activation"}))
MUL = broadcasting("mul", whole="whole_mul",
                   gradient=two(lambda g, a, b, ctx: MUL(g, b), lambda g, a, b, ctx: MUL(g, a)),
                   applies=frozenset({"activation"}))
DIV = broadcasting("div", gradient=two(lambda g, a, b, ctx: DIV(g, b),
                                       lambda g, a, b, ctx: neg(DIV(MUL(g, ctx.outputs[0]), b))))


def share_again(ctx):
    """maximum_backward is linear in g, and flat in what it compares."""
    g, a, b = ctx.inputs
    return sum_to(MAXIMUM_BACKWARD(ctx.g, a, b), g.shape) if ctx.needs[0] else None, None, None


MAXIMUM_BACKWARD = broadcasting("maximum_backward", "rrr", share_again)
MAXIMUM = broadcasting("maximum", whole="whole_maximum",
                       gradient=two(lambda g, a, b, ctx: MAXIMUM_BACKWARD(g, a, b),
                                    lambda g, a, b, ctx: MAXIMUM_BACKWARD(g, b, a)))
MINIMUM = broadcasting("minimum", whole="whole_minimum",
                       gradient=two(lambda g, a, b, ctx: MAXIMUM_BACKWARD(g, b, a),
                                    lambda g, a, b, ctx: MAXIMUM_BACKWARD(g, a, b)))


def pow_base_again(ctx):
    """Of g b a^(b - 1), in each of its inputs."""
    g, a, b = ctx.inputs
    rate = MUL(ctx.g, g)
    return (sum_to(POW_BASE_BACKWARD(ctx.g, a, b), g.shape) if ctx.needs[0] else None,
            sum_to(POW_BASE_BACKWARD(MUL(rate, b), a, sub(b, 1.0)), a.shape) if ctx.needs[1] else None,
            sum_to(MUL(rate, MUL(pow(a, sub(b, 1.0)), add(MUL(b, log(a)), 1.0))), b.shape) if ctx.needs[2]
            else None)


POW_BASE_BACKWARD = broadcasting("pow_base_backward", "rrr", pow_base_again)
def pow_exponent_again(ctx):
    """Of g y log a, in each of its inputs; a that has no logarithm gave 0."""
    g, a, y = ctx.inputs
    has = np.asarray((a.data if isinstance(a, Tensor) else a) > 0)
    safe, rate = where(has, a, 1.0), MUL(ctx.g, g)
    return (sum_to(POW_EXPONENT_BACKWARD(ctx.g, a, y), g.shape) if ctx.needs[0] else None,
            sum_to(where(has, DIV(MUL(rate, y), safe), 0.0), a.shape) if ctx.needs[1] else None,
            sum_to(MUL(rate, log(safe)), y.shape) if ctx.needs[2] else None)


POW_EXPONENT_BACKWARD = broadcasting("pow_exponent_backward", "rrr", pow_exponent_again)
POW = broadcasting("pow", whole="whole_pow", gradient=two(lambda g, a, b, ctx: POW_BASE_BACKWARD(g, a, b),
                                       lambda g, a, b, ctx: POW_EXPONENT_BACKWARD(g, a, ctx.outputs[0])))


def where_gradient(ctx):
    condition, a, b = ctx.inputs
    zero = number(0.0, ctx.g)
    return (None, sum_to(WHERE(condition, ctx.g, zero), a.shape) if ctx.needs[1] else None,
            sum_to(WHERE(condition, zero, ctx.g), b.shape) if ctx.needs[2] else None)


WHERE = Op("where", "rrr", forward_of("where", 3), reference.where, where_gradient, check_of("where"),
           kernels=("where",), pointwise=True, per_sample=True)


def select_forward(k, condition, a, b):
    shape, *layout = plan("where", condition.shape, a.shape, b.shape)
    y = k.empty(shape, a.dtype)
    k.select(condition, a, b, *layout, y)
    return y


def select_check(condition, a, b):
    if condition.dtype != bool or a.dtype != b.dtype:
        raise TypeError("where: takes a condition of bool and two arrays of one type, got "
                        f"{condition.dtype}, {a.dtype} and {b.dtype}")
    plan("where", condition.shape, a.shape, b.shape)


def select_gradient(ctx):
    condition, a, b = ctx.inputs
    zero = number(0.0, ctx.g)
    return (None, sum_to(SELECT(condition, ctx.g, zero), a.shape) if ctx.needs[1] else None,
            sum_to(SELECT(condition, zero, ctx.g), b.shape) if ctx.needs[2] else None)


# where of arrays of any type, whose condition is of truth values
SELECT = Op("select", "aaa", select_forward, typed_reference.select, select_gradient, select_check,
            kernels=("select",), tolerance=0,
            pointwise=True, per_sample=True, bytes=lambda c, a, b: 2 * a.nbytes,
            todo=dict.fromkeys(("cuda", "cuda-emulated"), "where's condition is of floats there"))


def clamp_forward(k, x, *, low, high):
    y = k.empty(x.shape)
    k.clamp(x, low, high, y)
    return y


def clamp_backward(k, g, x, *, low, high):
    dx = k.empty(x.shape)
    k.clamp_backward(g, x, low, high, dx)
    return dx


CLAMP_BACKWARD = Op("clamp_backward", "rr", clamp_backward, reference.clamp_backward,
                    lambda ctx: (CLAMP_BACKWARD(ctx.g, ctx.inputs[1], **ctx.attrs), None),
                    kernels=("clamp_backward",), pointwise=True, per_sample=True)
CLAMP = Op("clamp", "r", clamp_forward, reference.clamp,
           lambda ctx: (CLAMP_BACKWARD(ctx.g, ctx.inputs[0], **ctx.attrs),), kernels=("clamp",),
           pointwise=True, per_sample=True, epilogue=lambda low, high: ("clamp", low, high))


# ---- public functions

def neg(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """-x, elementwise. input: any shape, float32 or float64; returns an array like input."""
    return NEG(input, out=out)


def abs(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """|x|, elementwise. input: any shape, float32 or float64; returns an array like input."""
    return ABS(input, out=out)


def square(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """x^2, elementwise. input: any shape, float32 or float64; returns an array like input."""
    return SQUARE(input, out=out)


def sqrt(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """The square root of x, NaN where x < 0, elementwise.

    input: any shape, float32 or float64; returns an array like input.
    """
    return SQRT(input, out=out)


def rsqrt(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """1 / sqrt(x), elementwise. input: any shape, float32 or float64; returns an array like
    input."""
    return RSQRT(input, out=out)


def reciprocal(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """1 / x, elementwise. input: any shape, float32 or float64; returns an array like input."""
    return RECIPROCAL(input, out=out)


def exp(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """e^x, elementwise. input: any shape, float32 or float64; returns an array like input."""
    return EXP(input, out=out)


def expm1(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """e^x - 1, accurate near 0, elementwise.

    input: any shape, float32 or float64; returns an array like input.
    """
    return EXPM1(input, out=out)


def log(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """The natural logarithm of x, -inf at 0, NaN where x < 0, elementwise.

    input: any shape, float32 or float64; returns an array like input.
    """
    return LOG(input, out=out)


def log1p(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """log(1 + x), accurate near 0, elementwise.

    input: any shape, float32 or float64; returns an array like input.
    """
    return LOG1P(input, out=out)


def erf(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """The error function 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x, elementwise.

    input: any shape, float32 or float64; returns an array like input.
    """
    return ERF(input, out=out)


def tanh(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """The hyperbolic tangent of x, elementwise.

    input: any shape, float32 or float64; returns an array like input.
    """
    return TANH(input, out=out)


def sigmoid(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """1 / (1 + e^-x), elementwise. input: any shape, float32 or float64; returns an array like
    input."""
    return SIGMOID(input, out=out)


def add(input: Operand, other: Operand, *, alpha: float = 1, out: Arrays | None = None) -> Arrays:
    """input + alpha * other. Shapes broadcast, dtypes are equal; `other` may be a number."""
    return ADD.of_operands(input, other, alpha=alpha, out=out)


def sub(input: Operand, other: Operand, *, alpha: float = 1, out: Arrays | None = None) -> Arrays:
    """input - alpha * other. Shapes broadcast, dtypes are equal; `other` may be a number."""
    if is_number(input):
        input, other = operands("sub", input, other)   # whose name the row would not know
    return ADD.of_operands(input, other, alpha=-alpha, out=out)


def mul(input: Operand, other: Operand, *, out: Arrays | None = None) -> Arrays:
    """input * other. Shapes broadcast, dtypes are equal; `other` may be a number."""
    return MUL.of_operands(input, other, out=out)


def div(input: Operand, other: Operand, *, rounding_mode: str | None = None,
        out: Arrays | None = None) -> Arrays:
    """input / other. Shapes broadcast, dtypes are equal; `other` may be a number. Whole
    numbers become float32.

    rounding_mode: "trunc" towards zero, "floor" down: of whole numbers in their own type, where a
    division by 0 gives 0.
    """
    if rounding_mode is not None:
        return rounded_quotient(input, other, rounding_mode)
    if not is_number(input) and getattr(input.dtype, "kind", "f") in "iub":
        from .typed import alike, as_type, is_whole
        input, other = alike("div", input, other)
        if is_whole(input):
            input, other = as_type(input, np.float32), as_type(other, np.float32)
    return DIV.of_operands(input, other, out=out)


def rounded_quotient(input, other, mode):
    from .real_functions import trunc
    from .typed import alike, is_whole
    from .whole import FLOOR_DIVIDE, WHOLE_DIV
    if mode not in ("trunc", "floor"):
        raise ValueError(f"div: rounding_mode must be None, trunc or floor, got {mode!r}")
    a, b = alike("div", input, other)
    if mode == "floor":
        return FLOOR_DIVIDE(a, b)
    return WHOLE_DIV(a, b) if is_whole(a) else trunc(DIV(a, b))


def pow(input: Operand, exponent: Operand, *, out: Arrays | None = None) -> Arrays:
    """input ** exponent with C's special cases. Shapes broadcast, dtypes are equal;
    either may be a number."""
    return POW.of_operands(input, exponent, out=out)


def maximum(input: Operand, other: Operand, *, out: Arrays | None = None) -> Arrays:
    """The larger of two, NaN where either is. Shapes broadcast; at a tie each gets
    half the gradient."""
    return MAXIMUM.of_operands(input, other, out=out)


def minimum(input: Operand, other: Operand, *, out: Arrays | None = None) -> Arrays:
    """The smaller of two, NaN where either is. Shapes broadcast; at a tie each gets
    half the gradient."""
    return MINIMUM.of_operands(input, other, out=out)


def clamp(input: Arrays, min: Operand | None = None, max: Operand | None = None, *,
          out: Arrays | None = None) -> Arrays:
    """min(max(input, min), max). Bounds are numbers, or arrays that broadcast; either may be None,
    not both. NaN stays, and a bound that is NaN makes all of it NaN."""
    if min is None and max is None:
        raise ValueError("clamp: give min or max, or both")
    whole = getattr(getattr(input, "dtype", None), "kind", "f") in WHOLE
    if not whole and all(v is None or is_number(v) and v == v for v in (min, max)):
        return CLAMP(input, low=-math.inf if min is None else float(min),
                     high=math.inf if max is None else float(max), out=out)
    if max is None:
        return maximum(input, min, out=out)
    return minimum(input if min is None else maximum(input, min), max, out=out)


def clip(input: Arrays, min: Operand | None = None, max: Operand | None = None, *,
         out: Arrays | None = None) -> Arrays:
    """clamp under NumPy's name."""
    if min is None and max is None:
        raise ValueError("clip: give min or max, or both")
    return clamp(input, min, max, out=out)


def where(condition: Arrays | bool, input: Operand, other: Operand, *, out: Arrays | None = None) -> Arrays:
    """input where condition is true (or not 0), else other. All three broadcast; input or
    other may be a number.

    input and other: of one type, any; whole numbers and truth values take the type of floats beside
    them.
    """
    if type(condition) is np.ndarray and condition.dtype == np.bool_ and type(input) in ARRAYS and (
            dispatch.active.get().name not in SELECT.todo):   # the usual call, and the shortest way
        dtype = input.dtype
        if type(other) is float and dtype.kind == "f":
            other = np.array(other, dtype)
        if type(other) in ARRAYS and other.dtype == dtype:
            return SELECT(condition, input, other, out=out)
    from .typed import BOOL, alike, as_type
    if hasattr(condition, "value") or not all(is_number(v) or getattr(v.dtype, "kind", "f") == "f"
                                              for v in (input, other)):
        input, other = alike("where", input, other)
        return SELECT(as_type(condition, BOOL), input, other, out=out)
    input, other = operands("where", input, other)
    if isinstance(condition, Tensor):
        condition = condition.data
    if dispatch.on_device((condition,)):
        return WHERE(as_type(condition, number(0, input).dtype), input, other, out=out)
    if not isinstance(condition, np.ndarray):
        condition = np.from_dlpack(condition) if hasattr(condition, "__dlpack__") else np.asarray(condition)
    if condition.dtype != np.bool_ or dispatch.active.get().name in SELECT.todo or dispatch.on_device((input, other)):
        return WHERE(condition.astype(number(0, input).dtype), input, other, out=out)
    return SELECT(condition, input, other, out=out)
