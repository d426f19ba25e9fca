"""Arguments of a kernel launch: a Python value has one meaning, and no width is left to guess."""
from __future__ import annotations

import numpy as np

DIMS = np.dtype([("v", np.int32, 8), ("n", np.int32)])
_INT32 = np.iinfo(np.int32)
ACC = {"f32": np.float32, "f64": np.float64, "f16": np.float32, "bf16": np.float32}


def argument(value, real: str):
    """What is passed for `value`: an int becomes int, a float `acc`, a bool int, a tuple a Dims.
    Arrays, None (a null pointer) and NumPy scalars, which have a width already, stay. OverflowError
    for what an int cannot hold: pass np.int64 to a parameter that is i64.
    """
    if value is None or isinstance(value, np.generic) or hasattr(value, "shape"):
        return value
    if isinstance(value, (bool, int)):
        return _int32(value)
    if isinstance(value, float):
        return ACC[real](value)
    if isinstance(value, tuple):
        return dims(value)
    raise TypeError(f"launch: cannot pass a {type(value).__name__} to a kernel")


def _int32(value):
    if not _INT32.min <= value <= _INT32.max:
        raise OverflowError(
            f"launch: {value} does not fit the kernel's int; arrays this large are not supported by it")
    return np.int32(value)


def dims(values):
    """A Dims (index.cuh) of up to eight ints."""
    if len(values) > 8:
        raise ValueError(f"launch: at most 8 sizes fit a Dims, got {values}")
    record = np.zeros((), DIMS)
    record["v"][:len(values)] = [_int32(int(v)) for v in values]
    record["n"] = len(values)
    return record[()]
