"""input[index] with lists, integer arrays and boolean masks: rows of a table, by the
kernels of embedding.

The indexed axes are brought to the front and read as one axis of rows; their indices, which
broadcast, become one row number each. So gradients (a scatter that adds, in a fixed order), second
derivatives, compiled programs and every backend come from embedding.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.symbolic import plain
from ..core.tensor import Tensor
from . import shape
from .comparison import lt
from .embedding import EMBEDDING
from .gather import TAKE
from .typed import as_type


def advanced(input: Any, index: tuple[Any, ...]) -> Any:
    """input[index] as NumPy defines it, where at least one index is a list, an array
    or a mask. A new array.

    IndexError for an index outside its axis, a mask of another shape than the axes it stands for,
    and shapes that do not broadcast.
    """
    # whole numbers: no kernels, no gradient
    if isinstance(input, (np.ndarray, Tensor)) and input.dtype.kind != "f" and not _of_a_run(
            input) and not any(map(_of_a_run, index)):
        found = (input.data if isinstance(input, Tensor)
                 else input)[tuple(i.data if isinstance(i, Tensor) else i for i in index)]
        return Tensor(found) if isinstance(input, Tensor) else found
    found = _slices(input, index)
    if found is not None:
        return found
    basic, arrays = _separated(tuple(input.shape), index)
    x = shape.getitem(input, basic)
    axes = [a for a, _ in arrays]
    row = (_rows(x.shape, arrays) if not any(_of_a_run(i) for _, i in arrays)
           else _rows_of_a_run(x.shape, arrays))
    others = [a for a in range(len(x.shape)) if a not in axes]
    width = tuple(x.shape[a] for a in others)
    table = shape.reshape(shape.permute(x, (*axes, *others)),
                          (math.prod(x.shape[a] for a in axes), math.prod(width)))
    found = (EMBEDDING(row, table, padding=-1, by_frequency=False) if table.dtype.kind == "f"
             else TAKE(table, row, dim=0, wrap=False))
    rows = shape.reshape(found, (*row.shape, *width))
    lead = _place(index, axes)
    if not lead or not row.shape:
        return rows
    n, back = len(row.shape), list(range(len(row.shape), len(rows.shape)))
    return shape.permute(rows, (*back[:lead], *range(n), *back[lead:]))


def _slices(input: Any, index: tuple[Any, ...]) -> Any:
    """input[ids] and input[:, ids], most calls, as one row; None for all others, where an index lies
    outside, which is told below, and where the backend has no kernel."""
    *before, ids = index
    if _of_a_run(ids) or _of_a_run(input) or any(not isinstance(i, slice) or i != slice(None) for i in before):
        return None
    ids = np.asarray(ids.data if isinstance(ids, Tensor) else ids) if not isinstance(ids, slice) else None
    if ids is None or ids.dtype.kind not in "iu" or not ids.ndim or len(before) >= len(input.shape):
        return None
    try:
        return TAKE(input, ids, dim=len(before), wrap=True)
    except (IndexError, NotImplementedError):
        return None


def _rows(sizes: tuple[int, ...], arrays: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """The indices of the axes as one row number each."""
    try:
        numbers = np.broadcast_arrays(*(i for _, i in arrays))
    except ValueError:
        raise IndexError(f"getitem: index arrays of shapes {', '.join(str(i.shape) for _, i in arrays)} do "
                         "not broadcast") from None
    row = np.zeros(numbers[0].shape, np.int64)
    for (axis, _), i in zip(arrays, numbers):
        row = row * plain(sizes[axis]) + _within(i, axis, sizes)
    return row


def _of_a_run(i: Any) -> bool:
    """Whether an index is a value of a graph, whose numbers only a run has."""
    return hasattr(i, "value") and isinstance(i, Tensor)


def _rows_of_a_run(sizes: tuple[int, ...], arrays: list[tuple[int, Any]]) -> Any:
    """The same where they are known when the program runs. One outside of its axis is an error
    then, or names a row beside the one meant."""
    from .elementwise import add, mul, where
    row = None
    for axis, i in arrays:
        n = sizes[axis]
        i = as_type(i, np.int64) if _of_a_run(i) else _within(i, axis, sizes)
        i = where(lt(i, 0), add(i, n), i) if _of_a_run(i) else i
        row = i if row is None else add(mul(row, n), i)
    return row


def _separated(sizes: tuple[int, ...],
               index: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[tuple[int, np.ndarray]]]:
    """The index with arrays (and the ints beside them) replaced by whole axes, and (axis of its
    result, array) for each."""
    parts = [i if i is None or i is Ellipsis or isinstance(i, slice) else _array(i) for i in index]
    taken = sum(_axes_of(i) for i in parts)
    if taken > len(sizes) or sum(i is Ellipsis for i in parts) > 1:
        raise IndexError(f"getitem: {len(parts)} indices take {taken} axes, input {sizes} has {len(sizes)}")
    basic: list[Any] = []
    arrays: list[tuple[int, np.ndarray]] = []
    source = axis = 0   # of input; of what `basic` makes of it
    for i in parts:
        if i is None:
            basic.append(None)
            axis += 1
        elif i is Ellipsis:
            n = len(sizes) - taken
            basic += [slice(None)] * n
            source, axis = source + n, axis + n
        elif isinstance(i, slice):
            basic.append(i)
            source, axis = source + 1, axis + 1
        else:
            found = _of_mask(i, source, sizes) if i.dtype == np.bool_ else [i]
            arrays += [(axis + a, f) for a, f in enumerate(found)]
            basic += [slice(None)] * len(found)
            source, axis = source + len(found), axis + len(found)
    return tuple(basic), arrays


def _axes_of(i: Any) -> int:
    """How many axes of the input an index takes."""
    if i is None or i is Ellipsis:
        return 0
    return i.ndim if isinstance(i, np.ndarray) and i.dtype == np.bool_ else 1


def _array(i: Any) -> np.ndarray:
    if _of_a_run(i) and i.dtype.kind in "iu":
        return i
    if _of_a_run(i):
        i.numbers(f"an index of {i.dtype}, which gives as many values as its numbers say,")   # raises
    if isinstance(i, Tensor):
        i = i.data
    array = np.asarray(plain(i))
    if array.dtype.kind == "f" and not array.size:   # an empty list
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub" or array.dtype == np.bool_ and not array.ndim:
        raise TypeError("getitem: an index is an int, a slice, None, Ellipsis, or integers or booleans in a "
                        f"list or array, got {type(i).__name__}"
                        + (f" of {array.dtype}" if array.dtype.kind != "O" else ""))
    return array


def _of_mask(mask: np.ndarray, source: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """The positions where a mask is true, an array for each of its axes."""
    if mask.shape != sizes[source:source + mask.ndim]:
        raise IndexError(
            f"getitem: a mask of shape {mask.shape} stands for axes {source} to {source + mask.ndim - 1} of "
            f"input {sizes}, which are {sizes[source:source + mask.ndim]}")
    return list(mask.nonzero())


def _within(i: np.ndarray, axis: int, sizes: tuple[int, ...]) -> np.ndarray:
    """Indices counted from the front, all of them inside the axis."""
    n = plain(sizes[axis])
    wrong = (i < -n) | (i >= n)
    if wrong.any():
        raise IndexError(f"getitem: index {i[wrong].flat[0]} is outside axis {axis} of size {n}")
    return np.where(i < 0, i + n, i).astype(np.int64)


def _place(index: tuple[Any, ...], axes: list[int]) -> int:
    """How many axes come before those of the index arrays: none if a slice, None or Ellipsis lies
    between two of them."""
    is_array = [not (i is None or i is Ellipsis or isinstance(i, slice)) for i in index]
    first, last = is_array.index(True), len(is_array) - 1 - is_array[::-1].index(True)
    return axes[0] if all(is_array[first:last + 1]) else 0
