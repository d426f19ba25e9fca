"""Convolutions over three axes, as sums of convolutions over two: a tap along the depth is a convolution
of images, each of which is a sample, and adds to what the taps before it made.

So the layers of a volume use what there is for images, Winograd's algorithm among it. Filters along the
depth alone are taken in one piece, where Winograd's algorithm along a line gains. A volume
(n, c, d, h, w) lies as a map of d n samples (h, w), the depth outermost: a tap sees a run of them.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import activations, choose, line, packing
from ..ir import Epilogue, Node, Value
from .context import Declined, Lowering, Map, Ref, joined_axes

FEWEST_CHANNELS = 8   # of a layer that fills half a block


def conv(low: Lowering, node: Node, image: Callable[[Lowering, Node], None]) -> None:
    """image: what lowers a convolution over two axes."""
    taps = planned(low, node)
    if node.algorithm in line.NAMES:
        return along_the_depth(low, node)
    x, weight, bias = node.inputs
    a, (n, filters, depth) = node.attrs, node.output.shape[:3]
    whole = as_volume(low, x)
    out = low.free_map(depth * n, filters, *a["size"][1:])
    last = {d: tap for tap, first, count in taps for d in range(first, first + count)}
    for i, (tap, first, count) in enumerate(taps):
        for at, length in runs([last[d] == tap for d in range(first, first + count)]):
            begin = first + at
            done = last[begin] == tap
            there = begin * a["stride"][0] + tap * a["dilation"][0] - a["padding"][0]
            seen = slices(whole, there * n, length * n, a["stride"][0])
            target = slices(out, begin * n, length * n)
            own = Node("conv", [image_of(low, seen), weight[:, :, tap], bias if i == 0 else None], two(a), [],
                       node.where, node.module, Epilogue(node.epilogue.activation if done else None))
            own.outputs.append(Value((length * n, filters, *a["size"][1:]), node.output.dtype, own))
            if i:
                own.epilogue.residual = image_of(low, target)
            low.given[own.output] = target
            way, own.why, _ = choose.choose(own, low.options, weight.nbytes)
            choose.settle(own, way)
            image(low, own)
            if low.maps.get(own.output) is not target:
                raise Declined("single pixels")
    low.volumes[node.output] = out


def along_the_depth(low: Lowering, node: Node) -> None:
    """Filters that see one pixel of each image, by Winograd's algorithm (line.py)."""
    x, weight, bias = node.inputs
    n, filters, depth, *image = node.output.shape
    tile, planar = int(node.algorithm[-1]), line.filters(packing.contiguous(weight))
    out = low.free_map(depth * n, filters, *image)
    low.add("winograd_depth", as_volume(low, x).ref, planar, line.transformed(low.kernels, planar, tile), tile, n,
            packing.bias(bias, filters), None, node.attrs["padding"][0],
            node.epilogue.activation or activations.NONE, out.ref, node=node, algorithm=node.algorithm,
            flops=2 * node.macs, why=node.why)
    low.volumes[node.output] = out


def planned(low: Lowering, node: Node) -> list[tuple[int, int, int]]:
    """(tap, the first place along the depth that sees it, how many do), the widest first, which is seen by
    all. Declined where the layer is not for maps."""
    x, weight, bias = node.inputs
    if not isinstance(x, Value) or not isinstance(weight, np.ndarray) or isinstance(bias, Value) or weight.ndim != 5:
        raise Declined("not three axes, or weights that are computed")
    a, depth, n = node.attrs, node.output.shape[2], x.shape[0]
    alone = a["groups"] == x.shape[1] == len(weight)
    if min(x.shape[1], len(weight)) < FEWEST_CHANNELS or not (a["groups"] == 1 or alone):
        raise Declined("channels that fill no block")
    if a["stride"][0] != 1 and (n != 1 or low.options.batch_invariant):
        raise Declined("strides along the depth, which only one sample may have")
    if node.normalised is not None or node.gate is not None or len(node.outputs) != 1 or node.before:
        raise Declined("more than a convolution")
    if node.epilogue.residual is not None or not packing.finite(weight) or not x.size:
        raise Declined("a residual, or filters that are not finite")
    taps = []
    for tap in range(weight.shape[2]):
        seen = [d for d in range(depth)
                if 0 <= d * a["stride"][0] + tap * a["dilation"][0] - a["padding"][0] < x.shape[2]]
        if seen:
            taps.append((tap, seen[0], len(seen)))
    taps.sort(key=lambda t: -t[2])
    if not taps or taps[0][2] != depth:
        raise Declined("no tap that every place sees")
    return taps


def runs(marks: list[bool]) -> list[tuple[int, int]]:
    """(first, length) of runs of equal marks."""
    found: list[tuple[int, int]] = []
    for i, mark in enumerate(marks):
        if i and mark == marks[i - 1]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((i, 1))
    return found


def two(attrs: dict) -> dict:
    """Of three axes the last two."""
    return {**attrs, **{key: tuple(attrs[key][1:]) for key in ("stride", "padding", "dilation", "size")}}


def slices(whole: Map, first: int, count: int, step: int = 1) -> Map:
    """`count` samples of a map, every `step`-th, from one on."""
    ref = whole.ref
    return Map(Ref(ref.buffer, ref.offset + first * ref.sample * 4, (count, *ref.shape[1:]), ref.dtype,
                   ref.sample * step), whole.channels)


def image_of(low: Lowering, samples: Map) -> Value:
    """A value of its own that lies there."""
    n, _, h, w, _ = samples.ref.shape
    value = Value((n, samples.channels, h, w), np.dtype(np.float32))
    low.maps[value] = samples
    return value


def as_volume(low: Lowering, value: Value) -> Map:
    """The map of a volume, laid out if need be."""
    if value not in low.volumes:
        n, c, d, h, w = value.shape
        source = low.as_view(value)
        turned = Ref(low.buffer(value.size), 0, (d, n, c, h, w))
        shape, strides = joined_axes(turned.shape, tuple(source.strides[i] for i in (2, 0, 1, 3, 4)))
        low.copy(source.ref, strides, turned.reshaped(shape), value.node)
        low.volumes[value] = low.free_map(d * n, c, h, w)
        low.add("to_blocked", turned.reshaped((d * n, c, h, w)), low.volumes[value].ref, algorithm="layout")
    return low.volumes[value]


def add(low: Lowering, node: Node) -> None:
    a, b = node.inputs
    if not (isinstance(a, Value) and isinstance(b, Value)) or a.shape != b.shape or not (
            a in low.volumes or b in low.volumes) or node.attrs.get("alpha", 1) != 1:
        raise Declined("no volumes")
    places = [as_volume(low, v).ref for v in (a, b)]
    out = low.free_map(a.shape[2] * a.shape[0], a.shape[1], *a.shape[3:])
    low.add("add_maps", *places, node.epilogue.activation or activations.NONE, out.ref, node=node, algorithm="add")
    low.volumes[node.output] = out
