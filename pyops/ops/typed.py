"""Operands of any element type: how two of them come to one, and rows of what is
computed value by value."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..core import dispatch
from ..core.late import LateFunctions
from ..core.registry import Op
from ..core.symbolic import plain
from ..core.tensor import Tensor
from .broadcast import plan
from .cast import CAST, python_float

reference = LateFunctions("pyops.kernels.typed.reference")
BOOL = np.dtype(bool)


def dtype_of(value: Any) -> np.dtype[Any]:
    """NumPy's name for the type of an array of any library."""
    if isinstance(value, (np.ndarray, np.generic, Tensor)):
        return value.dtype
    return np.dtype((dispatch.viewed(value) if dispatch.on_device((value,)) else np.from_dlpack(value)).dtype)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, np.generic)


def is_whole(value: Any) -> bool:
    """Whether it is an array of whole numbers or truth values."""
    return dtype_of(value).kind in "iub"


def as_type(value: Any, dtype: Any) -> Any:
    """The array in another type; itself where that is its own."""
    dtype = np.dtype(dtype)
    if dtype_of(value) == dtype:
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return reference.cast(np.asarray(value), dtype=dtype)
    return CAST(value, dtype=dtype)


def alike(op: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands as arrays of one type, as torch promotes them: a number, or an array
    without axes, takes the other's type unless it is of a greater kind (truth, whole, float).
    TypeError for two numbers.
    """
    if type(a) is type(b) is np.ndarray and a.dtype is b.dtype:   # the usual call, and the shortest way
        return a, b
    a, b = plain(a), plain(b)
    a, b = python_float(a, b), python_float(b, a)
    if is_number(a) and is_number(b):
        raise TypeError(f"{op}: one of the operands must be an array, got {a!r} and {b!r}")
    if is_number(b):
        dtype = with_number(op, dtype_of(a), b)
        return as_type(a, dtype), np.array(b, dtype)
    if is_number(a):
        dtype = with_number(op, dtype_of(b), a)
        return np.array(a, dtype), as_type(b, dtype)
    one, other = dtype_of(a), dtype_of(b)
    if one == other:
        return a, b
    dtype = promoted(one, len(a.shape), other, len(b.shape))
    return as_type(a, dtype), as_type(b, dtype)


def with_number(op: str, dtype: np.dtype[Any], number: float) -> np.dtype[Any]:
    """The type in which a number meets an array of `dtype`."""
    if isinstance(number, float) and dtype.kind in "iub":
        return np.dtype(np.float32)
    if not isinstance(number, bool) and dtype == BOOL:
        return np.dtype(np.int64)
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
        raise ValueError(f"{op}: {number} is outside of {dtype}, the type of the other operand")
    return dtype


def rank_of(dtype: np.dtype[Any]) -> int:
    return "biufV".index("i" if dtype.kind == "u" else dtype.kind)


def promoted(a: np.dtype[Any], a_axes: int, b: np.dtype[Any], b_axes: int) -> np.dtype[Any]:
    """torch's rule: an array without axes has a say only by its kind; float with whole numbers
    stays the float type."""
    if (a_axes == 0) != (b_axes == 0) and rank_of(a) != rank_of(b):
        weak, strong = (a, b) if a_axes == 0 else (b, a)
        if rank_of(weak) < rank_of(strong):
            return strong
    elif (a_axes == 0) != (b_axes == 0):
        return b if a_axes == 0 else a
    if rank_of(a) != rank_of(b) and "f" in (a.kind, b.kind):
        return a if a.kind == "f" else b
    return np.result_type(a, b)


# ---- rows

def check_pair(name: str) -> Any:
    def check(a: Any, b: Any, **attrs: Any) -> None:
        one_type(name, a, b)
        plan(name, a.shape, b.shape)
    return check


def one_type(name: str, *arrays: Any) -> None:
    if len({a.dtype for a in arrays}) > 1:
        raise TypeError(f"{name}: inputs must share one type, got {', '.join(str(a.dtype) for a in arrays)}")


def pair(name: str, gradient: Any = None, result: Any = None, takes: str = "biufV", **traits: Any) -> Op:
    """The row of y = f(a, b), which broadcast; result: the type of y, None for theirs.
    takes: as in `one`."""
    def forward(k: Any, a: Any, b: Any) -> Any:
        dtype = a.dtype
        if dtype is not b.dtype:
            one_type(name, a, b)
        if dtype.kind not in takes:   # the kernel would write nothing
            raise TypeError(f"{name.removeprefix('whole_')}: takes no {dtype}")
        shape, *layout = plan(name, a.shape, b.shape)
        y = k.empty(shape, result or dtype)
        getattr(k, name)(a, b, *layout, y)
        return y
    return Op(name, "aa", forward, getattr(reference, name), gradient,
              check_pair(name), kernels=(name,), tolerance=0,
              bytes=lambda a, b: 2 * a.nbytes, pointwise=True, per_sample=True, todo=NO_CUDA, **traits)


def one(name: str, gradient: Any = None, result: Any = None, tolerance: float = 0, takes: str = "biufV",
        **traits: Any) -> Op:
    """The row of y = f(x); result: the type of y, None for that of x. takes: NumPy's letters
    for kinds of types."""
    def forward(k: Any, x: Any, **attrs: Any) -> Any:
        if x.dtype.kind not in takes:
            raise TypeError(f"{name.removeprefix('whole_')}: takes no {x.dtype}")
        y = k.empty(x.shape, result or x.dtype)
        getattr(k, name)(x, *attrs.values(), y)
        return y
    return Op(name, "a", forward, getattr(reference, name), gradient, kernels=(name,), tolerance=tolerance,
              bytes=lambda x, **_: 2 * x.nbytes, pointwise=True, per_sample=True, todo=NO_CUDA, **traits)


NO_CUDA = dict.fromkeys(("cuda", "cuda-emulated"), "typed kernels are written for the CPU so far")
