"""The activations of torch.nn.functional, and LeCun's scaled tanh.

`inplace=True` writes the result into `input` where that is a writable, contiguous NumPy array, and
returns it; a read-only or strided one is refused. Tensors keep their data for the gradient, so for
them the argument is ignored.
"""
from __future__ import annotations

import math

import numpy as np

from .._C import pointwise, probe
from ..core.backends import active
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.types import Arrays
from .broadcast import SUM, plan
from .result_shapes import first

reference = LateFunctions("pyops.kernels.activation.reference")

__all__ = ["celu", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish",
           "prelu", "relu", "relu6", "scaled_tanh", "selu", "silu", "softplus", "softsign", "threshold"]

# Klambauer et al., "Self-Normalizing Neural Networks" (2017)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


RARE = {"epilogue": "rare behind a layer: a call of its own, in any layout"}


LAYERS: dict[str, str] = {}   # class in pyops.nn -> function: those that say no more than the function does
# function -> what pyops.names.names is given: those that have no line there
NAMED: dict[str, dict[str, str]] = {}


def row(name, epilogue=None, layer=None, names=None, steps=False):
    """The rows of an activation and its gradient. Attributes go to the kernels in the order the
    public function names them.

    epilogue: attributes -> how a layer's kernel applies it (kernels/blocked/epilogue.h), None where
    it cannot. layer: the name that pyops.nn gives the public function as a module, where no class
    is written out there. names: what it is called elsewhere, where pyops.names has no line for it.
    steps: whether the slope is constant but for steps.
    """
    if layer is not None:
        LAYERS[layer] = name
    if names is not None:
        NAMED[name] = names

    def forward(k, x, **attrs):
        y = k.empty(x.shape)
        getattr(k, name)(x, *attrs.values(), y)
        return y

    def backward(k, g, x, **attrs):
        dx = k.empty(x.shape)
        getattr(k, name + "_backward")(g, x, *attrs.values(), dx)
        return dx

    def value(*inputs, **attrs):
        return reference.forward(name)(*inputs, **attrs)

    def slope(*inputs, **attrs):
        return reference.backward(name)(*inputs, **attrs)

    def again(ctx):   # where the slope has steps only; others are spelled out (spelled.py)
        return back(ctx.g, ctx.inputs[1], **ctx.attrs) if ctx.needs[0] else None, None
    back = Op(name + "_backward", "rr", pointwise(name + "_backward", 2, False, backward), slope,
              again if steps else None, kernels=(name + "_backward",), pointwise=True, per_sample=True)
    return Op(name, "r", pointwise(name, 1, False, forward), value,
              lambda ctx: (back(ctx.g, ctx.inputs[0], **ctx.attrs),), kernels=(name,),
              bytes=lambda x, **_: 2 * x.nbytes, pointwise=True, activation=True, per_sample=True,
              epilogue=epilogue, todo={} if epilogue else RARE)


def apply(op, input, inplace, out, **attrs):
    """Calls the row; in place if asked and `input` is an array."""
    if not inplace or not isinstance(input, np.ndarray):
        return op(input, out=out, **attrs)
    real = probe((input,), "r")
    if real is None or not input.flags.writeable:
        raise ValueError(f"{op.name}: inplace needs a writable, contiguous float32 or float64 array, got "
                         f"{input.dtype} with strides {input.strides} for shape "
                         f"{input.shape}{'' if input.flags.writeable else ', read-only'}")
    return active.get().run(op, real, (input,), attrs, input)


RELU = row("relu", lambda: ("clamp", 0.0, math.inf), steps=True)
HARDTANH = row("hardtanh", lambda low, high: ("clamp", low, high), steps=True)
THRESHOLD = row("threshold", layer="Threshold", steps=True)
SHRINK = row("shrink", steps=True)
LEAKY_RELU = row("leaky_relu", lambda slope: ("leaky_relu", slope), steps=True)
ELU = row("elu", lambda alpha, scale, inner: ("elu", alpha) if scale == inner == 1 else None)
GELU = row("gelu", lambda: ("gelu",))
GELU_TANH = row("gelu_tanh", lambda: ("gelu_tanh",))
SILU = row("silu", lambda: ("silu",))
MISH = row("mish")
HARDSWISH = row("hardswish", lambda: ("hardswish",))
HARDSIGMOID = row("hardsigmoid", lambda: ("hardsigmoid",), steps=True)
SCALED_TANH = row("scaled_tanh")
LOGSIGMOID = row("logsigmoid")
SOFTPLUS = row("softplus")
SOFTSIGN = row("softsign")


