"""Tensor: an array that remembers which ops made it, so that gradients can be taken in reverse
mode.

Its methods are the ops of pyops.functional under torch's names; how NumPy's own functions act on it
is in numpy_functions.py.

Rules that hold for all of them:
- Comparisons, == and != among them, look at the numbers and return NumPy boolean arrays. A Tensor's
  hash is its identity.
- Numbers (Python's, NumPy's, arrays without axes) take the dtype of the array that they meet, and
  so do integer and boolean arrays beside a float one. Two float arrays must share one dtype.
- Integer and boolean Tensors have no gradient; arithmetic on them is NumPy's.
- `+=` and its like make a new Tensor. On a leaf that requires a gradient they write into `data`,
  within no_grad() only.
- `t[index] = value` writes into `data`, and is refused where a gradient would be lost by it. A
  gradient of a call whose input was changed so afterwards is refused. Writes to `t.data` itself, or
  to a view of it, are not seen.
- `size` is the number of elements, as NumPy's, and can be called for the shape, as torch's: t.size
  == 6, t.size() == (2, 3), t.size(0) == 2.
"""
from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import numpy as np

from .. import _C
from . import numpy_functions, tape
from .late import Late
from .operands import (
    OPERANDS,
    Size,
    array_of,
    axes_of,
    brief,
    check_device,
    data_of,
    dtype_and_device,
    dtype_of,
    kind_of,
    plain_index,
    refuse_lost_assignment,
    sizes_of,
)
from .tape import Context, Node, no_grad, per_input, recording
from .types import Array, Arrays, Dims, DType, Index, Operand

if TYPE_CHECKING:
    from typing_extensions import Self

    from .. import functional as F
    from ..ops import cast as casts
else:
    F = Late("pyops.functional")
    casts = Late("pyops.ops.cast")

__all__ = ["Context", "Node", "Size", "Tensor", "grad", "no_grad", "per_input", "recording"]

# Within the class these names are methods
_bool: TypeAlias = builtins.bool
_float: TypeAlias = builtins.float
_int: TypeAlias = builtins.int


