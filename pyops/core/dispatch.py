"""The slow door of Op.__call__: everything that is not already a plain contiguous
array of the right type.

Tensors and traced values take over the call (`__pyops_call__`); DLPack exporters are viewed as
arrays and the result goes back as the first argument's kind; strided views are copied; anything
else gets an error that names the op, the values and the rule.
"""
from __future__ import annotations

import sys
from functools import lru_cache

import numpy as np

from .. import _C
from .backends import active
from .symbolic import SymInt, plain

# What arrays of a row's inputs of any type may be: csrc/elements.inc. ml_dtypes' bfloat16
# is known by its name.
ELEMENTS = frozenset(("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8",
                      "uint64", "uint32", "uint16", "uint8", "bool"))
REALS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
# what knows arrays on a device: on_device(inputs), call(op, inputs, attrs, kinds), viewed(value), beside(array, value)
_device = None


def register_device(door) -> None:
    """From now on calls with arrays for which door.on_device says True go to door.call."""
    global _device
    _device = door


def on_device(inputs) -> bool:
    """Whether any of `inputs` lies in the memory of a device."""
    return _device.on_device(inputs)


def viewed(value):
    """`value`, which lies on a device, as an array of the library that ops there work with."""
    return _device.viewed(value)


def beside(array, value):
    """A NumPy array where `value` lies: itself, or a copy on the device, of the library of `value`."""
    return _device.beside(array, value) if on_device((value,)) else array


class InputError(TypeError):
    """An input that no kernel takes; `value` is the input."""

    def __init__(self, text: str, value=None):
        super().__init__(text)
        self.value = value


def call(op, inputs, attrs, out=None):
    if op.whole and all(getattr(getattr(v, "dtype", None), "kind", "") in WHOLE for v in inputs):
        return whole_row(op)(*inputs, out=out, **attrs)
    takers = [type(v) for v in inputs if hasattr(type(v), "__pyops_call__")]
    if takers:
        taker = max(takers, key=lambda t: getattr(t, "__pyops_priority__", 0))
        if out is not None:
            raise TypeError(f"{op.name}: out= is for arrays, not {taker.__name__}")
        return taker.__pyops_call__(op, inputs, attrs)
    if on_device(inputs):
        if out is not None:
            raise TypeError(f"{op.name}: out= is for arrays in the host's memory")
        return _device.call(op, inputs, attrs, kinds_of(op, len(inputs)))
    back, half = exporter(inputs), halves(op, inputs)
    if half is not None:
        result = of_halves(op, inputs, attrs, out, half)
    else:
        arrays = ready(op, inputs)
        if out is not None:
            out = ready_out(op, arrays, out)
        result = active.get().run(op, _C.probe(arrays, op.kinds), arrays, attrs, out)
    if back is None:
        return result
    return tuple(map(back, result)) if isinstance(result, tuple) else back(result)


HALVES = frozenset(("float16", "bfloat16"))
PLAIN = frozenset((np.dtype(np.float32), np.dtype(np.float64)))   # whose names need no asking for


def halves(op, inputs):
    """The type of halves that all of the call's real inputs are of; None if they are not."""
    kinds = op.kinds
    if "r" not in kinds and "o" not in kinds:
        return None
    types = {getattr(v, "dtype", None) for v, kind in zip(inputs, kinds_of(op, len(inputs)))
             if kind in "ro" and v is not None}
    if len(types) != 1 or types <= PLAIN:
        return None
    name = str(types.pop()).rpartition(".")[2]   # torch.float16
    return name if name in HALVES else None


def of_halves(op, inputs, attrs, out, half):
    """The call in float32; results are rounded to the type of halves once. Statistics that a row
    keeps for its gradient are results as well."""
    arrays = [as_array(op, i, v) if v is not None else None for i, v in enumerate(inputs)]
    dtype = next(a.dtype for a, kind in zip(arrays, kinds_of(op, len(inputs)))
                 if a is not None and kind in "ro" and a.dtype.name == half)
    if out is not None:
        out = ready_out(op, arrays, out)
        if out.dtype != dtype:
            raise ValueError(f"{op.name}: out must be {dtype}, got {describe(out)}")
    wide = ready(op, [a.astype(np.float32) if a is not None and a.dtype == dtype and kind in "ro" else a
                      for a, kind in zip(arrays, kinds_of(op, len(inputs)))])
    result = active.get().run(op, _C.probe(wide, op.kinds), wide, attrs, None)
    results = result if isinstance(result, tuple) else (result,)
    with np.errstate(over="ignore"):   # what is too large becomes an infinity
        results = tuple(r.astype(dtype) if r.dtype == np.float32 else r for r in results)
    if out is not None:
        if out.shape != results[0].shape:
            raise ValueError(f"{op.name}: out must be of shape {results[0].shape}, got {describe(out)}")
        out[...] = results[0]
        results = (out, *results[1:])
    return results if isinstance(result, tuple) else results[0]


WHOLE = frozenset("iub")   # kinds of NumPy's types


def whole_row(op):
    from .registry import OPS
    return OPS[op.whole]


def kinds_of(op, count):
    """op.kinds written out for `count` inputs."""
    kinds = op.kinds
    if kinds.endswith("*"):
        kinds = kinds[:-1] + kinds[-2] * (count - len(kinds) + 1)
    if len(kinds) != count:
        raise TypeError(f"{op.name}: takes {len(kinds)} inputs, got {count}")
    return kinds


