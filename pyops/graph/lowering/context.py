"""What lowering works on: buffers, the places of values in them, and the kernel calls made so far.

A value lies planar (NCHW, as callers have it) or as a Map in blocked layout (csrc/view.h), or both
once something needed the other form.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ... import _C
from .. import packing
from ..ir import Graph, Node, Value
from . import shortly

BLOCK = 16
ARENA, INPUT, OUTPUT = 0, 1, 2


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory that a run has: part of the arena (at `offset`, planned later), or input or output
    `index` of the call."""
    bytes: int
    space: int = ARENA
    index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Ref:
    """A contiguous array in a buffer. `sample`: values from one sample of a map to the next."""
    buffer: Buffer
    offset: int                  # bytes
    shape: tuple[int, ...]
    dtype: np.dtype = np.dtype(np.float32)
    sample: int = 0

    @property
    def whole(self) -> bool:
        return self.offset == 0 and self.buffer.bytes == math.prod(self.shape) * self.dtype.itemsize

    def reshaped(self, shape) -> Ref:
        return Ref(self.buffer, self.offset, tuple(shape), self.dtype, self.sample)


class Window(NamedTuple):
    """How a window lies on the spatial axes, as csrc/view.h has it."""
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class View:
    """A value that lies in a buffer behind strides (in values); `ref` is its first element."""
    ref: Ref
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Map:
    """An image (n, channels, h, w) in blocked layout; `ref` has the shape (n, blocks, h, w, 16)."""
    ref: Ref
    channels: int

    @property
    def contiguous(self) -> bool:
        shape = self.ref.shape
        return shape[0] == 1 or self.ref.sample == shape[1] * shape[2] * shape[3] * BLOCK

    def flat(self) -> Ref:
        """The same memory as one axis, for kernels to whom layout does not matter."""
        return self.ref.reshaped((math.prod(self.ref.shape),))

    def block(self, first: int, channels: int) -> Map:
        """The channels from block `first` on."""
        n, _, h, w, _ = self.ref.shape
        ref = self.ref
        before = first * h * w * BLOCK * 4 if n else 0   # a buffer of no samples has no such place
        return Map(Ref(ref.buffer, ref.offset + before, (n, blocks(channels), h, w, BLOCK), ref.dtype, ref.sample),
                   channels)


