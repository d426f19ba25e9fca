"""What a Tensor's methods are given: numbers to hold, operands, indices, sizes, types and devices.

Nothing here makes a Tensor; tensor.py does.
"""
from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tape
from .dispatch import is_masked
from .symbolic import SymInt, plain
from .types import Array

if TYPE_CHECKING:
    from typing_extensions import Self

OPERANDS = (tape.OnTape, np.ndarray, np.generic, int, float, SymInt)


class Size(int):
    """A number of elements that can be called for the shape: t.size, t.size(), t.size(0)."""

    shape: tuple[int, ...]

    def __new__(cls, shape: tuple[int, ...]) -> Self:
        count = 1
        for n in shape:
            count *= n
        self = super().__new__(cls, count)
        self.shape = shape
        return self

    def __call__(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


# ---- numbers and operands

def array_of(data: Any) -> Array:
    """`data` as an array: its own where it has one; Python's numbers in the default types,
    float32, int64 and bool."""
    if isinstance(data, tape.OnTape):
        own: Array = data.data
        return own
    if is_masked(data):
        raise TypeError("Tensor: a masked array would lose its mask; give .filled(value)")
    python = isinstance(data, (list, tuple, range, float, int))
    if python and _any_on_tape(data):
        raise TypeError("Tensor: a list of Tensors that require gradients would lose them; join them by "
                        "pyops.functional.stack")
    array = (np.from_dlpack(data) if hasattr(data, "__dlpack__") and not hasattr(data, "__array__")
             else np.asarray(data))
    if array.dtype.kind not in "fiubc" and array.dtype.name != "bfloat16":
        raise TypeError(f"Tensor: needs numbers, got {type(data).__name__} of {array.dtype}")
    return (array.astype(np.float32) if python and array.dtype == np.float64 and not _holds_arrays(data)
            else array)


def _holds_arrays(data: Any) -> bool:
    """Whether the numbers in nested lists are NumPy's, whose type counts."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic))


def _any_on_tape(data: Any) -> bool:
    return (isinstance(data, (list, tuple))
            and any(isinstance(v, tape.OnTape) and v.requires_grad for v in data))


def data_of(value: Any) -> Any:
    return value.data if isinstance(value, tape.OnTape) else value


def plain_index(index: Any) -> Any:
    return tuple(map(data_of, index)) if isinstance(index, tuple) else data_of(index)


def sizes_of(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """x.reshape(2, 3) and x.reshape((2, 3)) mean the same."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def axes_of(dim: Any) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


def kind_of(value: Any) -> str:
    value = plain(value)
    return (value.dtype.kind if hasattr(value, "dtype") and hasattr(value.dtype, "kind")
            else "f" if isinstance(value, float) else "i" if isinstance(value, int) else "f")


def brief(tensor: Any) -> str:
    return f"a Tensor of {tensor.dtype}{list(tensor.shape)}"


def refuse_lost_assignment(self: Any, value: Any) -> None:
    if self.node is not None:
        raise RuntimeError(f"t[...] = value: {brief(self)} is the result of {self.node.op.name}, whose "
                           "gradient needs it; use F.where(mask, value, t), or assign to t.clone().detach()")
    if tape.recording() and self.requires_grad:
        raise RuntimeError(f"t[...] = value: {brief(self)} requires a gradient, and the assignment would not "
                           "be recorded; do it within pyops.no_grad(), or use F.where(mask, value, t)")
    if tape.recording() and isinstance(value, tape.OnTape) and value.requires_grad:
        raise RuntimeError("t[...] = value: value requires a gradient, which would be lost; use F.where or "
                           "F.cat, or assign value.detach()")


# ---- devices and types

DEVICES = ("cpu", "cuda", "gpu", "mps", "xpu", "tpu", "npu", "meta")


def dtype_and_device(where: tuple[Any, ...], dtype: Any, device: Any) -> tuple[Any, Any]:
    """What the arguments of .to() say of either: names of devices, types, arrays that have a
    type."""
    for w in where:
        if isinstance(w, str) and w.partition(":")[0] in DEVICES or type(w).__name__ == "device":
            device = w
        elif w is not None and not isinstance(w, bool):
            dtype = w.dtype if hasattr(w, "dtype") and not isinstance(w, builtins.type) else w
    return dtype, device


def check_device(name: str, device: Any) -> None:
    """ValueError for any device but the host."""
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise ValueError(
            f"{name}: there is no device {str(device)!r}: Tensors and modules lie in the host's memory. Ops "
            "of pyops.functional run on a GPU where CuPy arrays or torch's CUDA tensors are given to them")


def dtype_of(name: str, dtype: Any) -> np.dtype[Any]:
    """`dtype` as NumPy's. TypeError for what is none, torch's among them."""
    try:
        found: np.dtype[Any] = np.dtype(dtype)
        return found
    except TypeError:
        text = str(dtype)
        if text.startswith("torch.") and text[6:] in np.sctypeDict:   # torch.float32
            return np.dtype(text[6:])
        raise TypeError(
            f"{name}: {dtype!r} is no dtype of NumPy's, such as np.float32, and no device") from None
