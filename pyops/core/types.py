"""The types of arguments and results, for signatures. Nothing here does anything at run time."""
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, Union

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .tensor import Tensor
else:
    NDArray = np.ndarray   # numpy.typing is a module of its own, which costs half a millisecond


class Exporter(Protocol):
    """An array of another library, which shows its memory through DLPack (torch, CuPy, JAX)."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    @property
    def ndim(self) -> int: ...

    def __dlpack__(self, *, stream: Any = ...) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


Array: TypeAlias = NDArray[Any]
# what an op takes, and returns: a Tensor if one goes in, else the first's kind
Arrays: TypeAlias = Union["Tensor", NDArray[Any], Exporter]
# a Python int, float or bool, or a scalar of NumPy's
Number: TypeAlias = Union[float, "np.generic[Any]"]
Operand: TypeAlias = Arrays | Number
Dims: TypeAlias = int | Sequence[int]                   # one axis or several
Sizes: TypeAlias = int | Sequence[int]                  # one number for all spatial axes, or one for each
OutputSizes: TypeAlias = int | None | Sequence[int | None]   # as Sizes; None keeps an axis' size
Reduction: TypeAlias = Literal["none", "mean", "sum"]
# int, slice, None, Ellipsis, integer or boolean arrays and lists, or a tuple of these
Index: TypeAlias = Any
DType: TypeAlias = Any                                        # np.float32, "float32", np.dtype(...), float
