"""Activation functions in NumPy: the definitions, and x -> slope for the gradients. Parameters are
positional, as in the kernels."""
import numpy as np

from ..elementwise.reference import erf, quiet, sigmoid

SQRT_2, SQRT_2PI, GELU_A, GELU_B = 2**0.5, (2 * np.pi) ** 0.5, (2 / np.pi) ** 0.5, 0.044715
LECUN_A, LECUN_S = 1.7159, 2 / 3   # LeCun, Bottou, Orr & Mueller, "Efficient BackProp" (1998)


def relu(x): return np.maximum(x, 0)
def relu_slope(x): return 1.0 - (x <= 0)
def hardtanh(x, low, high): return np.minimum(np.maximum(x, low), high)
def hardtanh_slope(x, low, high): return 1.0 - ((x <= low) | (x >= high))
def threshold(x, at, value): return np.where(x <= at, value, x)
def threshold_slope(x, at, value): return 1.0 - (x <= at)
def shrink(x, at, bias): return np.where(np.abs(x) <= at, 0.0, x - np.copysign(bias, x))
def shrink_slope(x, at, bias): return 1.0 - (np.abs(x) <= at)
def leaky_relu(x, slope): return np.where(x > 0, x, slope * x)
def leaky_relu_slope(x, slope): return np.where(x > 0, 1.0, slope)
def elu(x, alpha, scale, inner): return scale * np.where(x > 0, x, alpha * np.expm1(inner * np.minimum(x, 0)))
def elu_slope(x, alpha, scale, inner):
    return scale * np.where(x > 0, 1.0, alpha * inner * np.exp(inner * np.minimum(x, 0)))
def gelu(x): return 0.5 * x * (1 + erf(x / SQRT_2))
def gelu_slope(x): return 0.5 * (1 + erf(x / SQRT_2)) + x * np.exp(-0.5 * x * x) / SQRT_2PI
def gelu_tanh(x): return 0.5 * x * (1 + np.tanh(GELU_A * (x + GELU_B * x**3)))
def silu(x): return x * sigmoid(x)
def silu_slope(x): return sigmoid(x) * (1 + x * (1 - sigmoid(x)))
def mish(x): return x * np.tanh(np.logaddexp(0, x))
def mish_slope(x):
    return np.tanh(np.logaddexp(0, x)) + x * sigmoid(x) * (1 - np.tanh(np.logaddexp(0, x)) ** 2)
def hardswish(x): return x * np.clip(x + 3, 0, 6) / 6
def hardswish_slope(x): return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, x / 3 + 0.5))
def hardsigmoid(x): return np.clip(x + 3, 0, 6) / 6
def hardsigmoid_slope(x): return np.where((x > -3) & (x < 3), 1 / 6, 0.0)
def scaled_tanh(x): return LECUN_A * np.tanh(LECUN_S * x)
def scaled_tanh_slope(x): return LECUN_A * LECUN_S * (1 - np.tanh(LECUN_S * x) ** 2)
def logsigmoid(x): return -np.logaddexp(0, -x)
def logsigmoid_slope(x): return sigmoid(-x)
def softplus(x, beta, threshold): return np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta)
def softplus_slope(x, beta, threshold): return np.where(beta * x > threshold, 1.0, sigmoid(beta * x))
def softsign(x): return x / (1 + np.abs(x))
def softsign_slope(x): return 1 / (1 + np.abs(x)) ** 2


def gelu_tanh_slope(x):
    t = np.tanh(GELU_A * (x + GELU_B * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * GELU_A * (1 + 3 * GELU_B * x * x)


def forward(name):
    """The definition of `name` with its parameters as keywords, in the type of x."""
    f = quiet(globals()[name])
    return lambda x, **p: np.asarray(f(x, *p.values()), x.dtype)


def backward(name):
    """g times the slope of `name` at x."""
    slope = quiet(globals()[name + "_slope"])
    return lambda g, x, **p: np.asarray(g * slope(x, *p.values()), x.dtype)


def along_channels(x, weight):
    """weight, one or one a channel (axis 1 of x), in a shape that broadcasts."""
    return (weight.reshape(weight.size if weight.size > 1 else 1, *(1,) * max(x.ndim - 2, 0)) if x.ndim
            else weight.reshape(()))


def prelu(x, weight):
    return np.where(x > 0, x, along_channels(x, weight) * x)


def prelu_backward(g, x, weight):
    return np.where(x > 0, g, along_channels(x, weight) * g)


def prelu_weight_terms(g, x):
    return g * np.where(x > 0, 0, x)


def halves(x, dim):
    return np.split(x, 2, dim)


def glu(x, *, dim):
    value, gate = halves(x, dim)
    return np.asarray(value * sigmoid(gate), x.dtype)


def glu_backward(g, x, *, dim):
    value, gate = halves(x, dim)
    passed = g * sigmoid(gate)
    return np.concatenate([passed, passed * value * sigmoid(-gate)], dim).astype(x.dtype)
