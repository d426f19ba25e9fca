"""NumPy's functions on Tensors: to our ops and so on the tape, or refused where a gradient
would be lost in silence.

A function of NumPy is one of these:
- it has an op here (UFUNCS, FUNCTIONS): the op is called, and the result is a Tensor;
- it only moves elements (MOVES): it is run on the elements' numbers, and the Tensor is
  indexed by the outcome;
- it looks without differentiating (comparisons, argsort, shapes, files: LOOKS): NumPy
  runs it on the arrays;
- anything else: NumPy runs it on the arrays if no argument requires a gradient; if one does,
  TypeError.
"""
from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tape
from .late import Late

F: Any = Late("pyops.functional")


# ---- both protocols

def ufunc(function: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What Tensor.__array_ufunc__ returns. TypeError for a call that would lose a gradient."""
    name = f"numpy.{function.__name__}" + ("" if method == "__call__" else f".{method}")
    op = (UFUNCS.get(function) if method == "__call__" else REDUCTIONS.get(function) if method == "reduce"
          else None)
    if op is None or "out" in kwargs or not _real(inputs):
        looks = function in BOOLEAN and "out" not in kwargs
        return _by_numpy(name, getattr(function, method), inputs, kwargs, looks)
    return _by_op(name, op, getattr(function, method), inputs, kwargs)


def function(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What Tensor.__array_function__ returns. TypeError for a call that would lose a gradient."""
    name = f"{function.__module__}.{function.__name__}"
    op = FUNCTIONS.get(function)
    if op is not None and _real((args, kwargs)):
        return _by_op(name, op, function, args, kwargs)
    if function in MOVES and _real((args, kwargs)):
        return _moved(function, args, kwargs)
    if function in LIKE and _tensors((args, kwargs)):
        return function(*_filled(args), **_filled(kwargs))
    return _by_numpy(name, function, args, kwargs, function in LOOKS)


def _by_op(name: str, op: Callable[..., Any], function: Callable[..., Any], args: Sequence[Any],
           kwargs: dict[str, Any]) -> Any:
    """op(*args, **kwargs), where op takes those of NumPy's arguments that have a meaning for us;
    the function's own for others."""
    try:
        inspect.signature(op).bind(*args, **kwargs)
    except TypeError as why:
        return _by_numpy(name, function, args, kwargs, False, f"its op {why}")
    return op(*args, **kwargs)


def _by_numpy(name: str, function: Callable[..., Any], args: Any, kwargs: Any, looks: bool,
              why: str = "it has no op here") -> Any:
    if not looks and tape.recording() and any(t.requires_grad for t in _tensors((args, kwargs))):
        why = "it writes into an array, as `array += t` does" if "out" in kwargs else why
        raise TypeError(
            f"{name}: {why}, and the gradient of a Tensor that requires one would be lost; give t.detach() "
            "or t.numpy() where no gradient is wanted, or compute with pyops.functional")
    for t in _tensors((args, kwargs)):
        t.numbers(name)
    return function(*_arrays(args), **_arrays(kwargs))


# ---- arguments

def _tensors(value: Any) -> list[tape.OnTape]:
    """The Tensors in nested lists, tuples and dicts."""
    if isinstance(value, tape.OnTape):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in _tensors(v)] if isinstance(value, (list, tuple)) else []


def _real(value: Any) -> bool:
    """Whether a Tensor among them is of a float type; whole numbers have neither
    kernels nor gradients."""
    return any(t.dtype.kind == "f" for t in _tensors(value))   # type: ignore[attr-defined]


def _arrays(value: Any) -> Any:
    """`value` with the arrays of Tensors in nested lists, tuples and dicts."""
    if isinstance(value, tape.OnTape):
        return value.data
    if isinstance(value, dict):
        return {k: _arrays(v) for k, v in value.items()}
    return type(value)(map(_arrays, value)) if type(value) in (list, tuple) else value


def _filled(value: Any) -> Any:
    """`value` with arrays of the shapes and types of Tensors, for functions that look at no
    more."""
    if isinstance(value, tape.OnTape):
        return np.empty(value.shape, value.dtype)   # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {k: _filled(v) for k, v in value.items()}
    return type(value)(map(_filled, value)) if type(value) in (list, tuple) else value


def _axes(axis: Any) -> Any:
    return tuple(axis) if isinstance(axis, list) else axis


# ---- functions that move elements

