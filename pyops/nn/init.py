"""Initialisation in place, with torch.nn.init's names and distributions.

Every function takes a Tensor or an array, fills it, and returns it. `generator` is a
numpy.random.Generator; without one the default generator draws (pyops.manual_seed). The numbers are
not torch's: the generators differ.
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..core.random import default_generator
from ..core.tensor import Tensor

_drawing: ContextVar[bool] = ContextVar("pyops_init_drawing", default=True)


@contextmanager
def skip_draws() -> Iterator[None]:
    """Within the block random initialisation leaves memory as it is: for a model that loads a
    checkpoint right away."""
    token = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(token)


def drawing() -> bool:
    """Whether initialisation draws here; not within skip_draws."""
    return _drawing.get()


def _array(tensor: Any) -> np.ndarray:
    return tensor.data if isinstance(tensor, Tensor) else tensor


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Uniform in [a, b)."""
    array = _array(tensor)
    if _drawing.get():
        (generator or default_generator()).random(dtype=array.dtype, out=array)
        array *= b - a
        array += a
    return tensor


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Normal with this mean and standard deviation."""
    array = _array(tensor)
    if _drawing.get():
        (generator or default_generator()).standard_normal(dtype=array.dtype, out=array)
        array *= std
        array += mean
    return tensor


def trunc_normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
                  generator: Any = None) -> Any:
    """Normal, values outside [a, b] drawn again."""
    array = _array(tensor)
    if not _drawing.get():
        return tensor
    if not a < b or (b - mean) / std < -4 or (a - mean) / std > 4:
        raise ValueError(
            f"trunc_normal_: [{a}, {b}] must be an interval within four deviations of mean {mean}, std {std}")
    normal_(array, mean, std, generator)
    outside = np.flatnonzero((array < a) | (array > b))
    while outside.size:
        drawn = normal_(np.empty(outside.size, array.dtype), mean, std, generator)
        array.flat[outside] = drawn
        outside = outside[(drawn < a) | (drawn > b)]
    return tensor


def constant_(tensor: Any, val: float) -> Any:
    """Every element val."""
    _array(tensor)[...] = val
    return tensor


def ones_(tensor: Any) -> Any:
    """Every element 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Any) -> Any:
    """Every element 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Any) -> Any:
    """The identity matrix; rows and columns may differ in number."""
    array = _array(tensor)
    if array.ndim != 2:
        raise ValueError(f"eye_: needs two axes, got shape {array.shape}")
    array[...] = np.eye(*array.shape, dtype=array.dtype)
    return tensor


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """A convolution weight that copies its input channels, as many as there are, in each of
    `groups`."""
    array = _array(tensor)
    if array.ndim not in (3, 4, 5) or array.shape[0] % groups:
        raise ValueError(f"dirac_: needs a convolution weight whose first axis divides into {groups} groups, "
                         f"got shape {array.shape}")
    array[...] = 0
    out_per_group = array.shape[0] // groups
    centre = tuple(n // 2 for n in array.shape[2:])
    for group in range(groups):
        for d in range(min(out_per_group, array.shape[1])):
            array[(group * out_per_group + d, d, *centre)] = 1
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the standard deviation that keeps variance through this
    nonlinearity (torch's table)."""
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                           "conv_transpose3d", "sigmoid"),
                          1.0) | {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(
            f"calculate_gain: nonlinearity {nonlinearity!r} is not one of leaky_relu, {', '.join(gains)}")
    return gains[nonlinearity]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """fan_in and fan_out of a weight (out, in, *kernel)."""
    if len(shape) < 2:
        raise ValueError(f"init: fan in and fan out need at least two axes, got shape {shape}")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Uniform with standard deviation gain * sqrt(2 / (fan_in + fan_out)). Glorot & Bengio
    (2010)."""
    bound = gain * math.sqrt(6 / sum(fans(_array(tensor).shape)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out)). Glorot & Bengio
    (2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(_array(tensor).shape))), generator)


def _kaiming_std(tensor: Any, a: Any, mode: Any, nonlinearity: Any) -> Any:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be fan_in or fan_out, got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(_array(tensor).shape)[mode == "fan_out"])


def kaiming_uniform_(tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                     generator: Any = None) -> Any:
    """Uniform with standard deviation gain / sqrt(fan). He et al. (2015)."""
    if 0 in _array(tensor).shape:
        return tensor
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Any, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu",
                    generator: Any = None) -> Any:
    """Normal with standard deviation gain / sqrt(fan). He et al. (2015)."""
    if 0 in _array(tensor).shape:
        return tensor
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Any, gain: float = 1, generator: Any = None) -> Any:
    """A random matrix with orthonormal rows or columns (axes after the first flattened), times
    gain. Saxe et al. (2013)."""
    array = _array(tensor)
    if array.ndim < 2:
        raise ValueError(f"orthogonal_: needs at least two axes, got shape {array.shape}")
    if not _drawing.get() or not array.size:
        return tensor
    rows, cols = array.shape[0], array.size // array.shape[0]
    q, r = np.linalg.qr(normal_(np.empty((max(rows, cols), min(rows, cols))), generator=generator))
    q *= np.sign(np.diag(r))   # makes the distribution uniform over orthogonal matrices
    array[...] = gain * (q if rows >= cols else q.T).reshape(array.shape)
    return tensor


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Any:
    """Normal, with the fraction `sparsity` of each column zero. Martens (2010)."""
    array = _array(tensor)
    if array.ndim != 2:
        raise ValueError(f"sparse_: needs two axes, got shape {array.shape}")
    normal_(array, 0.0, std, generator)
    zeros = math.ceil(sparsity * array.shape[0])
    for column in range(array.shape[1]):
        array[(generator or default_generator()).permutation(array.shape[0])[:zeros], column] = 0
    return tensor


def like_linear(weight: Any, bias: Any = None) -> None:
    """What torch gives Linear and convolutions: both uniform within 1/sqrt(fan_in)."""
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = fans(weight.shape)
        bound = 1 / math.sqrt(fan_in) if fan_in else 0
        uniform_(bias, -bound, bound)
