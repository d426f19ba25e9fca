"""Elementwise functions and arithmetic with broadcasting, under torch's names."""
from __future__ import annotations

from ..kernels.elementwise import reference
from ..registry import A, Op, case

__all__ = ["abs", "erf", "exp", "expm1", "log", "log1p", "neg", "reciprocal", "rsqrt", "sigmoid", "sqrt", "square", "tanh"]

TAILS = (1, 7, 16, 33, 1000)


def chain(name):
    """The row of a kernel dx = f(g, v), where v is the forward call's input or result."""
    def forward(k, g, v):
        dx = k.empty(g.shape)
        getattr(k, name)(g, v, dx)
        return dx
    return Op(name, "rr", forward, getattr(reference, name), kernels=(name,))


def unary(name, formula, values="normal", gradient=None, cases=()):
    """The row and the public function of a function of one array. Cases walk the tails of every vector width."""
    def forward(k, x):
        y = k.empty(x.shape)
        getattr(k, name)(x, y)
        return y
    op = Op(name, "r", forward, getattr(reference, name), gradient, kernels=(name,), cases=[
        *(case(f"n{n}", name, A(n, values=values), batch=True, gradient=gradient is not None) for n in TAILS),
        case("scalar", name, A(values=values), gradient=gradient is not None), case("empty", name, A(3, 0, values=values), gradient=gradient is not None), *cases],
        bytes=lambda x: 2 * x.nbytes)

    def function(input, *, out=None):
        return op(input, out=out)
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{formula}, elementwise. input: any shape, float32 or float64; returns an array like input."
    return function


neg = unary("neg", "-x")
abs = unary("abs", "|x|")
square = unary("square", "x^2")
sqrt = unary("sqrt", "The square root of x, NaN where x < 0", "positive")
rsqrt = unary("rsqrt", "1 / sqrt(x)", "positive")
reciprocal = unary("reciprocal", "1 / x", "positive")
exp = unary("exp", "e^x")
expm1 = unary("expm1", "e^x - 1, accurate near 0")
log = unary("log", "The natural logarithm of x, -inf at 0, NaN where x < 0", "positive")
log1p = unary("log1p", "log(1 + x), accurate near 0", "positive")
erf = unary("erf", "The error function 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x")
TANH_BACKWARD, SIGMOID_BACKWARD = map(chain, ("tanh_backward", "sigmoid_backward"))
tanh = unary("tanh", "The hyperbolic tangent of x", gradient=lambda ctx: (TANH_BACKWARD(ctx.g, ctx.outputs[0]),))
sigmoid = unary("sigmoid", "1 / (1 + e^-x)", gradient=lambda ctx: (SIGMOID_BACKWARD(ctx.g, ctx.outputs[0]),))