def describe(value):
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    return type(value).__name__


def whole_sizes(value: np.ndarray) -> np.ndarray:
    """Of sizes with formulas, as NumPy computes with them, the numbers that they then have to be."""
    if not value.size or not any(isinstance(v, SymInt) for v in value.flat):
        return value
    return np.array([plain(v) for v in value.flat]).reshape(value.shape)


def is_masked(value: object) -> bool:
    """Whether it is one of numpy.ma's, which takes as long to import as a small network to compile."""
    masked = sys.modules.get("numpy.ma")
    return masked is not None and isinstance(value, masked.MaskedArray)


def as_array(op, position, value):
    if isinstance(value, np.ndarray):
        if is_masked(value):
            raise InputError(f"{op.name}: input {position} is a masked array, whose mask would be lost; give "
                             ".filled(value)", value)
        return np.asarray(value) if value.dtype.kind != "O" else whole_sizes(value)
    if isinstance(value, np.generic):
        return np.asarray(value)
    if hasattr(value, "__dlpack__"):
        if getattr(value, "requires_grad", False):
            raise InputError(f"{op.name}: input {position} requires a gradient in "
                             f"{type(value).__module__.partition('.')[0]}, which would be lost; the ops of "
                             "torch.ops.pyops (import pyops.torch) keep it, or detach it", value)
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError) as why:
            raise InputError(f"{op.name}: input {position} ({type(value).__name__}) cannot be viewed through "
                             f"DLPack: {why}", value) from why
    if isinstance(value, SymInt):
        return np.asarray(value.plain())
    raise InputError(f"{op.name}: input {position} must be an array, a Tensor or a DLPack exporter, got "
                     f"{type(value).__name__}", value)


def ready(op, inputs):
    """Arrays of one real type, native, contiguous; integer inputs as int64."""
    kinds = kinds_of(op, len(inputs))
    check_one_type(op, inputs, kinds)
    arrays = []
    for position, (value, kind) in enumerate(zip(inputs, kinds)):
        if value is None and kind in "oj":
            arrays.append(None)
            continue
        arrays.append(ready_one(op, position, as_array(op, position, value), kind, value))
    reals = {a.dtype for a, kind in zip(arrays, kinds) if a is not None and kind in "ro"}
    if len(reals) > 1:
        raise TypeError(f"{op.name}: inputs must share one dtype, got "
                        + ", ".join(describe(a) for a in arrays if a is not None)
                        + "; convert one with .astype")
    return tuple(arrays)


def check_one_type(op, inputs, kinds):
    """TypeError for halves beside other real numbers: each alone would be taken."""
    found = {getattr(v, "dtype", None) for v, kind in zip(inputs, kinds) if kind in "ro" and v is not None}
    if found <= PLAIN:
        return
    types = {str(dtype).rpartition(".")[2] for dtype in found}
    if types & HALVES and len(types - {"None"}) > 1:
        raise TypeError(f"{op.name}: inputs must share one dtype, got {', '.join(sorted(types - {'None'}))}; "
                        "convert one with .astype")


@lru_cache(256)
def has_kernels(dtype):
    """Whether values of this type are among those of csrc/elements.inc: a type takes long to say its name."""
    return dtype.name in ELEMENTS


def ready_one(op, position, array, kind, value=None):
    if kind in "ij":
        if array.dtype.kind not in "iu":
            raise InputError(f"{op.name}: input {position} must be an integer array, got {describe(array)}",
                             value)
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(f"{op.name}: input {position} has values beyond int64")
        return np.require(array, np.int64, "CA")
    if kind in "av":
        if not has_kernels(array.dtype):
            raise InputError(
                f"{op.name}: input {position} must be of numbers or truth values, got {describe(array)}",
                value)
        native = array.dtype.newbyteorder("=")
        return np.require(array, native, "CA") if kind == "a" else array.astype(native, copy=False)
    if array.dtype.newbyteorder("=") not in REALS:
        raise InputError(f"{op.name}: input {position} must be float32 or float64, got {describe(array)}; "
                         "convert it with .astype", value)
    return np.require(array, array.dtype.newbyteorder("="), "CA")


def ready_out(op, arrays, out):
    """`out` as an array the kernel may write: same type, writable, contiguous, and
    overlapping no input."""
    array = out if isinstance(out, np.ndarray) else as_array(op, "out", out)
    if not array.flags.writeable:
        raise ValueError(f"{op.name}: out is read-only")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{op.name}: out must be C-contiguous, got strides {array.strides} for shape {array.shape}")
    if any(a is not None and np.may_share_memory(a, array) for a in arrays):
        raise ValueError(f"{op.name}: out overlaps an input")
    return array


def exporter(inputs):
    """A function that turns a result array into the first argument's kind, or None
    when that is NumPy."""
    first = next((v for v in inputs if v is not None), None)
    if isinstance(first, (np.ndarray, np.generic)) or not hasattr(first, "__dlpack__"):
        return None
    library = sys.modules[type(first).__module__.partition(".")[0]]
    convert = getattr(library, "from_dlpack", None)
    if convert is None:
        raise TypeError(
            f"{type(first).__module__} exports DLPack but has no from_dlpack to return a result with")
    return lambda value: convert(value) if isinstance(value, np.ndarray) else value
