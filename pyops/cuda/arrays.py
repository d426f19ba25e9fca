"""Ops on arrays that already lie on a GPU: CuPy arrays, torch CUDA tensors, and whatever has
__cuda_array_interface__.

The result is of the first such argument's kind and is queued on that library's current stream;
nothing waits for the device. Some ops keep the layout of arrays whose channels lie last
(channels_last.py); all other results are contiguous.
"""
from __future__ import annotations

import sys
from contextlib import contextmanager

import numpy as np

from ..core.backends import get_backend
from . import on_host

REALS = {"float32": "f32", "float64": "f64", "float16": "f16", "bfloat16": "bf16"}


def on_device(inputs) -> bool:
    """Whether any input lies on a GPU."""
    return any(map(lies_on_device, inputs))


def lies_on_device(value) -> bool:
    """torch's tensors say so themselves: asked for the interface, those that require gradients raise, and
    those of bfloat16 have none."""
    on_cuda = getattr(value, "is_cuda", None)
    return on_cuda if isinstance(on_cuda, bool) else hasattr(value, "__cuda_array_interface__")


def is_torch(value) -> bool:
    """A tensor, or a parameter."""
    return type(value).__module__.partition(".")[0] == "torch"


def call(op, inputs, attrs, kinds):
    """op on device arrays. TypeError and ValueError name the op, the input and the rule."""
    backend = get_backend("cuda")
    import cupy

    from . import channels_last
    first = next(v for v in inputs if on_device((v,)))
    with _stream_of(first):
        arrays = [_array(op, i, v, kind) for i, (v, kind) in enumerate(zip(inputs, kinds))]
        if op.kernels and "cuda" in op.todo:
            result = on_host.call(op, arrays, attrs)
        else:
            kernels = backend.kernels(_real(op, arrays, kinds))
            result = channels_last.forward(op, kernels, arrays, attrs, cupy.ascontiguousarray)
        back = back_to(first)
        return tuple(map(back, result)) if isinstance(result, tuple) else back(result)


def _array(op, position, value, kind):
    """A CuPy view of one input, integers as int64."""
    import cupy
    if value is None and kind in "oj":
        return None
    if isinstance(value, np.ndarray) and not on_device((value,)):
        # lengths, targets, numbers: small, and often made by the host
        if kind not in "ij" and value.ndim:
            on_host.told(f"{op.name}: input {position} lies in the host's memory; it is copied to the device in "
                         "each call")
        value = cupy.asarray(value)
    if not lies_on_device(value):
        raise TypeError(f"{op.name}: input {position} is a {type(value).__name__} in the host's memory and "
                        "others lie on a GPU; move it there first")
    if getattr(value, "requires_grad", False):
        raise TypeError(f"{op.name}: input {position} requires a gradient in torch, which would not see this "
                        "op; detach it")
    array = viewed(value)
    if array.device.id != cupy.cuda.runtime.getDevice():
        raise ValueError(f"{op.name}: input {position} lies on GPU {array.device.id}, the first input on GPU "
                         f"{cupy.cuda.runtime.getDevice()}; all must lie on one")
    if kind in "ij":
        if array.dtype.kind not in "iu":
            raise TypeError(
                f"{op.name}: input {position} must be an integer array, got {array.dtype} {array.shape}")
        array = array.astype(np.int64, copy=False)
    return array


def viewed(value):
    """A CuPy array that shares `value`'s memory."""
    import cupy
    if isinstance(value, cupy.ndarray):
        return value
    if is_torch(value) and str(value.dtype) == "torch.bfloat16":
        from .emulated import dtype_of

        # as whole numbers of its size: those DLPack has in every version of both libraries
        return cupy.from_dlpack(value.view(sys.modules["torch"].int16)).view(dtype_of("bf16"))
    return cupy.from_dlpack(value) if hasattr(value, "__dlpack__") else cupy.asarray(value)


def beside(array, value):
    """A NumPy array's copy on the device of `value`, of its kind."""
    import cupy
    with _stream_of(value):
        return back_to(value)(cupy.asarray(array))


def _real(op, arrays, kinds):
    found = {a.dtype.name for a, kind in zip(arrays, kinds) if a is not None
             and (kind in "ro" or kind in "av" and a.dtype.name in REALS)}
    if not found and set(kinds) <= set("aijv"):
        return "f32"
    if len(found) != 1 or not found <= set(REALS):
        raise TypeError(f"{op.name}: inputs on a GPU must share one of {', '.join(REALS)}, got "
                        f"{', '.join(sorted(found))}")
    return REALS[found.pop()]


@contextmanager
def _stream_of(value):
    """The device of `value`, and the stream on which its library works now, as CuPy's current
    ones."""
    import cupy
    if is_torch(value):
        torch = sys.modules["torch"]
        index = value.device.index
        with (cupy.cuda.Device(index),
              cupy.cuda.ExternalStream(torch.cuda.current_stream(index).cuda_stream, index)):
            yield
    elif isinstance(value, cupy.ndarray):
        with value.device:
            yield
    else:
        yield


def back_to(first):
    """Turns a CuPy array into the first input's kind."""
    import cupy
    if isinstance(first, cupy.ndarray):
        return lambda a: a
    if is_torch(first):
        torch = sys.modules["torch"]
        return lambda a: (torch.from_dlpack(a.view(np.int16)).view(torch.bfloat16)
                          if a.dtype.name == "bfloat16" else torch.from_dlpack(a))
    library = sys.modules[type(first).__module__.partition(".")[0]]
    convert = getattr(library, "from_dlpack", None)
    return convert or (lambda a: a)