def _moved(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """function(t, ...) for one that only moves elements: t indexed by where the function
    puts each position."""
    (tensor, *rest), kwargs = _first(function, args, kwargs), dict(kwargs)
    if not isinstance(tensor, tape.OnTape):
        tensor = F.stack(tensor) if isinstance(tensor, (list, tuple)) else tensor
    size = math.prod(tensor.shape)
    places = function(np.arange(size).reshape(tensor.shape), *_arrays(rest), **_arrays(kwargs))
    flat = F.reshape(tensor, (-1,))

    def at(index: Any) -> Any:
        return (type(index)(map(at, index)) if isinstance(index, (list, tuple))
                else F.getitem(flat, np.asarray(index)))
    return at(places)


def _first(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """args with the array in front, also where it was given by name (which leaves kwargs)."""
    if args:
        return args
    name = next(n for n in ("a", "arr", "m", "ary", "v", "x", "array") if n in kwargs)
    return (kwargs.pop(name),)


def _sorted(a: Any, axis: int | None = -1, kind: Any = None, *, stable: Any = None) -> Any:
    if axis is None:
        a, axis = F.reshape(a, (-1,)), 0
    return _moved(np.take_along_axis, (a, np.argsort(a.data, axis, "stable"), axis), {})


# ---- functions with ops

def _concatenated(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    arrays = [_as_tensor(a, arrays) for a in arrays]
    if axis is None:
        arrays, axis = [F.reshape(a, (-1,)) for a in arrays], 0
    return F.cat(arrays, axis)


def _as_tensor(value: Any, among: Sequence[Any]) -> Any:
    """An array or a number beside Tensors, in their float type."""
    if isinstance(value, tape.OnTape):
        return value
    like = next(v for v in among if isinstance(v, tape.OnTape))
    array = np.asarray(value)
    return array if array.dtype.kind == "f" and array.ndim else array.astype(like.dtype)   # type: ignore[attr-defined]


def _at_least(n: int, arrays: Sequence[Any]) -> list[Any]:
    found = [_as_tensor(a, arrays) for a in arrays]
    if n == 1:
        return [F.reshape(a, (1,)) if not len(a.shape) else a for a in found]
    return [F.reshape(a, (1, *(a.shape or (1,)))) if len(a.shape) < 2 else a for a in found]


def _hstacked(tup: Sequence[Any]) -> Any:
    arrays = _at_least(1, tup)
    return F.cat(arrays, 0 if len(arrays[0].shape) == 1 else 1)


def _column_stacked(tup: Sequence[Any]) -> Any:
    return F.cat(
        [F.reshape(a, (-1, 1)) if len(a.shape) < 2 else a for a in (_as_tensor(v, tup) for v in tup)], 1)


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return np.where(_arrays(condition))
    return F.where(condition if isinstance(condition, tape.OnTape) else np.asarray(condition), x, y)


def _clipped(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return F.clamp(a, a_min if min is None else min, a_max if max is None else max)


def _dot(a: Any, b: Any) -> Any:
    """NumPy's dot: numbers multiply, otherwise the last axis of a meets the last but one of b."""
    dims = len(np.shape(a)), len(np.shape(b))
    if 0 in dims:
        return F.mul(a, b)
    if dims[1] <= 2:
        return F.matmul(a, b)
    return _tensordot(a, b, ([dims[0] - 1], [dims[1] - 2]))


def _tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    n, m = len(a.shape), len(b.shape)
    first, second = (list(range(n - axes, n)), list(range(axes))) if isinstance(axes, int) else \
        ([v] if isinstance(v, int) else [int(i) for i in v] for v in axes)
    first, second = [i % n for i in first], [i % m for i in second]
    left, right = [i for i in range(n) if i not in first], [i for i in range(m) if i not in second]
    inner = math.prod(a.shape[i] for i in first)
    x = F.reshape(F.permute(a, (*left, *first)), (math.prod(a.shape[i] for i in left), inner))
    y = F.reshape(F.permute(b, (*second, *right)),
                  (math.prod(b.shape[i] for i in second), math.prod(b.shape[i] for i in right)))
    return F.reshape(F.matmul(x, y), (*(a.shape[i] for i in left), *(b.shape[i] for i in right)))


def _squeezed(a: Any, axis: Any = None) -> Any:
    dims = () if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    wrong = [d for d in dims if a.shape[d] != 1]
    if wrong:
        raise ValueError(f"numpy.squeeze: axis {wrong[0]} of a Tensor of shape {a.shape} has "
                         f"{a.shape[wrong[0]]} entries, not one")
    return F.squeeze(a, _axes(axis))


def _expanded(a: Any, axis: Any) -> Any:
    axes = tuple(axis) if isinstance(axis, (tuple, list)) else (axis,)
    n = len(a.shape) + len(axes)
    new = {d % n for d in axes}
    old = iter(a.shape)
    return F.reshape(a, tuple(1 if i in new else next(old) for i in range(n)))


def _padded(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    modes = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}
    if mode not in modes or not isinstance(constant_values, (int, float)):
        raise TypeError(f"numpy.pad of a Tensor: mode is one of {', '.join(modes)} with a number for "
                        f"constant_values, got {mode!r}")
    widths = np.broadcast_to(np.asarray(pad_width), (len(array.shape), 2)).tolist()
    if mode != "constant":
        places = np.pad(np.arange(math.prod(array.shape)).reshape(array.shape), widths, mode)   # type: ignore[call-overload]
        return F.getitem(F.reshape(array, (-1,)), places)
    return F.pad(array, [n for pair in widths[::-1] for n in pair], "constant", float(constant_values))


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    both = len(x.shape) == 2 and axis is None or isinstance(axis, (tuple, list)) and len(axis) == 2
    if isinstance(ord, str) and ord != "fro" or both and ord not in (None, "fro"):
        raise TypeError(f"numpy.linalg.norm of a Tensor: a matrix's norm {ord!r} has no op here; call it on "
                        "t.detach() where no gradient is wanted")
    return F.vector_norm(x, 2 if ord in (None, "fro") else ord, _axes(axis), keepdims)


def _average(a: Any, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Any:
    if weights is None:
        return F.mean(a, axis, keepdims)
    if len(np.shape(weights)) == 1 and isinstance(axis, int):   # one weight an entry of the axis
        weights = F.reshape(_as_tensor(weights, [a]),
                            tuple(-1 if i == axis % len(a.shape) else 1 for i in range(len(a.shape))))
    weights = F.add(F.mul(a, 0.0), _as_tensor(weights, [a]))
    return F.div(F.sum(F.mul(a, weights), axis, keepdims), F.sum(weights, axis, keepdims))


def _differences(a: Any, n: int = 1, axis: int = -1) -> Any:
    for _ in range(n):
        size = a.shape[axis]
        a = F.sub(F.narrow(a, axis, 1, size - 1), F.narrow(a, axis, 0, size - 1))
    return a


def _triangle(keep: Callable[..., Any]) -> Callable[..., Any]:
    def function(m: Any, k: int = 0) -> Any:
        return F.where(keep(np.ones(m.shape[-2:], bool), k), m, 0.0)
    return function


def _permuted(a: Any, axes: Any = None) -> Any:
    return F.permute(a, tuple(range(len(a.shape)))[::-1] if axes is None else tuple(axes))


def _reduction(name: str, first: Any = None) -> Callable[..., Any]:
    def function(a: Any, axis: Any = first, *, keepdims: bool = False) -> Any:
        return getattr(F, name)(a, _axes(axis), keepdims)
    return function


def _moment(name: str) -> Callable[..., Any]:
    def function(a: Any, axis: Any = None, *, ddof: int = 0, keepdims: bool = False,
                 correction: Any = None) -> Any:
        return getattr(F, name)(a, _axes(axis), correction=ddof if correction is None else correction,
                                keepdim=keepdims)
    return function


def _one(name: str) -> Callable[..., Any]:
    return lambda x, /: getattr(F, name)(x)


def _two(name: str) -> Callable[..., Any]:
    return lambda a, b, /: getattr(F, name)(a, b)


def _shaped(a: Any, shape: Any, order: str = "C") -> Any:
    if order != "C":
        raise TypeError(f"numpy.reshape of a Tensor: only order 'C', got {order!r}; permute the axes first")
    return F.reshape(a, shape)


REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: _reduction("sum", 0), np.multiply: _reduction("prod", 0), np.maximum: _reduction("amax", 0),
    np.minimum: _reduction("amin", 0)}

UFUNCS: dict[np.ufunc, Callable[..., Any]] = {
    **{getattr(np, n): _one(n)
       for n in ("sqrt", "exp", "expm1", "log", "log1p", "tanh", "square", "reciprocal")},
    np.negative: _one("neg"), np.absolute: _one("abs"), np.fabs: _one("abs"), np.positive: lambda x, /: x,
    **{getattr(np, n): _two(to)
       for n, to in (("add", "add"), ("subtract", "sub"), ("multiply", "mul"), ("divide", "div"),
                     ("power", "pow"), ("maximum", "maximum"), ("minimum", "minimum"), ("matmul", "matmul"))},
    np.log2: lambda x, /: F.mul(F.log(x), 1 / math.log(2)),
    np.log10: lambda x, /: F.mul(F.log(x), 1 / math.log(10)), np.exp2: lambda x, /: F.pow(2.0, x)}

BOOLEAN = {np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal, np.isnan, np.isinf,
           np.isfinite, np.signbit, np.logical_and, np.logical_or, np.logical_xor, np.logical_not}

FUNCTIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    **{getattr(np, n): _reduction(to)
       for n, to in (("sum", "sum"), ("mean", "mean"), ("prod", "prod"), ("max", "amax"), ("amax", "amax"),
                     ("min", "amin"), ("amin", "amin"), ("argmax", "argmax"), ("argmin", "argmin"))},
    np.var: _moment("var"), np.std: _moment("std"), np.average: _average,
    np.ptp: lambda a, axis=None, *, keepdims=False: F.sub(F.amax(a, _axes(axis), keepdims),
                                                          F.amin(a, _axes(axis), keepdims)),
    np.concatenate: _concatenated, np.hstack: _hstacked, np.vstack: lambda tup: F.cat(_at_least(2, tup), 0),
    np.column_stack: _column_stacked,
    np.stack: lambda arrays, axis=0: F.stack([_as_tensor(a, arrays) for a in arrays], axis),
    np.append: lambda arr, values, axis=None: _concatenated([arr, values], axis),
    np.where: _where, np.clip: _clipped, np.copy: lambda a, order="K", subok=False: a.clone(),
    np.reshape: _shaped, np.ravel: lambda a, order="C": _shaped(a, (-1,), order), np.transpose: _permuted,
    np.swapaxes: lambda a, axis1, axis2: F.transpose(a, axis1, axis2),
    np.matrix_transpose: lambda x, /: F.transpose(x, -2, -1),
    np.moveaxis: lambda a, source, destination: F.movedim(a, source, destination), np.expand_dims: _expanded,
    np.squeeze: _squeezed,
    np.broadcast_to: lambda array, shape: F.broadcast_to(array,
                                                         (shape,) if isinstance(shape, int) else shape),
    np.flip: lambda m, axis=None: F.flip(m, tuple(range(len(m.shape))) if axis is None else axis),
    np.pad: _padded,
    np.dot: _dot, np.vdot: lambda a, b, /: F.matmul(F.reshape(a, (-1,)), F.reshape(b, (-1,))),
    np.inner: lambda a, b, /: F.mul(a, b) if not a.shape or not b.shape else _tensordot(a, b, ([-1], [-1])),
    np.outer: lambda a, b: F.mul(F.reshape(a, (-1, 1)), F.reshape(b, (1, -1))), np.tensordot: _tensordot,
    np.linalg.norm: _norm, np.diff: _differences, np.tril: _triangle(np.tril), np.triu: _triangle(np.triu),
    np.sort: _sorted,
    np.trace: lambda a, offset=0, axis1=0, axis2=1: F.sum(_moved(np.diagonal, (a, offset, axis1, axis2), {}), -1)}

MOVES: set[Callable[..., Any]] = {np.take, np.take_along_axis, np.compress, np.repeat, np.tile, np.roll,
                                  np.rollaxis, np.rot90, np.fliplr, np.flipud, np.diagonal, np.split,
                                  np.array_split, np.hsplit, np.vsplit, np.dsplit, np.delete, np.resize,
                                  np.atleast_1d, np.atleast_2d, np.atleast_3d, np.extract}
MOVES.discard(np.extract)   # takes the array second
MOVES |= {getattr(np, name) for name in ("unstack",) if hasattr(np, name)}   # since NumPy 2.1

LIKE: set[Callable[..., Any]] = {np.zeros_like, np.ones_like, np.full_like, np.empty_like, np.shape, np.ndim,
                                 np.size, np.result_type, np.iscomplexobj, np.isrealobj}

LOOKS: set[Callable[..., Any]] = {
    np.array_equal, np.array_equiv, np.allclose, np.isclose, np.array_repr, np.array_str, np.array2string,
    np.argsort, np.argpartition, np.argwhere, np.nonzero, np.flatnonzero, np.count_nonzero, np.any, np.all,
    np.searchsorted, np.digitize, np.bincount, np.histogram, np.isin, np.can_cast, np.may_share_memory,
    np.shares_memory, np.save, np.savez, np.savez_compressed, np.savetxt, np.isposinf, np.isneginf,
    np.isreal, np.iscomplex, np.nanargmax, np.nanargmin, np.lexsort}