def blocks(channels: int) -> int:
    return -(-channels // BLOCK)


@dataclass(eq=False, slots=True)
class Step:
    """One kernel call. `args` are Refs, constant arrays, None, numbers, tuples of ints, Windows and
    Acts, in the kernel's order."""
    kernel: str
    args: tuple
    node: Node | None
    algorithm: str = ""
    flops: float = 0
    why: str = ""
    covers: tuple[str, ...] = ()   # modules, where it does the work of several

    def refs(self):
        return (a for a in self.args if isinstance(a, Ref))


class Declined(Exception):
    """A rule has no kernel for this node; the message says why. The plain rule takes over."""


@dataclass(eq=False)
class Lowering:
    graph: Graph
    options: object                                    # compile.Options
    steps: list[Step] = field(default_factory=list)
    planar: dict[Value, Ref] = field(default_factory=dict)
    maps: dict[Value, Map] = field(default_factory=dict)
    views: dict[Value, View] = field(default_factory=dict)     # copied when something needs them contiguous
    # (n, h, w, c): an image whose channels come last, and the map (n, c, h, w) that it is a view of
    last: dict[Value, Map] = field(default_factory=dict)
    joined: dict[Value, tuple[Value, ...]] = field(default_factory=dict)   # parts that stay apart (picked.py)
    # (n, c, d, h, w): a map of d n samples (volume.py); places that new maps are to have
    volumes: dict[Value, Map] = field(default_factory=dict)
    given: dict[Value, Map] = field(default_factory=dict)
    # value -> concatenation and channel block it is part of
    placement: dict[Value, tuple[Value, int]] = field(default_factory=dict)
    consumers: dict[Value, list[Node]] = field(default_factory=dict)
    order: dict[Node, int] = field(default_factory=dict)       # when each node is computed

    def __post_init__(self):
        self.consumers = self.graph.consumers()
        self.order = {node: i for i, node in enumerate(self.graph.nodes)}

    @cached_property
    def largest(self) -> int:
        """Values that the largest node reads and writes, for which the arena has room at least."""
        return max((sum(v.size for v in {*node.values(), *node.outputs}) for node in self.graph.nodes), default=0)

    @property
    def kernels(self):
        """The kernels of the program's instruction set, for packing weights."""
        return getattr(_C, self.options.isa).f32

    # ---- where values are

    def buffer(self, count: int, dtype=np.float32) -> Buffer:
        return Buffer(int(count) * np.dtype(dtype).itemsize)

    def new_planar(self, value: Value) -> Ref:
        """A place for the node's result, planar."""
        self.planar[value] = Ref(self.buffer(value.size, value.dtype), 0, value.shape, value.dtype)
        return self.planar[value]

    def new_map(self, value: Value, shape: tuple[int, ...] | None = None) -> Map:
        """A place for the node's result in blocked layout: within the concatenation it belongs
        to, if there is one."""
        if value in self.given:
            self.maps[value] = self.given[value]
            return self.maps[value]
        if value in self.placement:
            whole, first = self.placement[value]
            if whole not in self.maps:
                self.new_map(whole)
            self.maps[value] = self.maps[whole].block(first, value.shape[1])
            return self.maps[value]
        self.maps[value] = self.free_map(*four(shape or value.shape))
        return self.maps[value]

    def free_map(self, n: int, c: int, h: int, w: int) -> Map:
        """A place for a map that is no value's yet."""
        ref = Ref(self.buffer(n * blocks(c) * h * w * BLOCK), 0, (n, blocks(c), h, w, BLOCK),
                  sample=blocks(c) * h * w * BLOCK)
        return Map(ref, c)

    def copy(self, source: Ref, strides: tuple[int, ...], to: Ref, node: Node | None = None) -> None:
        """The view of these strides (in values), whose first element `source` is, made
        contiguous."""
        self.add("strided_copy" if to.dtype == np.float32 else "strided_move", source, strides, to, node=node,
                 algorithm="copy")

    def as_planar(self, value) -> Ref | np.ndarray | None:
        """The value planar, converted if need be; constants as they are."""
        if not isinstance(value, Value):
            return value
        if value not in self.planar:
            first = len(self.steps)
            self.make_planar(value)
            self.run_shortly(value.node, self.steps[first:])
        return self.planar[value]

    def make_planar(self, value: Value) -> None:
        if value in self.views:
            view = self.views[value]
            place = self.new_planar(value)
            if value.size:
                shape, strides = joined_axes(value.shape, view.strides)
                self.copy(view.ref, strides, place.reshaped(shape), value.node)
        elif value in self.last:
            n, h, w, c = value.shape
            self.new_planar(value)
            self.add("last_from_blocked", self.last[value].ref, self.planar[value].reshaped((n, h * w, c)),
                     algorithm="layout")
        elif value in self.volumes:
            n, c, d, h, w = value.shape
            turned = Ref(self.buffer(value.size), 0, (d, n, c, h, w))
            self.add("from_blocked", self.volumes[value].ref, turned.reshaped((d * n, c, h, w)), algorithm="layout")
            strides = contiguous_strides((d, n, c, h, w))
            shape, strides = joined_axes(value.shape, tuple(strides[i] for i in (1, 2, 0, 3, 4)))
            self.copy(turned, strides, self.new_planar(value).reshaped(shape), value.node)
        else:
            source = self.maps[value]
            shape = four(value.shape)
            if shape[2] == shape[3] == 1 and shape[1] % BLOCK == 0 and source.contiguous:
                # single pixels: both layouts are the same numbers
                self.planar[value] = source.ref.reshaped(value.shape)
            else:
                self.new_planar(value)
                self.add("from_blocked", source.ref, self.planar[value].reshaped(shape), algorithm="layout")

    def as_map(self, value: Value) -> Map:
        """The value in blocked layout, converted if need be."""
        if value not in self.maps:
            if value.dtype != np.float32:
                raise Declined(f"maps are of float32, this is {value.dtype}")
            if value in self.views and value not in self.planar and channels_last(value.shape,
                                                                                  self.views[value].strides):
                n, c, h, w = value.shape
                self.new_map(value)
                self.add("last_to_blocked", self.views[value].ref.reshaped((n, h * w, c)), self.maps[value].ref,
                         algorithm="layout")
            else:
                source = self.as_planar(value)
                n, c, h, w = four(value.shape)
                self.new_map(value)
                self.add("to_blocked", source.reshaped((n, c, h, w)), self.maps[value].ref, algorithm="layout")
            self.run_shortly(value.node, self.steps[-1:])
        return self.maps[value]

    def as_view(self, value) -> View:
        """The value wherever it lies, for kernels that take strides."""
        if isinstance(value, Value) and value in self.views and value not in self.planar:
            return self.views[value]
        return View(self.as_planar(value), contiguous_strides(value.shape))

    def is_view(self, value) -> bool:
        return (isinstance(value, Value) and value in self.views and value not in self.planar
                and value not in self.maps)

    def is_map(self, value) -> bool:
        return isinstance(value, Value) and value in self.maps

    # ---- calls

    def run_shortly(self, node: Node | None, steps: list[Step]) -> None:
        """Has the last calls run on as many entries of the node's result as there are, if it knows."""
        if node is not None and node.short is not None:
            shortly.shorten(self, node, steps)

    def add(self, kernel: str, *args, node: Node | None = None, algorithm: str = "", flops: float = 0,
            why: str = "", covers: tuple[str, ...] = ()) -> None:
        if any(isinstance(a, np.ndarray) for a in args):
            args = tuple(packing.settled(a) if isinstance(a, np.ndarray) else a for a in args)
        self.steps.append(Step(kernel, args, node, algorithm, flops, why, covers))


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def channels_last(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether an image (n, c, h, w) of these strides is one in memory whose channels come last."""
    if len(shape) != 4:
        return False
    n, c, h, w = shape
    return all(size == 1 or stride == wanted
               for size, stride, wanted in zip(shape, strides, (h * w * c, 1, w * c, c)))


def joined_axes(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of the same values in the same order, with as few axes as can be, but
    one."""
    joined: list[tuple[int, int]] = []
    for size, stride in zip(shape, strides):
        if size == 1:
            continue
        if joined and joined[-1][1] == stride * size:
            size *= joined.pop()[0]
        joined.append((size, stride))
    return tuple(size for size, _ in joined) or (1,), tuple(stride for _, stride in joined) or (1,)


def four(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(N, C, W) as (N, C, 1, W); Declined for what is no image."""
    if len(shape) == 4:
        return shape
    if len(shape) == 3:
        return (shape[0], shape[1], 1, shape[2])
    raise Declined(f"{len(shape)} axes are no image")
