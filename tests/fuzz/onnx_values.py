"""One ONNX node with odd attributes and odd operands, against onnx's own reference in float64.

Operands are empty, scalars, of one, of the limits of their type, infinite; of every type that the
operator takes; axes count from behind. Real operands are given to the reference in float64, and its
result is rounded to the type asked for: it so is an oracle for half precision, too. Where the
reference differs from what torch and onnxruntime do, `known` says so.
"""

from __future__ import annotations

import math
import random
import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import pyops.onnx as door

REFUSED = (door.ModelError,)
MEMORY = 2 << 30
HALF = ("float16", "bfloat16")
BFLOAT16 = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
FLOATS = [np.dtype(t) for t in ("float32", "float32", "float32", "float64", "float16")] + [BFLOAT16]
INTS = [np.dtype(t) for t in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")]


class Draw:
    """Random shapes and operands, and the node they come to."""

    def __init__(self, seed: int):
        self.r, self.n = random.Random(seed), np.random.default_rng(seed)
        self.data: dict[str, np.ndarray] = {}  # given at run time
        self.constants: dict[str, np.ndarray] = {}
        self.names: list[str] = []
        self.opset, self.outputs = self.r.choice([21, 22, 20, 19]), 1
        self.finite = False  # operands are

    def chance(self, p: float) -> bool:
        return self.r.random() < p

    def pick(self, *values):
        return self.r.choice(values)

    def shape(self, least=0, most=4, empty=0.08, longest=6) -> tuple[int, ...]:
        n = self.r.randint(least, most)
        return tuple(0 if self.chance(empty) else self.pick(1, *range(1, longest + 1)) for _ in range(n))

    def broadcasting(self, shape) -> tuple[int, ...]:
        """A shape that broadcasts with another."""
        cut = self.r.randint(0, len(shape)) if self.chance(0.4) else 0
        return tuple(1 if self.chance(0.3) else s for s in shape[cut:])

    def axis(self, n: int) -> int:
        return self.r.randrange(-n, n) if n else 0

    def values(self, shape, dtype) -> np.ndarray:
        dtype = np.dtype(dtype)
        if dtype == bool:  # noqa: E721
            return self.n.random(shape) < 0.5
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            x = self.n.integers(max(info.min, -9), 10, shape).astype(dtype)
            odd = self.n.random(shape) < (0.1 if self.chance(0.3) else 0)
            return np.where(odd, self.n.choice(np.array([info.min, info.max], dtype), shape), x)
        scale = 100.0 if self.chance(0.1) else 1.0
        x = np.asarray(self.n.standard_normal(shape) * scale)
        if self.chance(0.15) and not self.finite:
            odd = self.n.choice([0.0, 1.0, -1.0, 30.0, -30.0, 0.5, np.inf, -np.inf, np.nan], x.shape)
            x = np.where(self.n.random(shape) < 0.15, odd, x)
        return x.astype(dtype)

    def operand(self, shape, dtype, constant=0.15) -> np.ndarray:
        x = np.asarray(self.values(shape, dtype))
        return self.given(x, self.chance(constant))

    def given(self, x, constant=True) -> np.ndarray:
        name = f"i{len(self.names)}"
        (self.constants if constant else self.data)[name] = x = np.asarray(x)
        self.names.append(name)
        return x

    def absent(self) -> None:
        self.names.append("")

    def dtype(self, *kinds) -> np.dtype:
        return self.pick(*(d for k in kinds for d in {"f": FLOATS, "i": INTS, "b": [np.dtype(bool)]}[k]))


RECIPES: dict[str, callable] = {}


def recipe(*ops):
    def enter(function):
        RECIPES.update(dict.fromkeys(ops, function))
        return function

    return enter


def ints(values):
    return np.array(list(values), np.int64)


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


REDUCTIONS = [
    f"Reduce{of}"
    for of in ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")
]


@recipe(*REDUCTIONS)
def reduction(d, op):
    dtype = d.pick(*FLOATS, np.dtype("int32"), np.dtype("int64"))
    if dtype.kind == "i" and op in ("ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceL2"):
        dtype = np.dtype("float32")
    d.finite = op == "ReduceLogSumExp"
    x = d.values(d.shape(), dtype)
    d.given(
        np.abs(x) if op == "ReduceLogSum" else np.clip(x, -9, 9) if dtype.kind == "i" else x, d.chance(0.2)
    )
    n, attrs = x.ndim, {"keepdims": d.pick(0, 1)}
    axes = None if d.chance(0.2) else [a - n * d.pick(0, 1) for a in d.r.sample(range(n), d.r.randint(0, n))]
    d.opset = d.pick(18, 20, 21) if d.chance(0.8) else 13
    if d.opset < 18 and op != "ReduceSum":
        return {**attrs, **({"axes": axes} if axes else {})}
    if axes is not None:
        d.given(ints(axes))
    return {**attrs, "noop_with_empty_axes": d.pick(0, 1)}


@recipe("ArgMax", "ArgMin")
def arg(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i"))
    return {"axis": d.axis(x.ndim), "keepdims": d.pick(0, 1), "select_last_index": d.pick(0, 1)}


@recipe("CumSum")
def cumulative(d, op):
    x = d.operand(d.shape(1), d.pick(*FLOATS[:4], np.dtype("int32"), np.dtype("int64")))
    d.given(np.array(d.axis(x.ndim), d.pick(np.int32, np.int64)))
    return {"exclusive": d.pick(0, 1), "reverse": d.pick(0, 1)}


@recipe("Softmax", "LogSoftmax", "Hardmax")
def softmax(d, op):
    x = d.operand(d.shape(1), d.dtype("f"))
    d.opset = d.pick(13, 21)
    return {"axis": d.axis(x.ndim)}


@recipe("Gather")
def gather(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i", "b"))
    axis = d.axis(x.ndim)
    size = x.shape[axis]
    where = d.shape(0, 2) if size else (0,)
    d.given(d.n.integers(-size, max(size, 1), where).astype(d.pick(np.int32, np.int64)))
    return {"axis": axis}


@recipe("GatherElements", "ScatterElements")
def elements(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i"))
    axis = d.axis(x.ndim)
    if op == "GatherElements":
        shape = tuple(d.r.randint(0 if d.chance(0.1) else min(1, s), s) for s in x.shape)
        d.given(
            d.n.integers(-x.shape[axis], max(x.shape[axis], 1), shape)
            if x.shape[axis]
            else np.zeros(shape, np.int64)
        )
        return {"axis": axis}
    reduction = d.pick("none", "add", "mul", "max", "min")
    shape = tuple(d.r.randint(min(1, s), s) for s in x.shape)
    each = np.argsort(d.n.random(x.shape), axis)[tuple(map(slice, shape))]  # no place twice
    d.given(each.astype(np.int64) - (x.shape[axis] if d.chance(0.3) else 0))
    d.operand(shape, x.dtype)
    return {"axis": axis, "reduction": reduction}


@recipe("GatherND")
def gather_nd(d, op):
    x = d.operand(d.shape(1, empty=0), d.dtype("f", "i"))
    batch = d.r.randint(0, x.ndim - 1)
    count = d.r.randint(1, x.ndim - batch)
    lead = (*x.shape[:batch], *d.shape(0, 2))
    places = [d.n.integers(-s, s, lead) for s in x.shape[batch : batch + count]]
    d.given(np.stack(places, -1))
    return {"batch_dims": batch}


@recipe("ScatterND")
def scatter_nd(d, op):
    x = d.operand(d.shape(1, empty=0), d.dtype("f", "i"))
    count = d.r.randint(1, x.ndim)
    flat = d.n.permutation(math.prod(x.shape[:count]))[: d.r.randint(1, 5)]
    places = np.stack(np.unravel_index(flat, x.shape[:count]), -1)
    d.given(places - (np.array(x.shape[:count]) if d.chance(0.3) else 0))
    d.operand((len(places), *x.shape[count:]), x.dtype)
    return {"reduction": d.pick("none", "add", "mul", "max", "min")}


@recipe("OneHot")
def one_hot(d, op):
    depth = d.r.randint(1, 5)
    i = d.given(
        d.n.integers(-depth, depth, d.shape(0, 3)).astype(d.pick(np.int64, np.int32, np.float32)), False
    )
    d.given(d.pick(np.array(depth), np.array([depth], np.int32)))
    d.finite = True  # the reference computes on the two values
    d.operand((2,), d.dtype("f", "i"))
    return {"axis": d.axis(i.ndim + 1)}


@recipe("NonZero", "Size", "Det")
def plain(d, op):
    if op == "Det":
        n = d.r.randint(1, 4)
        d.given(d.n.standard_normal((*d.shape(0, 2), n, n)).astype(d.pick(np.float32, np.float64)), False)
        return {}
    x = d.values(d.shape(1), d.dtype("f", "i", "b"))
    d.given(np.where(d.n.random(x.shape) < 0.5, 0, x).astype(x.dtype), False)
    return {}


@recipe("Shape")
def shape_of(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i"))
    attrs = {"start": d.r.randint(-x.ndim, 6), "end": d.r.randint(-x.ndim, 6)}
    return {k: v for k, v in attrs.items() if d.chance(0.5)} if x.ndim else {}


@recipe("Compress")
def compress(d, op):
    x = d.operand(d.shape(1), d.dtype("f", "i"))
    axis = d.axis(x.ndim) if d.chance(0.6) else None
    most = x.size if axis is None else x.shape[axis]
    d.given(d.n.random(d.r.randint(0, most)) < 0.5)
    return {} if axis is None else {"axis": axis}


@recipe("ReverseSequence")
def reverse(d, op):
    x = d.operand(d.shape(2), d.dtype("f", "i"))
    batch = d.pick(0, 1)
    d.given(d.n.integers(0, x.shape[1 - batch] + 1, x.shape[batch]))
    return {"batch_axis": batch, "time_axis": 1 - batch}


@recipe("TopK")
def top_k(d, op):
    dtype = d.dtype("f", "i")
    x = d.values(d.shape(1), dtype)
    x = d.given(np.nan_to_num(x.astype(float)).astype(dtype) if dtype.kind not in "iu" else x, False)
    axis = d.axis(x.ndim)
    d.given(ints([d.r.randint(0, x.shape[axis])]))
    d.opset, d.outputs = 24, 2
    return {"axis": axis, "largest": d.pick(0, 1)}


@recipe("Unique")
def unique(d, op):
    x = d.given(d.n.integers(0, 4, d.shape(1, empty=0)).astype(d.pick(np.float32, np.int64, np.int8)), False)
    d.outputs = 4
    if x.ndim == 1:
        return {"sorted": d.pick(0, 1)}
    return {
        "sorted": 1,
        **({"axis": d.axis(x.ndim)} if d.chance(0.5) else {}),
    }  # unsorted, the reference takes axis 0


@recipe("Reshape")
def reshape(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i", "b"))
    to, allow = list(x.shape), d.pick(0, 1) if d.chance(0.2) else 0
    d.r.shuffle(to)
    if len(to) > 1 and d.chance(0.5):
        to[:2] = [to[0] * to[1]]
    if to and 0 not in to and d.chance(0.5):
        to[d.r.randrange(len(to))] = -1
    elif not allow and d.chance(0.5):
        to = [0] * x.ndim
    d.given(ints(to))
    return {"allowzero": allow}


@recipe("Flatten")
def flatten(d, op):
    x = d.operand(d.shape(0), d.dtype("f", "i"))
    return {"axis": d.r.randint(-x.ndim, x.ndim)}


@recipe("Squeeze", "Unsqueeze")
def squeezes(d, op):
    shape = tuple(1 if d.chance(0.4) else s for s in d.shape())
    x = d.operand(shape, d.dtype("f", "i", "b"))
    if op == "Squeeze":
        ones = [i for i, s in enumerate(shape) if s == 1]
        if d.chance(0.8):
            d.given(ints(a - x.ndim * d.pick(0, 1) for a in d.r.sample(ones, d.r.randint(0, len(ones)))))
        return {}
    n = x.ndim + d.r.randint(1, 2)
    d.given(ints(a - n * d.pick(0, 1) for a in d.r.sample(range(n), n - x.ndim)))
    return {}


@recipe("Transpose")
def transpose(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i", "b"))
    return {"perm": d.r.sample(range(x.ndim), x.ndim)} if x.ndim and d.chance(0.8) else {}


@recipe("Concat")
def concat(d, op):
    shape, dtype = d.shape(1), d.dtype("f", "i", "b")
    axis = d.axis(len(shape))
    for _ in range(d.r.randint(1, 4)):
        part = list(shape)
        part[axis] = d.r.randint(0 if d.chance(0.2) else 1, 20 if d.chance(0.1) else 4)
        d.operand(part, dtype)
    return {"axis": axis}


@recipe("Split")
def split(d, op):
    x = d.operand(d.shape(1, longest=9), d.dtype("f", "i", "b"))
    axis = d.axis(x.ndim)
    d.outputs = d.r.randint(1, 4)
    if d.chance(0.5):
        cuts = sorted(d.r.randint(0, x.shape[axis]) for _ in range(d.outputs - 1))
        d.given(np.diff(ints([0, *cuts, x.shape[axis]])))
        return {"axis": axis}
    return {"axis": axis, "num_outputs": d.outputs}


@recipe("Slice")
def slice_of(d, op):
    x = d.operand(d.shape(1, longest=9), d.dtype("f", "i", "b"))
    count = d.r.randint(1, x.ndim)
    axes = d.r.sample(range(x.ndim), count)
    far = [-(2**63), 2**63 - 1, -20, 20]
    d.given(ints(d.pick(*range(-9, 10), *far) for _ in axes))
    d.given(ints(d.pick(*range(-9, 10), *far) for _ in axes))
    d.given(ints(a - x.ndim * d.pick(0, 1) for a in axes))
    d.given(ints(d.pick(1, 1, 2, 3, -1, -2, 2**62, -(2**62)) for _ in axes))
    return {}


@recipe("Expand")
def expand(d, op):
    shape = d.shape()
    d.operand(d.broadcasting(shape), d.dtype("f", "i", "b"))
    d.given(ints(1 if d.chance(0.2) and s != 0 else s for s in shape))
    return {}


@recipe("Tile")
def tile(d, op):
    x = d.operand(d.shape(), d.dtype("f", "i", "b"))
    d.given(ints(d.pick(0, 1, 1, 2, 3) if d.chance(0.9) else 1 for _ in x.shape))
    return {}


@recipe("Pad")
def pad(d, op):
    mode = d.pick("constant", "reflect", "edge", "wrap")
    x = d.operand(d.shape(1, empty=0.08 if mode == "constant" else 0, longest=6), d.dtype("f", "i"))
    axes = d.r.sample(range(x.ndim), d.r.randint(1, x.ndim)) if d.chance(0.5) else list(range(x.ndim))
    around = []
    for _ in (0, 1):
        around += [d.pick(0, 0, 1, 2, 3, -1) if x.shape[a] > 2 else d.pick(0, 1, 2) for a in axes]
    d.given(ints(around))
    value = mode == "constant" and d.chance(0.5)
    d.given(np.array(d.pick(0, 1, 7), x.dtype)) if value else d.absent()
    if axes != list(range(x.ndim)) or d.chance(0.2):
        d.given(ints(a - x.ndim * d.pick(0, 1) for a in axes))
    elif not value:
        d.names.pop()
    return {"mode": mode}


@recipe("DepthToSpace", "SpaceToDepth")
def blocks(d, op):
    b, (n, c, h, w) = d.pick(1, 2, 3), (d.r.randint(0 if d.chance(0.1) else 1, 3) for _ in range(4))
    d.operand((n, c * b * b, h, w) if op == "DepthToSpace" else (n, c, h * b, w * b), d.dtype("f", "i"))
    return {"blocksize": b, **({"mode": d.pick("DCR", "CRD")} if op == "DepthToSpace" else {})}


@recipe("Trilu")
def trilu(d, op):
    d.operand(d.shape(2), d.dtype("f", "i", "b"))
    if d.chance(0.7):
        d.given(np.array(d.r.randint(-7, 7)))
    return {"upper": d.pick(0, 1)}


@recipe("EyeLike")
def eye_like(d, op):
    d.operand(d.shape(2, 2), d.dtype("f", "i"))
    to = d.dtype("f", "i")
    return {
        "k": d.r.randint(-7, 7),
        **({"dtype": helper.np_dtype_to_tensor_dtype(to)} if d.chance(0.5) else {}),
    }


@recipe("Range")
def range_of(d, op):
    dtype = np.dtype(d.pick("float32", "float64", "int32", "int64", "int16"))
    for v in (d.r.randint(-5, 5), d.r.randint(-5, 9), d.pick(1, 2, 3, -1, -2)):
        d.given(np.array(v, dtype))
    return {}


@recipe("ConstantOfShape")
def constant_of_shape(d, op):
    d.given(ints(d.shape()))
    value = d.values((1,), d.dtype("f", "i", "b"))
    return {"value": numpy_helper.from_array(value)} if d.chance(0.8) else {}


def window(d, n, kernel=None):
    """A kernel's attributes, and an image that it fits into."""
    kernel = kernel or [d.pick(1, 2, 3, 3) for _ in range(n)]
    attrs = {"kernel_shape": kernel}
    stride, dilation = [d.pick(1, 1, 2, 3) for _ in range(n)], [d.pick(1, 1, 2) for _ in range(n)]
    size = [d.r.randint(w * (k - 1) + 1, w * (k - 1) + 8) for k, w in zip(kernel, dilation)]
    if d.chance(0.7):
        attrs["strides"] = stride
    else:
        stride = [1] * n
    if d.chance(0.5):
        attrs["dilations"] = dilation
    return attrs, size


def pads(d, attrs, n, kernel):
    if d.chance(0.3):
        attrs["auto_pad"] = d.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    elif d.chance(0.6):
        attrs["pads"] = [d.r.randint(0, max(k - 1, 0)) for k in kernel * 2]


@recipe("Conv")
def conv(d, op):
    n, group = d.pick(1, 2, 2, 3), d.pick(1, 1, 2)
    c, k = d.r.randint(1, 3), d.r.randint(1, 3)
    attrs, size = window(d, n)
    pads(d, attrs, n, attrs["kernel_shape"])
    dtype, d.finite = d.pick(*FLOATS[:5]), True
    d.operand((d.r.randint(1, 2), c * group, *size), dtype, 0)
    d.operand((k * group, c, *attrs["kernel_shape"]), dtype, 0.8)
    if d.chance(0.5):
        d.operand((k * group,), dtype, 0.8)
    if d.chance(0.3):
        del attrs["kernel_shape"]
    return {**attrs, "group": group}


@recipe("ConvTranspose")
def conv_transpose(d, op):
    """The reference splits the padding of output_shape in a way of its own: it is left to tests by
    hand.
    """
    n, group = d.pick(1, 2, 2, 3), d.pick(1, 1, 2)
    c, k = d.r.randint(1, 3), d.r.randint(1, 3)
    attrs, _ = window(d, n)
    kernel, stride, dilation = (
        attrs["kernel_shape"],
        attrs.get("strides", [1] * n),
        attrs.get("dilations", [1] * n),
    )
    if d.chance(0.5):
        attrs["pads"] = [d.r.randint(0, w * (m - 1)) // 2 for m, w in list(zip(kernel, dilation)) * 2]
    if d.chance(0.4):
        attrs["output_padding"] = [d.r.randint(0, max(s, w) - 1) for s, w in zip(stride, dilation)]
    dtype, d.finite = d.pick(*FLOATS[:5]), True
    d.operand((d.r.randint(1, 2), c * group, *(d.r.randint(1, 5) for _ in range(n))), dtype, 0)
    d.operand((c * group, k, *kernel), dtype, 0.8)
    if d.chance(0.5) and group == 1:  # the reference gives every group the first one's bias
        d.operand((k * group,), dtype, 0.8)
    return {**attrs, "group": group}


@recipe("MaxPool", "AveragePool", "LpPool")
def pooling(d, op):
    n = d.pick(1, 2, 2, 3)
    attrs, size = window(d, n)
    pads(d, attrs, n, attrs["kernel_shape"])
    if d.chance(0.4):
        attrs["ceil_mode"] = d.pick(0, 1)
    d.opset = 22
    dtype = d.pick(*FLOATS[:5], *([np.dtype("uint8"), np.dtype("int8")] if op == "MaxPool" else []))
    x = d.values((d.r.randint(1, 2), d.r.randint(1, 3), *size), dtype)
    d.given(
        x if dtype.kind in "iu" else np.nan_to_num(x.astype(float), posinf=9, neginf=-9).astype(dtype), False
    )
    if op == "AveragePool" and d.chance(0.5):
        attrs["count_include_pad"] = 1
    if op == "LpPool":
        attrs["p"] = d.pick(1, 2, 3)
    if op == "MaxPool" and d.chance(0.4):
        attrs["storage_order"], d.outputs = d.pick(0, 1), 2
    return attrs


@recipe(
    "GlobalAveragePool",
    "GlobalMaxPool",
    "InstanceNormalization",
    "BatchNormalization",
    "MeanVarianceNormalization",
)
def images(d, op):
    x = d.values((d.r.randint(1, 2), d.r.randint(1, 3), *d.shape(2, 2, empty=0)), d.pick(*FLOATS[:5]))
    x = d.given(np.nan_to_num(x.astype(float), posinf=9, neginf=-9).astype(x.dtype), False)
    if op.startswith("Global") or op == "MeanVarianceNormalization":
        return (
            {"axes": d.r.sample([0, 1, -1, -2], 2)}
            if op == "MeanVarianceNormalization" and d.chance(0.3)
            else {}
        )
    c = x.shape[1]
    for i in range(2 if op == "InstanceNormalization" else 4):
        v = d.n.standard_normal(c)
        d.given((np.abs(v) + 0.1 if i == 3 else v).astype(x.dtype))
    return {"epsilon": d.pick(1e-5, 1e-2)}


@recipe("LayerNormalization", "RMSNormalization")
def layer_norm(d, op):
    x = d.values(d.shape(1, empty=0), d.pick(*FLOATS[:5]))
    x = d.given(np.clip(np.nan_to_num(x.astype(float)), -9, 9).astype(x.dtype), False)
    axis = d.axis(x.ndim)
    scale = x.shape[axis % x.ndim :]
    d.given(d.n.standard_normal(scale).astype(x.dtype))
    if op == "LayerNormalization" and d.chance(0.5):
        d.given(d.n.standard_normal(scale).astype(x.dtype))
    d.opset = 23
    return {"axis": axis, "epsilon": d.pick(1e-5, 1e-2)}


@recipe("GroupNormalization")
def group_norm(d, op):
    g, c = d.r.randint(1, 3), d.r.randint(1, 3)
    dtype = d.pick(*FLOATS[:5])
    d.given(d.n.standard_normal((2, g * c, *d.shape(1, 2, empty=0))).astype(dtype), False)
    d.opset = d.pick(21, 22)
    for _ in range(2):
        d.given(d.n.standard_normal(g * c).astype(dtype))
    return {"num_groups": g}


@recipe("LRN")
def lrn(d, op):
    """As many samples as channels: the reference counts the one for the other."""
    c = d.r.randint(1, 6)
    d.given(d.n.standard_normal((c, c, *d.shape(2, 2, empty=0))).astype(d.pick(*FLOATS[:4])), False)
    return {
        "size": d.pick(1, 2, 3, 4, 5),
        "alpha": d.pick(1e-4, 0.1),
        "beta": d.pick(0.75, 0.5),
        "bias": d.pick(1.0, 2.0),
    }


@recipe("LpNormalization")
def lp_norm(d, op):
    x = d.values(d.shape(1, empty=0), d.pick(*FLOATS[:4]))
    x = d.given(np.nan_to_num(x, posinf=9, neginf=-9), False)
    return {"axis": d.axis(x.ndim), "p": 2}  # for 1 the reference adds values, not their sizes


@recipe("MatMul")
def matmul(d, op):
    n, k, m = (d.r.randint(0 if d.chance(0.05) else 1, 6) for _ in range(3))
    dtype = d.pick(*FLOATS, np.dtype("int32"), np.dtype("int64"), np.dtype("uint32"))
    lead = d.shape(0, 2)
    left = (k,) if d.chance(0.15) else (*d.broadcasting(lead), n, k)
    right = (k,) if d.chance(0.15) else (*d.broadcasting(lead), k, m)
    d.operand(left, dtype)
    d.operand(right, dtype, 0.5)
    return {}


@recipe("Gemm")
def gemm(d, op):
    n, k, m = (d.r.randint(0 if d.chance(0.05) else 1, 6) for _ in range(3))
    dtype = d.pick(*FLOATS[:5], np.dtype("int32"), np.dtype("int64"))
    ta, tb = d.pick(0, 1), d.pick(0, 1)
    small = lambda s: d.given(d.n.integers(-99, 99, s).astype(dtype), d.chance(0.5))  # noqa: E731
    if dtype.kind == "i":  # the reference multiplies by alpha in floats
        d.operand = lambda shape, dtype, constant=0: small(shape)
    d.operand((k, n) if ta else (n, k), dtype)
    d.operand((m, k) if tb else (k, m), dtype, 0.7)
    if d.chance(0.6):
        d.operand(d.broadcasting((n, m)), dtype, 0.7)
    whole = dtype.kind == "i"
    return {
        "transA": ta,
        "transB": tb,
        "alpha": 1.0 if whole else d.pick(1.0, 0.5),
        "beta": 1.0 if whole else d.pick(1.0, 2.0, 0.0),
    }


@recipe("Einsum")
def einsum(d, op):
    equation, shapes = d.pick(
        ("ij,jk->ik", ((2, 3), (3, 4))),
        ("...ij,...jk->...ik", ((2, 2, 3), (3, 4))),
        ("ii->i", ((3, 3),)),
        ("ij->", ((2, 3),)),
        ("bij,bjk", ((2, 2, 3), (2, 3, 4))),
        ("i,j,k->kij", ((2,), (3,), (4,))),
        ("...->...", ((2, 0),)),
    )
    dtype = d.pick(*FLOATS[:5])
    for shape in shapes:
        d.operand(shape, dtype)
    return {"equation": equation}


@recipe("Resize")
def resize(d, op):
    """By sizes, or by scales that are exact: the length by inexact ones is torch's and not the
    reference's.
    """
    x = d.values(
        (1, d.r.randint(1, 2), *(d.r.randint(1, 7) for _ in range(d.pick(1, 2, 2, 3)))), d.pick(*FLOATS[:4])
    )
    x = d.given(np.nan_to_num(x, posinf=9, neginf=-9), False)
    mode = d.pick("nearest", "linear", "cubic")
    where = d.pick(
        "half_pixel",
        "half_pixel_symmetric",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
    )
    attrs = {"mode": mode, "coordinate_transformation_mode": where}
    axes = list(range(x.ndim))
    if d.chance(0.4):
        axes = d.r.sample(axes, d.r.randint(1, x.ndim))
        attrs["axes"] = [a - x.ndim * d.pick(0, 1) for a in axes]
    if where == "tf_crop_and_resize":
        d.given(
            np.array(
                [d.pick(0.0, 0.25, -0.5) for _ in axes] + [d.pick(1.0, 0.75, 1.5) for _ in axes], np.float32
            )
        )
        attrs["extrapolation_value"] = d.pick(0.0, 9.0)
    else:
        d.absent()
    if d.chance(0.5) and where not in ("align_corners", "tf_crop_and_resize"):
        scales = [d.pick(1.0, 2.0, 0.5, 1.5, 3.0) for _ in axes]
        if (
            where == "half_pixel_symmetric" and mode == "nearest"
        ):  # positions that are whole but for a last bit
            attrs["coordinate_transformation_mode"] = "half_pixel"
        if where == "pytorch_half_pixel":
            scales = [s if int(x.shape[a] * s) > 1 else 1.0 for s, a in zip(scales, axes)]
        d.given(np.array(scales, np.float32))
    else:
        d.absent()
        sizes = [d.r.randint(1, 9) if a > 1 else x.shape[a] for a in axes]
        # the reference puts a single result at -0.5, the text at 0
        if where == "pytorch_half_pixel":
            sizes = [max(s, 2) if s != x.shape[a] else s for s, a in zip(sizes, axes)]
        d.given(ints(sizes))
        if d.chance(0.3) and where in ("half_pixel", "asymmetric"):
            attrs["keep_aspect_ratio_policy"] = d.pick("not_larger", "not_smaller")
    if mode == "nearest":
        attrs["nearest_mode"] = d.pick("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    else:
        # half_pixel_symmetric: the reference's choice of neighbours hangs on the last bit of a
        # position
        attrs["antialias"] = d.pick(0, 0, 1) if where != "half_pixel_symmetric" else 0
        attrs["exclude_outside"] = d.pick(0, 0, 1) if mode == "cubic" else 0
        attrs["cubic_coeff_a"] = d.pick(-0.75, -0.5)
    return attrs


@recipe("RNN", "LSTM", "GRU")
def recurrent(d, op):
    t, n, i, h = (d.r.randint(1, 4) for _ in range(4))
    gates, way = {"RNN": 1, "LSTM": 4, "GRU": 3}[op], d.pick("forward", "reverse", "bidirectional")
    directions, layout = 2 if way == "bidirectional" else 1, d.pick(0, 0, 1)
    real = d.pick(np.float32, np.float32, np.float64)
    normal = lambda *s: d.n.standard_normal(s).astype(real)  # noqa: E731
    d.given(normal(n, t, i) if layout else normal(t, n, i), False)
    d.given(normal(directions, gates * h, i))
    d.given(normal(directions, gates * h, h))
    d.given(normal(directions, 2 * gates * h)) if d.chance(0.7) else d.absent()
    d.absent()
    if d.chance(0.5):
        for _ in range(2 if op == "LSTM" else 1):
            d.given(normal(n, directions, h) if layout else normal(directions, n, h))
    while not d.names[-1]:
        d.names.pop()
    d.outputs = 3 if op == "LSTM" else 2
    d.opset = 14
    return {
        "hidden_size": h,
        "direction": way,
        "layout": layout,
        **({"linear_before_reset": d.pick(0, 1)} if op == "GRU" else {}),
    }


def one(seed: int) -> None:
    """A random node, by run and, where it can be compiled, by load, against the reference."""
    draw = Draw(seed)
    op = draw.r.choice(sorted(RECIPES))
    attrs = RECIPES[op](draw, op)
    if attrs is None:
        return
    outputs = [f"o{i}" for i in range(draw.outputs)]
    node = helper.make_node(op, draw.names, outputs, **attrs)
    want = (
        pooled(draw, op, attrs)
        if op in ("MaxPool", "AveragePool", "LpPool")
        else expected(draw, node, outputs)
    )
    if want is None:
        return
    model = file(draw, node, outputs, lambda x: x)
    said = f"{op} {attrs} of {[(n and describe(draw, n)) for n in draw.names]}, operator set {draw.opset}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            got = list(door.run(model, draw.data).values())
        except door.ModelError as why:
            if "which it does not take" in str(why):  # the operator's text has no such type
                return
            raise AssertionError(f"refused: {why}: {said}") from why
        # a difference from a mean, over a deviation
        # The reference computes antialiased weights in float32.
        slack = 10.0 if op == "Resize" else 20.0 if op.endswith("Normalization") else 1.0
        compare(f"run, {said}", got, want, slack)
        if draw.data and all(x.dtype == np.float32 for x in draw.data.values()):
            try:
                program = door.load(model)
            except door.ModelError:
                return
            got = program(*draw.data.values())
            compare(f"Program, {said}", list(got) if isinstance(got, tuple) else [got], want, slack)


def file(draw, node, outputs, given):
    """The model of the node, with each operand x as given(x)."""
    typed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(given(x).dtype), x.shape)
        for n, x in draw.data.items()
    ]
    made = [helper.make_empty_tensor_value_info(o) for o in outputs]
    constants = [numpy_helper.from_array(given(x), n) for n, x in draw.constants.items()]
    graph = helper.make_graph([node], "g", typed, made, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", draw.opset)], ir_version=10)


def describe(draw, name):
    x = draw.data[name] if name in draw.data else draw.constants[name]
    return f"{x.dtype}{x.shape}" + (f"={x.tolist()}" if name in draw.constants and x.size < 9 else "")


def is_real(dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def pooled(draw, op, attrs):
    """Pooling window by window: the reference takes auto_pad, uneven pads and empty windows in ways
    of its own.
    """
    x = draw_of(draw, draw.names[0])
    n, kernel = x.ndim - 2, attrs["kernel_shape"]
    stride, dilation, how = (
        attrs.get("strides", [1] * n),
        attrs.get("dilations", [1] * n),
        attrs.get("auto_pad", "NOTSET"),
    )
    before, behind = np.reshape(attrs.get("pads", [0] * 2 * n), (2, n)).tolist()
    reach = [w * (k - 1) + 1 for k, w in zip(kernel, dilation)]
    if how.startswith("SAME"):
        total = [max((-(-i // s) - 1) * s + r - i, 0) for i, s, r in zip(x.shape[2:], stride, reach)]
        before = [t // 2 if how == "SAME_UPPER" else t - t // 2 for t in total]
        behind = [t - b for t, b in zip(total, before)]
    size = []
    for i, length in enumerate(x.shape[2:]):
        room = length + before[i] + behind[i] - reach[i]
        count = (-(-room // stride[i]) if attrs.get("ceil_mode") else room // stride[i]) + 1
        if attrs.get("ceil_mode") and (count - 1) * stride[i] >= length + before[i]:
            count -= 1
        size.append(count)
    if min(size) < 1:
        return None
    y, where = np.zeros((*x.shape[:2], *size)), np.zeros((*x.shape[:2], *size), np.int64)
    order = x.transpose(0, 1, *range(x.ndim - 1, 1, -1)).shape if attrs.get("storage_order") else x.shape
    for at in np.ndindex(*y.shape):
        found, places, counted = [], [], 0
        for tap in np.ndindex(*kernel):
            place = [a * s + t * w - b for a, s, t, w, b in zip(at[2:], stride, tap, dilation, before)]
            counted += all(-b <= p < i + e for p, b, i, e in zip(place, before, x.shape[2:], behind))
            if all(0 <= p < i for p, i in zip(place, x.shape[2:])):
                found.append(float(x[(*at[:2], *place)]))
                places.append(
                    np.ravel_multi_index(
                        (*at[:2], *(place[::-1] if attrs.get("storage_order") else place)), order
                    )
                )
        if not found and op != "LpPool" and not (op == "AveragePool" and attrs.get("count_include_pad")):
            return None  # nothing to take: 0 / 0, or the least number of a type
        if op == "MaxPool":
            y[at], where[at] = max(found), places[found.index(max(found))]
        elif op == "AveragePool":
            y[at] = sum(found) / (counted if attrs.get("count_include_pad") else len(found))
        else:
            y[at] = sum(abs(v) ** attrs["p"] for v in found) ** (1 / attrs["p"])
    return [y.astype(x.dtype), where][: draw.outputs]


def expected(draw, node, outputs):
    """The reference's results, of real operands in float64 and rounded to the type they have; None
    where it has none.
    """
    wide = lambda x: x.astype(np.float64) if is_real(x.dtype) else x  # noqa: E731
    wanted = next((draw_of(draw, n).dtype for n in draw.names if n and is_real(draw_of(draw, n).dtype)), None)
    keeps = node.op_type in ("Cast", "EyeLike", "ConstantOfShape")  # results of a type of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            given = (lambda x: x) if keeps else wide
            model = file(draw, node, outputs, given)
            results = ReferenceEvaluator(model).run(None, {n: given(x) for n, x in draw.data.items()})
            if node.op_type == "Pow":
                wanted = draw_of(draw, draw.names[0]).dtype
            if node.op_type == "OneHot":
                wanted = draw_of(draw, draw.names[2]).dtype
            results = [np.asarray(r) for r in results]
            if node.op_type.startswith("Reduce"):  # whose sums of int32 are int64
                wanted = draw_of(draw, draw.names[0]).dtype
                results = [r.astype(wanted) for r in results]
            return [
                r.astype(wanted) if not keeps and wanted is not None and r.dtype == np.float64 else r
                for r in results
            ]
    except Exception:  # whatever it is, it is the reference's own
        return None


def draw_of(draw, name):
    return draw.data[name] if name in draw.data else draw.constants[name]


# Attributes are float32, and so are the reference's own erf and constants.
ROUNDING = {"float64": 2e-6, "float32": 2e-5, "float16": 3e-3, "bfloat16": 2e-2}


def compare(said, got, want, slack) -> None:
    assert len(got) == len(want), said
    for i, (a, b) in enumerate(zip(got, want)):
        assert a.shape == b.shape, f"output {i} is of shape {a.shape}, not {b.shape}: {said}"
        assert a.dtype == b.dtype, f"output {i} is {a.dtype}, not {b.dtype}: {said}"
        if not is_real(b.dtype):
            assert np.array_equal(a, b), f"output {i} is {short(a)}, not {short(b)}: {said}"
            continue
        tolerance = slack * ROUNDING[b.dtype.name]
        x, y = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(y)
        same = np.array_equal(np.isnan(x), np.isnan(y)) and np.array_equal(
            x[~finite & ~np.isnan(y)], y[~finite & ~np.isnan(y)]
        )
        assert same, f"output {i} is {short(a)}, not {short(b)}: {said}"
        off = np.abs(x - y)[finite].max(initial=0)
        scale = np.abs(y[finite]).max(initial=0)
        assert off <= tolerance * max(scale, 1e-3), (
            f"output {i} is off by {off:.3g} of {scale:.3g}, {short(a)} not {short(b)}: {said}"
        )


def short(array) -> str:
    return f"{np.asarray(array).reshape(-1)[:6].tolist()}"


def prepare() -> None:
    warnings.simplefilter("ignore")
    onnx.defs.get_all_schemas()
