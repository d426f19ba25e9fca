"""Activations."""
from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import functional as F
from ..core.types import DType
from ..ops.activation import LAYERS
from . import init
from .layer import Layer
from .module import Module, Parameter


class _InPlace(Layer):
    inplace: bool = False


class ReLU(_InPlace, of="relu"):
    """max(x, 0)."""


class ReLU6(_InPlace, of="relu6"):
    """min(max(x, 0), 6)."""


class SELU(_InPlace, of="selu"):
    """Klambauer et al. (2017)."""


class SiLU(_InPlace, of="silu"):
    """x * sigmoid(x)."""


class Mish(_InPlace, of="mish"):
    """x * tanh(softplus(x)). Misra (2019)."""


class Hardswish(_InPlace, of="hardswish"):
    """x * relu6(x + 3) / 6."""


class Hardsigmoid(_InPlace, of="hardsigmoid"):
    """relu6(x + 3) / 6."""


class LeakyReLU(Layer, of="leaky_relu"):
    """x where x > 0, else negative_slope * x."""
    negative_slope: float = 0.01
    inplace: bool = False


class ELU(Layer, of="elu"):
    """x where x > 0, else alpha * (exp(x) - 1)."""
    alpha: float = 1.0
    inplace: bool = False


class CELU(Layer, of="celu"):
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))."""
    alpha: float = 1.0
    inplace: bool = False


class Hardtanh(Layer, of="hardtanh"):
    """x clipped to [min_val, max_val]."""
    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False


class GELU(Layer, of="gelu"):
    """x * Phi(x); approximate is "none" or "tanh"."""
    approximate: str = "none"


class Softplus(Layer, of="softplus"):
    """log(1 + exp(beta * x)) / beta, and x where beta * x > threshold."""
    beta: float = 1.0
    threshold: float = 20.0


class Sigmoid(Layer, of="sigmoid"):
    """1 / (1 + exp(-x))."""


class LogSigmoid(Layer, of="logsigmoid"):
    """log(sigmoid(x))."""


class Tanh(Layer, of="tanh"):
    """tanh(x)."""


class Softsign(Layer, of="softsign"):
    """x / (1 + |x|)."""


class Softmax(Layer, of="softmax"):
    """exp(x) over its sum along dim."""
    dim: int | None = None


class LogSoftmax(Layer, of="log_softmax"):
    """The logarithm of softmax along dim."""
    dim: int | None = None


class ScaledTanh(Layer, of="scaled_tanh"):
    """1.7159 * tanh(2x / 3). LeCun et al. (1998), appendix A."""


class PReLU(Module):
    """x where x > 0, else weight * x, with one learnt weight for all channels or one each."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DType = np.float32) -> None:
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(np.empty(num_parameters, dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


def of_function(name: str, function: Callable[..., Any]) -> type[Layer]:
    """The layer of a public function: its arguments behind the input are the constructor's, with
    the same defaults."""
    arguments = [p for p in list(inspect.signature(function).parameters.values())[1:]
                 if p.kind is p.POSITIONAL_OR_KEYWORD]
    fields = {p.name: p.default for p in arguments if p.default is not p.empty}
    body = {"__doc__": function.__doc__, "__module__": __name__,
            "__annotations__": {p.name: "float" for p in arguments}, **fields}
    return types.new_class(name, (Layer,), {"of": function.__name__},
                           lambda namespace: namespace.update(body))


DERIVED = {name: of_function(name, getattr(F, function)) for name, function in LAYERS.items()}