def relu(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """max(x, 0), NaN stays. Any shape, float32 or float64; returns an array like input."""
    return apply(RELU, input, inplace, out)


def relu6(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """min(max(x, 0), 6). Any shape; returns an array like input."""
    return apply(HARDTANH, input, inplace, out, low=0.0, high=6.0)


def hardtanh(input: Arrays, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False, *,
             out: Arrays | None = None) -> Arrays:
    """min(max(x, min_val), max_val). Any shape; returns an array like input."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not exceed max_val {max_val}")
    return apply(HARDTANH, input, inplace, out, low=float(min_val), high=float(max_val))


def threshold(input: Arrays, threshold: float, value: float, inplace: bool = False, *,
              out: Arrays | None = None) -> Arrays:
    """x where x > threshold, else value. Any shape; returns an array like input."""
    return apply(THRESHOLD, input, inplace, out, at=float(threshold), value=float(value))


def leaky_relu(input: Arrays, negative_slope: float = 0.01, inplace: bool = False, *,
               out: Arrays | None = None) -> Arrays:
    """x where x > 0, else negative_slope * x. Any shape; returns an array like input."""
    return apply(LEAKY_RELU, input, inplace, out, slope=float(negative_slope))


def elu(input: Arrays, alpha: float = 1.0, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """x where x > 0, else alpha (e^x - 1). Any shape; returns an array like input.
    Clevert et al. (2016)."""
    return apply(ELU, input, inplace, out, alpha=float(alpha), scale=1.0, inner=1.0)


def selu(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """scale * elu(x, alpha) with the two constants of Klambauer et al. (2017). Any shape; returns
    an array like input."""
    return apply(ELU, input, inplace, out, alpha=SELU_ALPHA, scale=SELU_SCALE, inner=1.0)


def celu(input: Arrays, alpha: float = 1.0, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """max(x, 0) + min(alpha (e^(x / alpha) - 1), 0). Any shape; returns an array like
    input. Barron (2017)."""
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return apply(ELU, input, inplace, out, alpha=float(alpha), scale=1.0, inner=1 / alpha)


def gelu(input: Arrays, approximate: str = "none", *, out: Arrays | None = None) -> Arrays:
    """x times the normal distribution function of x, exactly ("none") or as Hendrycks & Gimpel's
    tanh form ("tanh")."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return (GELU if approximate == "none" else GELU_TANH)(input, out=out)


def silu(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """x * sigmoid(x). Any shape; returns an array like input."""
    return apply(SILU, input, inplace, out)


def mish(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """x * tanh(log(1 + e^x)). Any shape; returns an array like input. Misra (2020)."""
    return apply(MISH, input, inplace, out)


def hardswish(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """x * min(max(x + 3, 0), 6) / 6. Any shape; returns an array like input. Howard et al.
    (2019)."""
    return apply(HARDSWISH, input, inplace, out)


def hardsigmoid(input: Arrays, inplace: bool = False, *, out: Arrays | None = None) -> Arrays:
    """min(max(x + 3, 0), 6) / 6. Any shape; returns an array like input."""
    return apply(HARDSIGMOID, input, inplace, out)


def scaled_tanh(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """1.7159 tanh(2x / 3), which maps +-1 to +-1. Any shape; returns an array like input. LeCun et
    al., "Efficient BackProp" (1998)."""
    return SCALED_TANH(input, out=out)


def logsigmoid(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """log(1 / (1 + e^-x)), finite for every finite x. Any shape; returns an array like input."""
    return LOGSIGMOID(input, out=out)


def softplus(input: Arrays, beta: float = 1.0, threshold: float = 20.0, *,
             out: Arrays | None = None) -> Arrays:
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold. Any shape; returns
    an array like input."""
    if not beta:
        raise ValueError("softplus: beta must not be 0")
    return SOFTPLUS(input, beta=float(beta), threshold=float(threshold), out=out)


def softsign(input: Arrays, *, out: Arrays | None = None) -> Arrays:
    """x / (1 + |x|). Any shape; returns an array like input."""
    return SOFTSIGN(input, out=out)


# ---- prelu: a slope per channel

def prelu(input: Arrays, weight: Arrays, *, out: Arrays | None = None) -> Arrays:
    """x where x > 0, else weight * x. input: (N, C, ...); weight: (C,), or one number for
    all. He et al. (2015)."""
    return PRELU(input, weight, out=out)


def prelu_shapes(x, weight):
    """The shape of weight against x. Raises ValueError unless it has one element or one a
    channel."""
    if len(weight) > 1 or (weight and weight[0] != 1 and (len(x) < 2 or weight[0] != x[1])):
        raise ValueError(f"prelu: weight {weight} must be one number, or one a channel: axis 1 of input {x}")
    return (weight[0], *(1,) * (len(x) - 2)) if weight and len(x) >= 2 else (1,) * min(len(x), 1)


def prelu_forward(k, x, weight):
    shape, *layout = plan("prelu", x.shape, prelu_shapes(x.shape, weight.shape))
    y = k.empty(shape)
    k.prelu(x, weight, *layout, y)
    return y


def prelu_backward(k, g, x, weight):
    shape, *layout = plan("prelu", x.shape, x.shape, prelu_shapes(x.shape, weight.shape))
    dx = k.empty(shape)
    k.prelu_backward(g, x, weight, *layout, dx)
    return dx


def prelu_weight_terms(k, g, x):
    terms = k.empty(x.shape)
    k.prelu_weight_terms(g, x, terms)
    return terms


def prelu_gradient(ctx):
    x, weight = ctx.inputs
    dweight = None
    if ctx.needs[1]:
        axes = tuple(a for a in range(len(x.shape)) if a != 1 or weight.size == 1)
        dweight = SUM(PRELU_WEIGHT_TERMS(ctx.g, x), dims=axes, shape=tuple(weight.shape))
    return PRELU_BACKWARD(ctx.g, x, weight) if ctx.needs[0] else None, dweight


PRELU_BACKWARD = Op("prelu_backward", "rrr", prelu_backward, reference.prelu_backward,
                    kernels=("prelu_backward",))
PRELU_WEIGHT_TERMS = Op("prelu_weight_terms", "rr", prelu_weight_terms, reference.prelu_weight_terms,
                        kernels=("prelu_weight_terms",), pointwise=True, per_sample=True)
PRELU = Op("prelu", "rr", prelu_forward, reference.prelu, prelu_gradient,
           lambda x, weight: prelu_shapes(x.shape, weight.shape), kernels=("prelu",), activation=True,
           per_sample=True, shapes=first, todo={"epilogue": "a slope a channel, which is no operand of an epilogue"})