class Tensor(tape.OnTape):
    """A NumPy array (`data`) with a gradient (`grad`, an array or, under create_graph, a Tensor)
    and a place on the tape.

    data: an array, a Tensor or an array of another library, which are taken as they are (not
    copied), or Python numbers, in lists or alone: these become float32, int64 or bool. TypeError
    for what holds no numbers, and for requires_grad on other than float numbers.
    """

    __slots__ = ()
    __array_priority__ = 1000

    def __init__(self, data: Any, requires_grad: _bool = False) -> None:
        self.data: Array = data if type(data) is np.ndarray else array_of(data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"Tensor: only float tensors have gradients, got {self.data.dtype}; give float "
                            "numbers, or dtype float32 by .astype")
        self.requires_grad = requires_grad
        self.grad: Any = None
        self.node = None
        self.index = self.changed = 0

    @staticmethod
    def __pyops_call__(op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        return tape.record(op, inputs, attrs, Tensor)

    # ---- the tape

    def backward(self, gradient: Any = None, create_graph: _bool = False) -> None:
        """Adds d(self)/d(leaf) to `grad` of every leaf that requires it. `gradient` is needed
        unless self has one element."""
        for leaf, g in tape.gradients([self], [gradient], create_graph, Tensor).items():
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    def detach(self) -> Tensor:
        """The same numbers (shared, not copied) without a gradient."""
        return Tensor(self.data)

    def requires_grad_(self, requires_grad: _bool = True) -> Self:
        """Sets `requires_grad` of a leaf, and returns it. TypeError for whole numbers, ValueError
        for the result of an op."""
        if self.node is not None and not requires_grad:
            raise ValueError(f"requires_grad_: {brief(self)} is the result of {self.node.op.name}, not a "
                             "leaf; t.detach() is without gradient")
        if requires_grad and self.dtype.kind != "f":
            raise TypeError(f"requires_grad_: only float tensors have gradients, got {self.dtype}")
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> _bool:
        """Whether no recorded op made it: gradients gather in leaves."""
        return self.node is None

    # ---- what it is

    @property
    def shape(self) -> tuple[_int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    @property
    def ndim(self) -> _int:
        return self.data.ndim

    @property
    def size(self) -> Size:
        """The number of elements; called, the shape: t.size(), t.size(0)."""
        return Size(self.shape)

    @property
    def device(self) -> str:
        """Always "cpu": arrays on a GPU are given to pyops.functional as they are."""
        return "cpu"

    @property
    def itemsize(self) -> _int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> _int:
        return self.dtype.itemsize * self.size

    def dim(self) -> _int:
        return self.ndim

    def numel(self) -> _int:
        return int(self.size)

    def __len__(self) -> _int:
        if not self.ndim:
            raise TypeError("len() of a Tensor without axes")
        return self.shape[0]

    # ---- its numbers, for Python and NumPy

    def numpy(self) -> Array:
        """The array itself: shared, and without gradient."""
        return self.data

    def item(self) -> Any:
        """The only element as a Python number. ValueError unless there is one."""
        if self.numbers("the value (item, float, int, a format)").size != 1:
            raise ValueError(
                f"item: needs one element, {brief(self)} has {self.data.size}; use tolist(), or an index")
        return self.data.item()

    def tolist(self) -> Any:
        """The elements as Python numbers in nested lists; a number where there are no axes."""
        return self.data.tolist()

    def __array__(self, dtype: Any = None, copy: _bool | None = None) -> Array:
        return np.array(self.data, dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return numpy_functions.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return numpy_functions.function(function, args, kwargs)

    def __dlpack__(self, **how: Any) -> Any:
        return self.data.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return self.data.__dlpack_device__()

    def __bool__(self) -> _bool:
        if self.numbers("the truth (bool, if, while)").size != 1:
            raise ValueError(f"the truth of {brief(self)} is not defined: it has {self.data.size} elements, "
                             "not one; use .any() or .all() on a comparison")
        return bool(self.data.item())

    def __int__(self) -> _int:
        return int(self.item())

    def __float__(self) -> _float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> _int:
        if self.dtype.kind not in "iu" or self.ndim:
            raise TypeError(f"only an integer Tensor without axes can be an index here, got {brief(self)}")
        return int(self.data)

    def __round__(self, digits: _int | None = None) -> Any:
        return round(self.item(), digits)

    def __format__(self, spec: str) -> str:
        if not self.ndim:
            return format(self.item(), spec)
        if not spec:
            return str(self)
        if self.data.size != 1:
            raise TypeError(f"format {spec!r} needs one element, {brief(self)} has {self.data.size}; take "
                            ".mean() or .item(), or np.array2string")
        return format(self.item(), spec)

    def __repr__(self) -> str:
        return self._text("Tensor")

    def _text(self, name: str) -> str:
        numbers = np.array2string(self.data, separator=", ", prefix=f"{name}(", threshold=100, edgeitems=3)
        kind = "" if self.data.dtype in (np.float32, np.int64, np.bool_) else f", dtype={self.data.dtype}"
        shape = f", shape={self.data.shape}" if self.data.size > 100 or not self.data.size else ""
        graph = (f", grad_fn=<{self.node.op.name}>" if self.node is not None
                 else ", requires_grad=True" if self.requires_grad else "")
        return f"{name}({numbers}{kind}{shape}{graph})"

    # ---- copies and types

    def clone(self) -> Tensor:
        """A copy, through which gradients flow."""
        return casts.cast(self, self.dtype, copy=True)

    def copy(self) -> Tensor:
        """As clone, NumPy's name."""
        return self.clone()

    def __copy__(self) -> Tensor:
        return (self.clone() if self.node is not None
                else _restored(type(self), self.data, self.requires_grad, self.grad))

    def astype(self, dtype: DType, copy: _bool = True) -> Tensor:
        """The numbers in another type; between float types gradients flow. copy=False: itself
        where nothing changes."""
        return casts.cast(self, np.dtype(dtype), copy)

    def to(self, *where: Any, dtype: DType = None, device: Any = None, **_: Any) -> Tensor:
        """To a dtype, to that of another Tensor, or to "cpu", where it is; itself where nothing
        changes. ValueError for other devices."""
        dtype, device = dtype_and_device(where, dtype, device)
        check_device("Tensor.to", device)
        return self if dtype is None else self.astype(dtype_of("Tensor.to", dtype), copy=False)

    def type(self, dtype: DType) -> Tensor:
        return self.to(dtype=dtype)

    def float(self) -> Tensor:
        return self.astype(np.float32, copy=False)

    def double(self) -> Tensor:
        return self.astype(np.float64, copy=False)

    def long(self) -> Tensor:
        return self.astype(np.int64, copy=False)

    def int(self) -> Tensor:
        return self.astype(np.int32, copy=False)

    def bool(self) -> Tensor:
        return self.astype(np.bool_, copy=False)

    def cpu(self) -> Self:
        return self

    def contiguous(self) -> Tensor:
        return self if self.data.flags.c_contiguous else self.clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.node is not None:
            raise TypeError(f"{brief(self)} is the result of {self.node.op.name}, and what made it cannot be "
                            "pickled or deep-copied; use t.detach() (or t.clone() for a copy on the tape)")
        return _restored, (type(self), self.data, self.requires_grad, self.grad)

    # ---- operators

    def __add__(self, other: Operand) -> Tensor:
        return _arithmetic("add", np.add, self, other, other)

    def __radd__(self, other: Operand) -> Tensor:
        return _arithmetic("add", np.add, other, self, other)

    def __iadd__(self, other: Operand) -> Self:
        return _in_place("+", np.add, self, other)

    def __sub__(self, other: Operand) -> Tensor:
        return _arithmetic("sub", np.subtract, self, other, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _arithmetic("sub", np.subtract, other, self, other)

    def __isub__(self, other: Operand) -> Self:
        return _in_place("-", np.subtract, self, other)

    def __mul__(self, other: Operand) -> Tensor:
        return _arithmetic("mul", np.multiply, self, other, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return _arithmetic("mul", np.multiply, other, self, other)

    def __imul__(self, other: Operand) -> Self:
        return _in_place("*", np.multiply, self, other)

    def __truediv__(self, other: Operand) -> Tensor:
        return _arithmetic("div", np.divide, self, other, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _arithmetic("div", np.divide, other, self, other)

    def __itruediv__(self, other: Operand) -> Self:
        return _in_place("/", np.divide, self, other)

    def __pow__(self, other: Operand) -> Tensor:
        return _arithmetic("pow", np.power, self, other, other)

    def __rpow__(self, other: Operand) -> Tensor:
        return _arithmetic("pow", np.power, other, self, other)

    def __ipow__(self, other: Operand) -> Self:
        return _in_place("**", np.power, self, other)

    def __matmul__(self, other: Operand) -> Tensor:
        return _arithmetic("matmul", np.matmul, self, other, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return _arithmetic("matmul", np.matmul, other, self, other)

    def __imatmul__(self, other: Operand) -> Self:
        return _in_place("@", np.matmul, self, other)

    def __neg__(self) -> Tensor:
        return F.neg(self) if self.dtype.kind == "f" else Tensor(-self.data)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return F.abs(self) if self.dtype.kind == "f" else Tensor(np.abs(self.data))

    # no rows: numpy_functions decides whether NumPy may compute them

    def __floordiv__(self, other: Operand) -> Any:
        return _numpy(np.floor_divide, self, other)

    def __rfloordiv__(self, other: Operand) -> Any:
        return _numpy(np.floor_divide, other, self)

    def __mod__(self, other: Operand) -> Any:
        return _numpy(np.remainder, self, other)

    def __rmod__(self, other: Operand) -> Any:
        return _numpy(np.remainder, other, self)

    def __and__(self, other: Operand) -> Array:
        return _compared(np.bitwise_and, self, other)

    def __or__(self, other: Operand) -> Array:
        return _compared(np.bitwise_or, self, other)

    def __xor__(self, other: Operand) -> Array:
        return _compared(np.bitwise_xor, self, other)

    def __invert__(self) -> Array:
        return ~self.data

    # ---- comparisons: boolean arrays

    def __eq__(self, other: Any) -> Array:  # type: ignore[override]
        return _compared(np.equal, self, other)

    def __ne__(self, other: Any) -> Array:  # type: ignore[override]
        return _compared(np.not_equal, self, other)

    def __lt__(self, other: Any) -> Array:
        return _compared(np.less, self, other)

    def __le__(self, other: Any) -> Array:
        return _compared(np.less_equal, self, other)

    def __gt__(self, other: Any) -> Array:
        return _compared(np.greater, self, other)

    def __ge__(self, other: Any) -> Array:
        return _compared(np.greater_equal, self, other)

    def __hash__(self) -> _int:
        return object.__hash__(self)

    def __contains__(self, value: Operand) -> _bool:
        return builtins.bool(np.any(self.data == data_of(value)))

    def any(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None) -> Any:
        """Whether any element is true (not 0), along `dim`: a boolean array, or NumPy's bool."""
        return np.any(self.data, axes_of(dim if axis is None else axis), keepdims=keepdim)

    def all(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None) -> Any:
        """Whether all elements are true (not 0), along `dim`: a boolean array, or NumPy's bool."""
        return np.all(self.data, axes_of(dim if axis is None else axis), keepdims=keepdim)

    # ---- elements

    def __getitem__(self, index: Index) -> Tensor:
        """Ints, slices, None and Ellipsis give a view; lists, integer arrays and boolean masks a
        copy, as NumPy's. Gradients flow."""
        return F.getitem(self, index)

    def __setitem__(self, index: Index, value: Operand) -> None:
        """Writes into `data`. RuntimeError where a gradient would be lost: self is on the tape, or
        value requires a gradient."""
        refuse_lost_assignment(self, value)
        self.numbers("an assignment to elements")
        self.data[plain_index(index)] = data_of(value)
        self.note_change()

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("a Tensor without axes cannot be iterated over")
        return iter(F.unbind(self))

    # ---- elementwise

    def abs(self) -> Tensor:
        return F.abs(self)

    def exp(self) -> Tensor:
        return F.exp(self)

    def expm1(self) -> Tensor:
        return F.expm1(self)

    def log(self) -> Tensor:
        return F.log(self)

    def log1p(self) -> Tensor:
        return F.log1p(self)

    def neg(self) -> Tensor:
        return F.neg(self)

    def reciprocal(self) -> Tensor:
        return F.reciprocal(self)

    def rsqrt(self) -> Tensor:
        return F.rsqrt(self)

    def sigmoid(self) -> Tensor:
        return F.sigmoid(self)

    def sqrt(self) -> Tensor:
        return F.sqrt(self)

    def square(self) -> Tensor:
        return F.square(self)

    def tanh(self) -> Tensor:
        return F.tanh(self)

    def erf(self) -> Tensor:
        return F.erf(self)

    def mul(self, other: Operand) -> Tensor:
        return F.mul(self, other)

    def div(self, other: Operand) -> Tensor:
        return F.div(self, other)

    def maximum(self, other: Operand) -> Tensor:
        return F.maximum(self, other)

    def minimum(self, other: Operand) -> Tensor:
        return F.minimum(self, other)

    def add(self, other: Operand, *, alpha: _float = 1) -> Tensor:
        return F.add(self, other, alpha=alpha)

    def sub(self, other: Operand, *, alpha: _float = 1) -> Tensor:
        return F.sub(self, other, alpha=alpha)

    def pow(self, exponent: Operand) -> Tensor:
        return F.pow(self, exponent)

    def clamp(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        return F.clamp(self, min, max)

    def clip(self, min: Operand | None = None, max: Operand | None = None) -> Tensor:
        """As clamp, NumPy's name."""
        return F.clamp(self, min, max)

    def where(self, condition: Arrays, other: Operand) -> Tensor:
        """self where condition is true, else other."""
        return F.where(condition, self, other)

    def masked_fill(self, mask: Arrays, value: Operand) -> Tensor:
        """value where mask is true, else self."""
        return F.where(mask, value, self)   # type: ignore[return-value]   # an Exporter beside a Tensor

    def relu(self) -> Tensor:
        return F.relu(self)

    def gelu(self, approximate: str = "none") -> Tensor:
        return F.gelu(self, approximate)

    def softmax(self, dim: _int | None = None, *, axis: _int | None = None) -> Tensor:
        return F.softmax(self, dim, axis=axis)

    def log_softmax(self, dim: _int | None = None, *, axis: _int | None = None) -> Tensor:
        return F.log_softmax(self, dim, axis=axis)

    # ---- products

    def matmul(self, other: Arrays) -> Tensor:
        return F.matmul(self, other)

    def mm(self, other: Arrays) -> Tensor:
        return F.matmul(self, other)

    def bmm(self, other: Arrays) -> Tensor:
        return F.bmm(self, other)

    def dot(self, other: Arrays) -> Any:
        """NumPy's dot: of two vectors their inner product, as torch's."""
        return numpy_functions.function(np.dot, (self, other), {})

    # ---- reductions

    def sum(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None,
            keepdims: _bool | None = None) -> Tensor:
        return F.sum(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def mean(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None,
             keepdims: _bool | None = None) -> Tensor:
        return F.mean(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def prod(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None,
             keepdims: _bool | None = None) -> Tensor:
        return F.prod(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def amax(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None,
             keepdims: _bool | None = None) -> Tensor:
        return F.amax(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def amin(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None,
             keepdims: _bool | None = None) -> Tensor:
        return F.amin(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def logsumexp(self, dim: Dims | None = None, keepdim: _bool = False, *, axis: Dims | None = None,
                  keepdims: _bool | None = None) -> Tensor:
        return F.logsumexp(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def var(self, dim: Dims | None = None, *, correction: _int = 1, keepdim: _bool = False,
            axis: Dims | None = None, keepdims: _bool | None = None) -> Tensor:
        return F.var(self, dim, correction=correction, keepdim=keepdim, axis=axis, keepdims=keepdims)

    def std(self, dim: Dims | None = None, *, correction: _int = 1, keepdim: _bool = False,
            axis: Dims | None = None, keepdims: _bool | None = None) -> Tensor:
        return F.std(self, dim, correction=correction, keepdim=keepdim, axis=axis, keepdims=keepdims)

    def argmax(self, dim: _int | None = None, keepdim: _bool = False, *, axis: _int | None = None,
               keepdims: _bool | None = None) -> Tensor:
        return F.argmax(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def argmin(self, dim: _int | None = None, keepdim: _bool = False, *, axis: _int | None = None,
               keepdims: _bool | None = None) -> Tensor:
        return F.argmin(self, dim, keepdim, axis=axis, keepdims=keepdims)

    @overload
    def max(self, dim: None = None, keepdim: _bool = False, *, axis: None = None,
            keepdims: _bool | None = None) -> Tensor:
        ...
    @overload
    def max(self, dim: Arrays) -> Tensor: ...
    @overload
    def max(self, dim: _int, keepdim: _bool = False, *, keepdims: _bool | None = None) -> F.Extreme[Tensor]:
        ...
    @overload
    def max(self, *, axis: _int, keepdim: _bool = False, keepdims: _bool | None = None) -> F.Extreme[Tensor]:
        ...

    def max(self, dim: Any = None, keepdim: _bool = False, *, axis: Any = None,
            keepdims: _bool | None = None) -> Any:
        """Of all; of two, elementwise; or (values, indices) along one axis, as torch. amax and
        np.max give values alone."""
        return F.max(self, dim, keepdim, axis=axis, keepdims=keepdims)

    @overload
    def min(self, dim: None = None, keepdim: _bool = False, *, axis: None = None,
            keepdims: _bool | None = None) -> Tensor:
        ...
    @overload
    def min(self, dim: Arrays) -> Tensor: ...
    @overload
    def min(self, dim: _int, keepdim: _bool = False, *, keepdims: _bool | None = None) -> F.Extreme[Tensor]:
        ...
    @overload
    def min(self, *, axis: _int, keepdim: _bool = False, keepdims: _bool | None = None) -> F.Extreme[Tensor]:
        ...

    def min(self, dim: Any = None, keepdim: _bool = False, *, axis: Any = None,
            keepdims: _bool | None = None) -> Any:
        """Of all; of two, elementwise; or (values, indices) along one axis, as torch. amax and
        np.max give values alone."""
        return F.min(self, dim, keepdim, axis=axis, keepdims=keepdims)

    def norm(self, p: _float | str = "fro", dim: Dims | None = None, keepdim: _bool = False, *,
             axis: Dims | None = None, keepdims: _bool | None = None) -> Tensor:
        return F.norm(self, p, dim, keepdim, axis=axis, keepdims=keepdims)

    def vector_norm(self, ord: _float = 2, dim: Dims | None = None, keepdim: _bool = False, *,
                    axis: Dims | None = None, keepdims: _bool | None = None) -> Tensor:
        return F.vector_norm(self, ord, dim, keepdim, axis=axis, keepdims=keepdims)

    # ---- shapes

    def reshape(self, *shape: _int | Sequence[_int]) -> Tensor:
        """x.reshape(2, 3) and x.reshape((2, 3)) mean the same."""
        return F.reshape(self, sizes_of(shape))

    def view(self, *shape: _int | Sequence[_int]) -> Tensor:
        return F.reshape(self, sizes_of(shape))

    def view_as(self, other: Tensor) -> Tensor:
        return F.reshape(self, other.shape)

    def ravel(self) -> Tensor:
        return F.reshape(self, (-1,))

    def flatten(self, start_dim: _int = 0, end_dim: _int = -1) -> Tensor:
        return F.flatten(self, start_dim, end_dim)

    def unflatten(self, dim: _int, sizes: Sequence[_int]) -> Tensor:
        return F.unflatten(self, dim, sizes)

    def squeeze(self, dim: Dims | None = None, *, axis: Dims | None = None) -> Tensor:
        return F.squeeze(self, dim, axis=axis)

    def unsqueeze(self, dim: _int) -> Tensor:
        return F.unsqueeze(self, dim)

    def permute(self, *dims: _int | Sequence[_int]) -> Tensor:
        return F.permute(self, sizes_of(dims))

    def transpose(self, *dims: _int | Sequence[_int] | None) -> Tensor:
        """transpose(0, 1), torch's: two axes exchanged. transpose() and transpose((2, 0, 1)),
        NumPy's: all axes reversed, or in this order."""
        if len(dims) == 2 and isinstance(dims[0], builtins.int) and isinstance(dims[1], builtins.int):
            return F.transpose(self, dims[0], dims[1])
        if not dims or dims == (None,):
            return self.T
        return F.permute(self, sizes_of(dims))

    @property
    def T(self) -> Tensor:
        """The axes reversed, as NumPy's."""
        return F.permute(self, tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return F.transpose(self, -2, -1)

    def t(self) -> Tensor:
        return self.T

    def swapaxes(self, axis1: _int, axis2: _int) -> Tensor:
        return F.transpose(self, axis1, axis2)

    def movedim(self, source: Dims, destination: Dims) -> Tensor:
        return F.movedim(self, source, destination)

    def expand(self, *sizes: _int | Sequence[_int]) -> Tensor:
        return F.broadcast_to(self, sizes_of(sizes))

    def expand_as(self, other: Tensor) -> Tensor:
        return F.broadcast_to(self, other.shape)

    def broadcast_to(self, shape: Sequence[_int]) -> Tensor:
        return F.broadcast_to(self, shape)

    def flip(self, *dims: _int | Sequence[_int]) -> Tensor:
        return F.flip(self, sizes_of(dims))

    def narrow(self, dim: _int, start: _int, length: _int) -> Tensor:
        return F.narrow(self, dim, start, length)

    def select(self, dim: _int, index: _int) -> Tensor:
        return F.select(self, dim, index)

    def split(self, split_size_or_sections: _int | Sequence[_int], dim: _int = 0) -> tuple[Tensor, ...]:
        return F.split(self, split_size_or_sections, dim)

    def chunk(self, chunks: _int, dim: _int = 0) -> tuple[Tensor, ...]:
        return F.chunk(self, chunks, dim)

    def unbind(self, dim: _int = 0) -> tuple[Tensor, ...]:
        return F.unbind(self, dim)


# ---- operators

S = TypeVar("S", bound=Tensor)


def _arithmetic(name: str, ufunc: np.ufunc, a: Any, b: Any, other: Any) -> Tensor:
    """a op b, one of which is `other`, which may be of a type that no op takes."""
    if not isinstance(other, OPERANDS) and not hasattr(other, "__dlpack__"):
        return NotImplemented   # type: ignore[no-any-return]
    op: Callable[..., Tensor] = getattr(F, name)
    x, y = kind_of(a), kind_of(b)
    if x == "f" or y == "f" and (isinstance(other, (tape.OnTape, np.ndarray)) or other is not b):
        return op(a, b)
    if "f" not in (x, y) and "c" not in (x, y) and ufunc is not np.divide:
        return Tensor(ufunc(data_of(a), data_of(b)))
    return op(*(v.float() if isinstance(v, Tensor) and v.dtype.kind != "f" else v for v in (a, b)))


def _in_place(symbol: str, ufunc: np.ufunc, self: S, other: Any) -> S:
    """`self op= other`: of a parameter within no_grad() in its memory; otherwise Python computes
    self = self op other."""
    if self.node is not None or not self.requires_grad:
        return NotImplemented   # type: ignore[no-any-return]
    if recording():
        raise RuntimeError(f"{symbol}= on {brief(self)}, a leaf that requires a gradient, which would no "
                           "longer be the parameter: update it within pyops.no_grad(), or its .data")
    self.data[...] = ufunc(self.data, data_of(other))
    self.note_change()
    return self


def _numpy(ufunc: np.ufunc, *inputs: Any) -> Any:
    """What NumPy makes of it, or its refusal (numpy_functions)."""
    return ufunc(*inputs)


def _compared(ufunc: np.ufunc, self: Tensor, other: Any) -> Array:
    if not isinstance(other, (*OPERANDS, list, tuple)) and not hasattr(other, "__dlpack__"):
        return NotImplemented   # type: ignore[no-any-return]
    found: Array = ufunc(self.numbers(f"the comparison {ufunc.__name__}"), data_of(other))
    return found


_C.route_tensors(Tensor, Node, tape._recording, vars(tape))


def _restored(kind: Any, data: Array, requires_grad: bool, gradient: Any) -> Any:
    """A leaf, from a pickle or a copy."""
    tensor = kind(data, requires_grad)
    tensor.grad = gradient
    return tensor


def grad(outputs: Tensor | Sequence[Tensor], inputs: Sequence[Tensor], gradients: Any = None,
         create_graph: bool = False) -> tuple[Any, ...]:
    """Gradients of the sum of `outputs` (weighted by `gradients`) for `inputs`, without
    touching their `.grad`.

    inputs must be leaves (made with requires_grad=True). A gradient is None where nothing
    depends on the input.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    gradients = ([None] * len(outputs) if gradients is None
                 else [gradients] if not isinstance(gradients, (list, tuple)) else gradients)
    found = tape.gradients(outputs, gradients, create_graph, Tensor)
    return tuple(found.get(t) for t in inputs)
