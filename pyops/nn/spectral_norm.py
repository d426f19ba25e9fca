"""Spectral normalisation: a layer whose weight is divided by its largest singular value, under the
names of torch.nn.utils.parametrizations. Miyato, Kataoka, Koyama & Yoshida (2018)."""
from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from .. import functional as F
from ..core import random
from ..core.tensor import Tensor
from . import init
from .module import Module, Parameter

Layer = TypeVar("Layer", bound=Module)
STARTING = 15   # rounds of the power method on a new layer's weight


class _SpectralNorm(Module):
    """The vectors of the power method, u for the rows of the matrix and v for its columns."""

    def __init__(self, weight: Any, n_power_iterations: int, dim: int, eps: float) -> None:
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        if weight.ndim > 1:
            matrix = self.matrix(weight)
            for name, count in zip(("_u", "_v"), matrix.shape):
                self.register_buffer(name, np.empty(count, weight.dtype))
            if init.drawing():   # else a checkpoint brings them
                self._v[...] = random.default_generator().standard_normal(len(self._v))   # type: ignore[attr-defined]
                self.iterate(matrix, STARTING)

    def matrix(self, weight: Any) -> Any:
        """`dim` along the rows, all else along the columns."""
        axes = (self.dim, *(axis for axis in range(weight.ndim) if axis != self.dim))
        turned = weight if self.dim == 0 else F.permute(weight, axes)
        return F.reshape(turned, (turned.shape[0], -1))

    def iterate(self, matrix: np.ndarray, rounds: int) -> None:
        u, v = self._u, self._v   # type: ignore[attr-defined]
        for _ in range(rounds):
            u[...] = self.unit(matrix @ v)
            v[...] = self.unit(matrix.T @ u)

    def unit(self, vector: np.ndarray) -> np.ndarray:
        return vector / max(float(np.linalg.norm(vector)), self.eps)

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self.matrix(weight)
        if self.training:
            self.iterate(matrix.data if isinstance(matrix, Tensor) else matrix, self.n_power_iterations)
        u, v = self._u.copy(), self._v.copy()   # type: ignore[attr-defined]   # constants of this call's gradient
        sigma = F.sum(F.mul(F.reshape(F.matmul(matrix, F.reshape(v, (-1, 1))), (-1,)), u))
        return F.div(weight, sigma)


class _Parametrized(Module):
    """original: the parameter. Called, it gives what stands for it."""

    def __init__(self, original: Parameter, norm: _SpectralNorm) -> None:
        self.original = original
        vars(self)["0"] = norm   # torch's name for the first parametrization

    def forward(self) -> Any:
        return vars(self)["0"](self.original)


_made: dict[tuple[type, str], type] = {}


def _class(kind: type, name: str) -> type:
    """The subclass of a layer's class whose attribute `name` is computed at each use."""
    if (kind, name) not in _made:
        def value(self: Any) -> Any:
            return getattr(self.parametrizations, name)()

        def reduce(self: Any, protocol: Any) -> Any:
            return _empty, (kind, name), self.__dict__
        _made[kind, name] = type(f"Parametrized{kind.__name__}", (kind,), {
            name: property(value), "__reduce_ex__": reduce, "parametrized": name})
    return _made[kind, name]


def _empty(kind: type, name: str) -> Any:
    made: Any = _class(kind, name)
    return made.__new__(made)


def spectral_norm(module: Layer, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12,
                  dim: int | None = None) -> Layer:
    """Changes `module`, and returns it: its parameter `name` is divided by its largest singular value,
    of which every use in training mode makes `n_power_iterations` rounds of a better estimate.

    dim: the axis of the rows; None: 1 for transposed convolutions, else 0. The state_dict is that of
    torch.nn.utils.parametrizations.spectral_norm. ValueError where the module has no such parameter,
    or it is normalised already, or numbers are out of range.
    """
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise ValueError(f"spectral_norm: {type(module).__name__} has no parameter {name!r}"
                         + (", which is normalised already" if hasattr(type(module), "parametrized") else ""))
    if n_power_iterations < 1:
        raise ValueError(f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}")
    rows = (1 if type(module).__name__.startswith("ConvTranspose") else 0) if dim is None else dim
    if not -weight.ndim <= rows < weight.ndim:
        raise ValueError(f"spectral_norm: dim {dim} is no axis of {name} {weight.shape}")
    norm = _SpectralNorm(weight.data, n_power_iterations, rows % weight.ndim, eps)
    holder = Module()
    setattr(holder, name, _Parametrized(weight, norm))
    del vars(module)[name]
    vars(module)["parametrizations"] = holder
    module.__class__ = _class(type(module), name)
    return module
