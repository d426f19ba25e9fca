"""Linear and Identity."""
from __future__ import annotations

from typing import Any

import numpy as np

from .. import functional as F
from ..core.types import DType
from . import init
from .module import Module, Parameter
from .sizes import whole


class Identity(Module):
    """Returns its input. Takes and ignores any arguments, to stand in for other layers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Any) -> Any:
        return input


class Linear(Module):
    """x @ weight.T + bias. weight: (out_features, in_features); bias: (out_features,) or None."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *,
                 dtype: DType = np.float32) -> None:
        whole(type(self).__name__, in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), dtype))
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        init.like_linear(self.weight, self.bias)

    def forward(self, input: Any) -> Any:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (f"in_features={self.in_features}, out_features={self.out_features}, "
                f"bias={self.bias is not None}")
