"""Dropout: zeros elements, whole channels or whole branches at random while training.
Srivastava et al. (2014)."""
from __future__ import annotations

from typing import Any

from .. import functional as F
from .module import Module


class _Dropout(Module):
    function: str

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be in [0, 1], got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Any) -> Any:
        return getattr(F, self.function)(input, self.p, True) if self.training and self.p else input

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """Each element is zero with probability p, the others grow by 1 / (1 - p)."""
    function = "dropout"


class Dropout1d(_Dropout):
    """Each channel of (N, C, L) is zero with probability p, the others grow by 1 / (1 - p)."""
    function = "dropout1d"


class Dropout2d(_Dropout):
    """Each channel of (N, C, H, W) is zero with probability p, the others grow by 1 / (1 - p)."""
    function = "dropout2d"


class Dropout3d(_Dropout):
    """Each channel of (N, C, D, H, W) is zero with probability p, the others grow by 1 / (1 -
    p)."""
    function = "dropout3d"


class StochasticDepth(Module):
    """A residual branch is zero with probability p, for each sample on its own (mode "row")
    or the whole batch ("batch"), else grows by 1 / (1 - p).
    torchvision.ops.StochasticDepth. Huang et al. (2016).
    """

    def __init__(self, p: float, mode: str) -> None:
        if not 0 <= p <= 1 or mode not in ("row", "batch"):
            raise ValueError(f"StochasticDepth: p must be in [0, 1] and mode row or batch, got {p}, {mode!r}")
        self.p, self.mode = p, mode

    def forward(self, input: Any) -> Any:
        return F.stochastic_depth(input, self.p, self.mode, True) if self.training and self.p else input

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"
