"""The rule for every row without one of its own: its own glue, run once on stand-ins, with the kernel calls that it makes kept.

Stand-ins are arrays at known addresses; what a kernel is given is found again by its address. A row without kernels makes a view:
where that is no contiguous array, a copy is made of it.
"""
from __future__ import annotations

from bisect import bisect_right

import numpy as np

from ...registry import OPS
from ..ir import Node, Value
from .context import Declined, Lowering, Ref


class Recorder:
    """A backend's kernels, as far as glue sees them: allocates stand-ins and keeps calls."""
    real, dtype = "f32", np.dtype(np.float32)

    def __init__(self, low: Lowering, node: Node):
        self.low, self.node = low, node
        self.arrays: list[tuple[int, np.ndarray, Ref]] = []   # address, stand-in, where it is
        self.calls = 0

    def stand_in(self, ref: Ref) -> np.ndarray:
        array = np.zeros(max(1, int(np.prod(ref.shape))), ref.dtype)[:int(np.prod(ref.shape))].reshape(ref.shape)
        self.arrays.append((array.__array_interface__["data"][0], array, ref))
        self.arrays.sort(key=lambda entry: entry[0])
        return array

    def empty(self, shape, dtype=None):
        shape, dtype = tuple(int(s) for s in np.atleast_1d(shape)) if not isinstance(shape, tuple) else shape, np.dtype(dtype or self.dtype)
        return self.stand_in(Ref(self.low.buffer(int(np.prod(shape)), dtype), 0, shape, dtype))

    def find(self, array: np.ndarray) -> Ref | None:
        """Where the memory of `array` lies in the program; None for memory of its own."""
        address = array.__array_interface__["data"][0]
        at = bisect_right([entry[0] for entry in self.arrays], address) - 1
        if at >= 0:
            start, stand_in, ref = self.arrays[at]
            if address < start + max(1, stand_in.nbytes):
                return Ref(ref.buffer, ref.offset + address - start, array.shape, array.dtype)
        return None

    def __getattr__(self, name):
        def call(*args):
            self.calls += 1
            self.low.add(name, *(self.argument(a) for a in args), node=self.node, algorithm="plain")
        return call

    def argument(self, value):
        if not isinstance(value, np.ndarray):
            return value
        if not value.flags.c_contiguous:
            raise Declined("its glue passes a view that is not contiguous")
        return self.find(value) or value


def plain(low: Lowering, node: Node) -> None:
    op = OPS[node.op]
    recorder = Recorder(low, node)
    inputs = [recorder.stand_in(low.as_planar(v)) if isinstance(v, Value) else v for v in node.inputs]
    result = op.forward(recorder, *inputs, **node.attrs)
    results = result if isinstance(result, tuple) else (result,)
    for value, array in zip(node.outputs, results):
        place(low, recorder, value, array)


def place(low: Lowering, recorder: Recorder, value: Value, array: np.ndarray) -> None:
    ref = recorder.find(array)
    if ref is None:
        if recorder.calls == 0 and not any(isinstance(v, Value) for v in recorder.node.inputs):
            raise Declined("its result is a constant")
        raise ValueError(f"compile: {value.node.op} at {value.node.where} computes on numbers outside of kernels; it cannot be compiled")
    if array.flags.c_contiguous:
        low.planar[value] = Ref(ref.buffer, ref.offset, value.shape, value.dtype)
        return
    strides = tuple(s // array.itemsize for s in array.strides)
    if array.ndim > 8 or array.dtype != np.float32:
        raise ValueError(f"compile: {value.node.op} at {value.node.where}: a view of {array.ndim} axes and type {array.dtype} cannot be copied")
    source = Ref(ref.buffer, ref.offset, (1,))
    low.add("strided_copy", source, strides, low.new_planar(value), node=value.node, algorithm="copy")
