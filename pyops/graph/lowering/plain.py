"""The rule for every row without one of its own: its own glue, run once on stand-ins, with the
kernel calls that it makes kept.

Stand-ins are arrays at known addresses; what a kernel is given is found again by its address.
They hold NaN, so that what NumPy would compute from them is noticed: a program cannot. A row
without kernels makes a view: where that is no contiguous array, it stays a view until
something needs a copy of it.
"""
from __future__ import annotations

import math
import threading
from bisect import bisect_right

import numpy as np

from ...core.kernel_set import DTYPES
from ..ir import Node, Value
from ..trace import TraceError, real_of
from .context import Declined, Lowering, Ref, View, joined_axes

MOST_AXES = 8   # of what kernels copy (csrc/view.h)


class NoNumbers(threading.local):
    """Memory that smaller inputs lie in while glue runs: not one that is cleared for each."""
    ROOM = 1 << 19   # bytes

    def __init__(self) -> None:
        self.bytes = np.full(self.ROOM, 0xff, np.uint8)   # NaN in floats of any size
        self.bytes.flags.writeable = False


no_numbers = NoNumbers()


class Recorder:
    """A backend's kernels, as far as glue sees them: allocates stand-ins and keeps calls."""

    def __init__(self, low: Lowering, node: Node, out: Ref | None = None):
        """out: where all that the glue makes is to lie."""
        self.low, self.node, self.out = low, node, out
        self.real = real_of(node)
        self.dtype = self.acc = DTYPES[self.real]
        self.addresses: list[int] = []   # ascending
        self.arrays: list[tuple[np.ndarray, Ref]] = []   # the stand-in at each address, and where it is
        self.made: list[object] = []   # buffers that the glue allocated
        self.calls = self.used = 0

    def given(self, ref: Ref) -> np.ndarray:
        """A stand-in that glue has no reason to write to."""
        count = math.prod(ref.shape)
        first, size = self.used, max(1, count) * ref.dtype.itemsize
        if ref.dtype.kind != "f" or first + size > NoNumbers.ROOM:
            return self.stand_in(ref)
        self.used += -(-size // 64) * 64
        return self.placed(no_numbers.bytes[first:first + size].view(ref.dtype)[:count].reshape(ref.shape), ref)

    def stand_in(self, ref: Ref) -> np.ndarray:
        count = math.prod(ref.shape)
        array = np.full(max(1, count), np.nan if ref.dtype.kind == "f" else 0, ref.dtype)[:count].reshape(ref.shape)
        return self.placed(array, ref)

    def placed(self, array: np.ndarray, ref: Ref) -> np.ndarray:
        address = array.__array_interface__["data"][0]
        at = bisect_right(self.addresses, address)
        self.addresses.insert(at, address)
        self.arrays.insert(at, (array, ref))
        return array

    def strided_stand_in(self, view: View, shape, dtype) -> np.ndarray:
        """The view, of a stand-in for the whole buffer."""
        whole = self.given(Ref(view.ref.buffer, 0, (view.ref.buffer.bytes // dtype.itemsize,), dtype))
        return np.lib.stride_tricks.as_strided(whole[view.ref.offset // dtype.itemsize:], shape,
                                               [s * dtype.itemsize for s in view.strides])

    def empty(self, shape, dtype=None):
        if self.out is not None:
            return self.stand_in(self.out)
        shape, dtype = (tuple(int(s) for s in np.atleast_1d(shape)) if not isinstance(shape, tuple)
                        else shape, np.dtype(dtype or self.dtype))
        ref = Ref(self.low.buffer(int(np.prod(shape)), dtype), 0, shape, dtype)
        self.made.append(ref.buffer)
        return self.stand_in(ref)

    def find(self, array: np.ndarray) -> Ref | None:
        """Where the memory of `array` lies in the program; None for memory of its own."""
        address = array.__array_interface__["data"][0]
        at = bisect_right(self.addresses, address) - 1
        if at >= 0:
            start, (stand_in, ref) = self.addresses[at], self.arrays[at]
            if address < start + max(1, stand_in.nbytes):
                return Ref(ref.buffer, ref.offset + address - start, array.shape, array.dtype)
        return None

    def host(self, array):
        """`array` for glue to look into, if it is a constant: what a stand-in will hold is known
        when the program runs."""
        return array if self.find(array) is None else None

    def __getattr__(self, name):
        def call(*args):
            self.calls += 1
            self.low.add(name if self.real == "f32" else f"{name}.{self.real}",
                         *(self.argument(a) for a in args), node=self.node, algorithm="plain",
                         flops=2 * self.node.macs if self.calls == 1 else 0, why=self.node.why)
        return call

    def argument(self, value):
        if not isinstance(value, np.ndarray):
            return value
        if not value.flags.c_contiguous:
            raise Declined("its glue passes a view that is not contiguous")
        found = self.find(value)
        if found is None and value.dtype.kind == "f" and np.isnan(value).any() and not any(
                isinstance(v, np.ndarray) and np.may_share_memory(value, v) for v in self.node.inputs):
            raise TraceError(outside_of_kernels(self.node))
        return found or value


def plain(low: Lowering, node: Node) -> None:
    op = node.row
    if all(value.size == 0 for value in node.outputs):   # nothing to compute, and nowhere to find it again by
        for value in node.outputs:
            low.new_planar(value)
        return
    if not op.kernels and any(map(low.is_view, node.inputs)) and view_of_view(low, node):
        return
    recorder = Recorder(low, node)
    inputs = [recorder.given(low.as_planar(v)) if isinstance(v, Value) else in_order(node, v) for v in node.inputs]
    result = op.forward(recorder, *inputs, **node.attrs)
    results = result if isinstance(result, tuple) else (result,)
    for value, array in zip(node.outputs, results):
        place(low, recorder, value, array)


def in_order(node, constant):
    """As kernels take it: a linear layer's weights, and what was made of them, may lie turned."""
    return np.asarray(constant, order="C") if node.row.kernels and isinstance(constant, np.ndarray) else constant


def view_of_view(low: Lowering, node: Node) -> bool:
    """Whether the row, which only views, can do so without a copy of its input."""
    recorder = Recorder(low, node)
    inputs = [recorder.strided_stand_in(low.views[v], v.shape, v.dtype) if low.is_view(v) else
              recorder.given(low.as_planar(v)) if isinstance(v, Value) else v for v in node.inputs]
    try:
        result = node.row.forward(recorder, *inputs, **node.attrs)
    except Declined:   # it calls a kernel, which wants the view contiguous
        return False
    if isinstance(result, tuple) or recorder.find(result) is None:   # NumPy had to copy
        return False
    place(low, recorder, node.output, result)
    return True


def place(low: Lowering, recorder: Recorder, value: Value, array: np.ndarray) -> None:
    ref = recorder.find(array)
    if ref is None:
        if recorder.calls == 0 and not any(isinstance(v, Value) for v in recorder.node.inputs):
            raise Declined("its result is a constant")
        raise TraceError(outside_of_kernels(value.node))
    needed = value in low.consumers or value in low.graph.outputs
    # written by the glue itself
    if needed and not recorder.calls and array.size and any(ref.buffer is b for b in recorder.made):
        raise TraceError(outside_of_kernels(value.node))
    if array.flags.c_contiguous:
        low.planar[value] = Ref(ref.buffer, ref.offset, value.shape, value.dtype)
        return
    strides = tuple(s // array.itemsize for s in array.strides)
    axes = len(joined_axes(array.shape, strides)[0])
    if axes > MOST_AXES:
        raise TraceError(
            f"compile: {value.node.op} at {value.node.where}: a view of {axes} axes cannot be copied")
    low.views[value] = View(Ref(ref.buffer, ref.offset, (1,), value.dtype), strides)


def outside_of_kernels(node: Node) -> str:
    return f"compile: {node.op} at {node.where} computes on numbers outside of kernels; it cannot be compiled"
