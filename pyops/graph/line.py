"""Winograd's algorithm along one axis (kernels/convolution/blocked_winograd_line.cpp): convolutions of
1 x r and r x 1 filters with stride 1, those of sequences, which programs have as images of one row, and
those along the depth of a volume.

F(m, r) takes m + r - 1 multiplications in place of m r, and as many transformed weights in place of r.
"""
from __future__ import annotations

import numpy as np

from . import costs, packing
from .ir import Node, Value
from .shared import once

TILES = {3: (4, 6), 5: (4, 6), 7: (2, 4)}   # by taps
NAMES = ("line2", "line4", "line6")
LEAST = packing.BLOCK    # channels and filters: fewer do not pay for the transforms
TRANSFORM = 1.3          # a point of a tile, in and out, to that of F(4x4, 3x3)
FILTERS = 4              # a point of 16 filters of a channel, read value by value, to that of F(4x4, 3x3)
MARGIN = 1.05            # what it must gain: maps that come from memory are read twice


@once
def can(node: Node) -> str:
    """Why the algorithm does not take the layer, or an empty text."""
    weight, attrs = node.inputs[1], node.attrs
    if not isinstance(node.inputs[0], Value) or taps_of(node) not in TILES:
        return "not a filter of 3, 5 or 7 taps along one axis"
    if attrs["groups"] != 1 or set(attrs["stride"]) != {1}:
        return "groups or strides"
    if min(weight.shape[:2]) < LEAST:
        return "few channels or filters"
    if (node.normalised, node.gate) != (None, None) or len(node.outputs) != 1 or node.before:
        return "something before it, or several results"
    every = zip(node.inputs[0].shape[2:], attrs["padding"], attrs["dilation"], node.output.shape[2:])
    for i, (size, padding, dilation, out) in enumerate(every):
        reach = (taps_of(node) - 1) * dilation if i == along(node) else 0
        if padding > reach or out != size + 2 * padding - reach:
            return "more zeros beside the image than a filter has taps"
        if reach and dilation > 1 and (weight.ndim == 5 or size % dilation or out % dilation or padding % dilation):
            return "sizes that are no multiples of the dilation"
    return ""


def taps_of(node: Node) -> int:
    """0 where filters have more axes than one, or lie in a volume's images: these are convolved as such."""
    sides = node.inputs[1].shape[2:]
    return max(sides) if sorted(sides)[:-1] == [1] * len(sides[1:]) and (len(sides) < 3 or sides[0] > 1) else 0


def along(node: Node) -> int:
    """The axis of filters."""
    sides = node.inputs[1].shape[2:]
    return sides.index(max(sides))


def filters(w: np.ndarray) -> np.ndarray:
    """(K, C, taps)"""
    return w.reshape(*w.shape[:2], -1)


def shape_of(w: np.ndarray, tile: int) -> tuple[int, int, int, int]:
    """Of filters (K, C, taps) at the points of F(tile, taps): (K/16, points, C, 16 filters)."""
    K, C, r = w.shape
    return packing.rounded(K) // packing.BLOCK, tile + r - 1, C, packing.BLOCK


@once
def transformed(kernels, w: np.ndarray, tile: int) -> np.ndarray:
    """Filters (K, C, taps) as shape_of says."""
    u = packing.room(shape_of(w, tile), np.float32)
    for first, last, some in packing.strips(w):
        kernels.winograd_line_weights(some, tile, u[first:last])
    return u


def kept_bytes(node: Node, tile: int) -> int:
    """Of weights: the plain ones beside those at the points."""
    K, C, *_ = node.inputs[1].shape
    r = taps_of(node)
    return 4 * r * C * K + 4 * (tile + r - 1) * C * packing.rounded(K)


def cost(node: Node, known: costs.Costs, total_weights: float, tile: int, kept: bool = True) -> float:
    """Nanoseconds. kept: filters are transformed beforehand."""
    K, C, *_ = node.inputs[1].shape
    r, length = taps_of(node), node.output.shape[2 + along(node)] // node.attrs["dilation"][along(node)]
    points, blocks = tile + r - 1, -(-K // packing.BLOCK)
    lines = node.output.size // max(1, K * length)
    tiles = lines * -(-length // tile)
    multiply = known.winograd * tiles * points * C * blocks / known.threads
    transform = (TRANSFORM * known.transform[1] / 36 * points * tiles * (-(-C // packing.BLOCK) + blocks) / 2
                 / known.threads)
    rate = known.memory if total_weights * points / r > known.kept else known.cache
    if not kept:
        transform += FILTERS * known.filter * points / 36 * C * blocks / known.threads
    return MARGIN * (max(multiply, 4 * points * C * K * rate) + transform)

