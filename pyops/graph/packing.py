"""Weights in the order kernels read them: whole blocks of 16 filters, zeros where channels or
filters do not fill a block."""
from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterator

import numpy as np

from ..core import memory
from ..core.backends import active
from ..files.pieces import borrowed, copy_into, fetch, seen
from .shared import once

BLOCK = 16
LARGEST_TAP = 64   # squares of a filter's largest tap over those of the others
FEW = 1 << 12   # numbers that are looked at again sooner than looked up
AT_ONCE = 1 << 16   # numbers that are looked at together: what is made of them stays in cache


def rounded(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


class Halls:
    """Arrays of a few hundred kilobytes side by side in large ones, which the system gives huge pages:
    weights that are read once from end to end come from small pages at two thirds of the speed. A hall
    goes with the last array in it."""
    LEAST, MOST, HALL = 1 << 16, 8 << 20, 32 << 20   # bytes

    def __init__(self) -> None:
        self.lock, self.hall, self.used = threading.Lock(), (lambda: None), 0

    def room(self, shape: tuple[int, ...], dtype) -> np.ndarray:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if not self.LEAST <= size <= self.MOST:
            return memory.empty(shape, dtype)
        with self.lock:
            hall = self.hall()
            if hall is None or self.used + size > self.HALL:
                # a program that fills one waits for huge pages
                hall, self.used = (memory.at_hand if hall is None else memory.empty)((self.HALL,), np.uint8), 0
                self.hall = weakref.ref(hall)
            first, self.used = self.used, -(-(self.used + size) // 64) * 64
        return hall[first:first + size].view(dtype).reshape(shape)


room = Halls().room


def padded(a: np.ndarray, axis: int, size: int) -> np.ndarray:
    if a.shape[axis] == size:
        return a
    found = np.zeros((*a.shape[:axis], size, *a.shape[axis + 1:]), a.dtype)
    found[(slice(None),) * axis + (slice(a.shape[axis]),)] = a
    return found


def contiguous(w: np.ndarray) -> np.ndarray:
    """The weights as kernels read them where they lie: the same array where it will do."""
    return w if w.dtype == np.float32 and w.flags.carray and not borrowed(w) else copied(w)


@once
def copied(w: np.ndarray) -> np.ndarray:
    made = room(w.shape, np.float32)
    copy_into(made, w)
    return made


def settled(constant: np.ndarray) -> np.ndarray:
    """What a program may keep: the array, or a copy of what lies in a file."""
    return settled_copy(constant) if borrowed(constant) else constant


@once
def settled_copy(constant: np.ndarray) -> np.ndarray:
    made = memory.empty(constant.shape, constant.dtype)
    copy_into(made, constant)
    return made


STRIP = 1 << 20   # bytes that are laid out to be packed


class Scratch(threading.local):
    """Memory of a thread for them: fresh pages would take longer than the copy."""
    room = np.empty(0, np.float32)

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        size = math.prod(shape)
        if 4 * size > STRIP:
            return np.empty(shape, np.float32)
        if not self.room.size:
            self.room = np.empty(STRIP // 4, np.float32)
        return self.room[:size].reshape(shape)


scratch = Scratch()


def strips(w: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Float32 weights (filters, ...) in order and aligned, some blocks of filters at a time: the first
    block, the one behind the last, and the filters."""
    for first, some in pieces(w):
        yield first // BLOCK, -(-(first + len(some)) // BLOCK), some


def pieces(w: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The same with the first filter."""
    w = np.ascontiguousarray(w, np.float32)
    step = len(w) if w.flags.aligned else max(1, STRIP // max(1, w[:BLOCK].nbytes)) * BLOCK
    for first in range(0, len(w), max(1, step)):
        some, each = w[first:first + step], w[:1].nbytes
        if not w.flags.aligned:   # it lies in a file
            some = scratch(some.shape)
            some.reshape(-1).view(np.uint8)[:] = w[first:first + step].reshape(-1).view(np.uint8)
            seen(w, first * each, (first + len(some)) * each)
        yield first, some


@once
def bias(b: np.ndarray | None, filters: int) -> np.ndarray | None:
    return None if b is None else padded(np.ascontiguousarray(b, np.float32), 0, rounded(filters))


def bias_to_half(b: np.ndarray | None, filters: int) -> np.ndarray | None:
    """As `bias`, but that it ends in the middle of the last block if filters do: kernels leave out the other
    half."""
    if not 0 < filters % BLOCK <= BLOCK // 2:
        return bias(b, filters)
    return bias(np.zeros(filters, np.float32) if b is None else b, filters)[:-(BLOCK // 2)]


@once
def direct(kernels, w: np.ndarray) -> np.ndarray:
    """(K, C, R, S) as (K/16, C/16, R, S, 16 channels, 16 filters)."""
    K, C, R, S = w.shape
    packed = memory.at_hand((rounded(K) // BLOCK, rounded(C) // BLOCK, R, S, BLOCK, BLOCK), np.float32)
    flat = packed.reshape(packed.shape[0], -1, BLOCK)
    if R == S == 1 and turned(w):
        flat[:, C:] = 0
        pack_turned(w[:, :, 0, 0], flat[:, :C])
        return packed
    for first, last, some in strips(w):
        kernels.pack_weights(some.reshape(-1, C, R * S), flat[first:last])
    return packed


@once
def square(kernels, w: np.ndarray) -> np.ndarray:
    """(..., K, C, R, S) as (..., K/16, C, R, S, 16 filters), of which Winograd's algorithm makes its filters in
    each run."""
    *many, K, C, R, S = w.shape
    packed = memory.at_hand((*many, rounded(K) // BLOCK, C, R, S, BLOCK), np.float32)
    for part, made in zip(w.reshape(-1, K, C * R * S, 1), packed.reshape(-1, rounded(K) // BLOCK, C * R * S, BLOCK)):
        for first, last, some in strips(part):
            kernels.pack_weights(some, made[first:last])
    return packed


@once
def stem(w: np.ndarray) -> np.ndarray:
    """(K, C, R, S) as (K/16, C, R, S, 16 filters)."""
    K, C, R, S = w.shape
    w = padded(w, 0, rounded(K)).reshape(rounded(K) // BLOCK, BLOCK, C, R, S)
    return np.ascontiguousarray(w.transpose(0, 2, 3, 4, 1), np.float32)


@once
def depthwise(w: np.ndarray) -> np.ndarray:
    """(C, 1, R, S) as (C/16, R, S, 16)."""
    C, _, R, S = w.shape
    w = padded(w[:, 0], 0, rounded(C)).reshape(rounded(C) // BLOCK, BLOCK, R, S)
    return np.ascontiguousarray(w.transpose(0, 2, 3, 1), np.float32)


@once
def linear(kernels, w: np.ndarray) -> np.ndarray:
    """(K, C) as (K/16, C, 16 filters)."""
    K, C = w.shape
    packed = room((rounded(K) // BLOCK, C, BLOCK), np.float32)
    if turned(w):
        pack_turned(w, packed)
        return packed
    for first, last, some in strips(w):
        kernels.pack_weights(some.reshape(-1, C, 1), packed[first:last])
    return packed


def turned(w: np.ndarray) -> bool:
    """Whether blocks of filters lie side by side."""
    return w.T.flags.c_contiguous and not w.flags.c_contiguous


def pack_turned(w: np.ndarray, packed: np.ndarray) -> None:
    """Puts such (K, C) into (K/16, C, 16 filters)."""
    K, C = w.shape
    whole = K // BLOCK
    packed[:whole] = w.T[:, :whole * BLOCK].reshape(C, whole, BLOCK).transpose(1, 0, 2)
    if K % BLOCK:
        packed[whole:, :, :K % BLOCK], packed[whole:, :, K % BLOCK:] = w.T[:, whole * BLOCK:], 0


@once
def int8_scale(w: np.ndarray) -> np.ndarray:
    """The step of each filter of (K, C) as int8: its largest value is 127 of them; for whole blocks."""
    most = np.abs(w).max(1, initial=0).astype(np.float32)
    return padded(np.where(most > 0, most / np.float32(127), np.float32(1)), 0, rounded(len(w)))


@once
def int8_linear(w: np.ndarray) -> np.ndarray:
    """(K, C) in steps of int8_scale, as (K/16, C, 16 filters)."""
    scale = int8_scale(w)[:len(w), None]
    return in_pieces(w, np.int8, lambda rows, part: np.rint(rows / scale[part]))


@once
def given_int8(w: np.ndarray) -> np.ndarray:
    """int8 (K, C) as (K/16, C, 16 filters)."""
    return in_pieces(w, np.int8, lambda rows, _: rows)


@once
def bf16_linear(w: np.ndarray) -> np.ndarray:
    """(K, C) as bfloat16, in uint16, as (K/16, C, 16 filters)."""
    return in_pieces(w, np.uint16, lambda rows, _: bfloat16(rows))


def in_pieces(w: np.ndarray, dtype, of) -> np.ndarray:
    """(K, C) as (K/16, C, 16 filters) of `of` its rows, some blocks at a time."""
    K, C = w.shape
    packed, step = room((rounded(K) // BLOCK, C, BLOCK), dtype), 64 * BLOCK
    for first in range(0, K, step):
        part = slice(first, min(K, first + step))
        found = np.asarray(of(np.asarray(w[part], np.float32), part), dtype)
        found = padded(found, 0, rounded(len(found))).reshape(-1, BLOCK, C)
        packed[first // BLOCK:first // BLOCK + len(found)] = found.transpose(0, 2, 1)
    return packed


def bfloat16(x: np.ndarray) -> np.ndarray:
    """float32 rounded to its upper half, ties to even, as uint16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    with np.errstate(over="ignore"):
        near = (bits + (0x7FFF + (bits >> 16 & 1))) >> 16
    return np.where(np.isnan(x), bits >> 16 | 0x40, near).astype(np.uint16)


@once
def bytes_filters(w: np.ndarray) -> np.ndarray:
    """int8 (K, C, R, S) as (K/16, C/16, R, S, 4, 16 filters, 4 channels)."""
    K, C, R, S = w.shape
    w = padded(padded(w, 0, rounded(K)), 1, rounded(C))
    w = w.reshape(rounded(K) // BLOCK, BLOCK, rounded(C) // BLOCK, 4, 4, R, S)
    return np.ascontiguousarray(w.transpose(0, 2, 5, 6, 3, 1, 4), np.int8)


@once
def winograd(kernels, w: np.ndarray, tile: int) -> np.ndarray:
    """G w G^T for F(tile x tile, R x R), (K, C, R, R) as (K/16, points, C, 16 filters)."""
    u = memory.at_hand(winograd_shape(w, tile), np.float32)
    for first, last, some in strips(w):
        kernels.winograd_weights(some, tile, u[first:last])
    return u


def seen_channels(channels: int, filters: int, groups: int) -> list[tuple[int, int]]:
    """Of groups of so many channels and filters each: the channels [first, last) of the blocks that the groups
    of each block of 16 filters lie in."""
    seen = []
    for block in range(rounded(filters * groups) // BLOCK):
        first, last = block * BLOCK // filters, min(-(-(block + 1) * BLOCK // filters), groups)
        seen.append((first * channels // BLOCK * BLOCK, min(rounded(last * channels), channels * groups)))
    return seen


@once
def winograd_grouped(kernels, w: np.ndarray, groups: int, tile: int) -> np.ndarray:
    """Filters (K, C, 3, 3) of narrow groups for F(tile x tile, 3 x 3), as winograd_grouped reads them: of each block
    of 16 filters (points, channels of the blocks that its groups lie in, 16), one behind the other; zeros
    where a channel is in another group than the filter."""
    K, C = w.shape[:2]
    points, seen = (tile + 2) ** 2, seen_channels(C, K // groups, groups)
    u, at = memory.empty((sum(last - first for first, last in seen) * points * BLOCK,), np.float32), 0
    for block, (first, last) in enumerate(seen):
        apart = np.zeros((BLOCK, last - first, 3, 3), np.float32)
        for k in range(block * BLOCK, min((block + 1) * BLOCK, K)):
            begin = k // (K // groups) * C - first
            apart[k - block * BLOCK, begin:begin + C] = w[k]
        made = u[at:at + points * apart.shape[1] * BLOCK].reshape(1, points, -1, BLOCK)
        kernels.winograd_weights(apart, tile, made)
        at += made.size
    return u


@once
def parities(w: np.ndarray) -> np.ndarray:
    """4x4 filters of stride 2, (K, C, 4, 4), as (K, 4 C, 2, 2): tap 2 s + a of an axis is tap s of parity
    a (kernels/convolution/stride_two.h)."""
    K, C = w.shape[:2]
    taken = w.reshape(K, C, 2, 2, 2, 2).transpose(0, 3, 5, 1, 2, 4)
    return np.array(taken.reshape(K, 4 * C, 2, 2), np.float32, order="C")


@once
def transposed_parities(w: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """Those of a transposed convolution, (C, K, 4, 4), as (4, K, C, 2, 2): by the parities of its
    outputs."""
    C, K = w.shape[:2]
    taken = w.reshape(C, K, 2, 2, 2, 2)[:, :, ::-1, :, ::-1]
    order = [[(i + p) % 2 for i in range(2)] for p in padding]
    taken = taken[:, :, :, order[0]][:, :, :, :, :, order[1]].transpose(3, 5, 1, 0, 2, 4)
    return np.array(taken.reshape(4, K, C, 2, 2), np.float32, order="C")


@once
def transposed_square(kernels, w: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """square(transposed_parities(w, padding)), without the latter."""
    C, K = w.shape[:2]
    packed = memory.at_hand((4, rounded(K) // BLOCK, C, 2, 2, BLOCK), np.float32)
    flat = packed.reshape(4, -1, C, 4, BLOCK)
    for first, some in pieces(w):
        kernels.pack_parities(some.reshape(-1, K, 16), *padding, first, flat)
    return packed


@once
def even_parities(w: np.ndarray) -> bool:
    """even_filters of transposed_parities, whatever the padding."""
    fetch(w)
    squares = np.empty((w.shape[1], 4, 2))
    active.get().f32.parity_squares(as_bytes(np.ascontiguousarray(w, np.float32)), squares)
    return are_even(squares)


@once
def winograd_parts(kernels, parts: np.ndarray) -> np.ndarray:
    """F(4x4, 2x2)'s filters of (..., K, C, 2, 2): (..., K/16, 25, C, 16 filters)."""
    K, C = parts.shape[-4:-2]
    u = memory.empty((*parts.shape[:-4], rounded(K) // BLOCK, 25, C, BLOCK), np.float32)
    flat = u.reshape(-1, *u.shape[-4:])
    for w, made in zip(parts.reshape(-1, K, C, 2, 2), flat):
        kernels.winograd_weights(w, 4, made)
    return u


def winograd_shape(w: np.ndarray, tile: int) -> tuple[int, ...]:
    K, C, side = w.shape[:3]
    return rounded(K) // BLOCK, (tile + side - 1) ** 2, C, BLOCK


def even_filters(w: np.ndarray) -> bool:
    """Whether Winograd's algorithm may take filters (K, C, R, S): an eighth at least of each, by
    root sum of squares, lies beside its largest tap.

    As kernels/convolution/winograd_uneven.h has it: an output of any other depends on one pixel,
    but would err by all pixels of its tile.
    """
    return looked_at(np.ascontiguousarray(w, np.float32))[1] if w.size else True


def finite(w: np.ndarray) -> bool:
    if w.size <= FEW:
        return bool(np.isfinite(w).all())
    if w.dtype == np.float32 and (w.flags.c_contiguous or w.T.flags.c_contiguous):
        return looked_at(w if w.flags.c_contiguous else w.T)[0]
    step = max(1, AT_ONCE // max(1, w[:1].size)) if w.ndim else 1
    return all(np.isfinite(w[i:i + step]).all() for i in range(0, len(w), step)) if w.ndim else bool(np.isfinite(w))


@once
def looked_at(w: np.ndarray) -> tuple[bool, bool]:
    """Whether all float32 weights are finite, and whether each filter is even: they come from memory once."""
    fetch(w)
    squares = np.empty((len(w) if w.ndim else 1, 2))
    active.get().f32.weight_squares(as_bytes(w), squares)
    sums, most = squares.T
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(sums).all()), are_even(squares)


def are_even(squares: np.ndarray) -> bool:
    """By (..., 2): sums of squares, and the largest one."""
    sums, most = np.moveaxis(squares, -1, 0)
    with np.errstate(invalid="ignore"):
        return bool((most <= LARGEST_TAP * (sums - most)).all())


def as_bytes(w: np.ndarray) -> np.ndarray:
    """Of an array in order, for kernels to read where it need not be aligned."""
    return w.reshape(-1).view(np.uint8)


@once
def grouped(w: np.ndarray, groups: int) -> np.ndarray:
    """Filters (K, C, R, S) of groups that are not whole blocks, as grouped_conv reads them: (blocks, R, S, C, 16)."""
    K, C, R, S = w.shape
    out = np.zeros((rounded(K), C, R, S), np.float32)
    out[:K] = w
    return contiguous(out.reshape(-1, BLOCK, C, R, S).transpose(0, 3, 4, 2, 1))
