"""Sums, products, activations and concatenations of images in blocked layout."""
from __future__ import annotations

import numpy as np

from .. import activations, packing
from ..ir import Node, Value
from ..passes.fold_batch_norm import scale_and_shift
from . import volume
from .context import BLOCK, Declined, Lowering, Map, blocks, four
from .picked import left_apart
from .plain import Recorder


def add(low: Lowering, node: Node) -> None:
    a, b = node.inputs
    if len(node.output.shape) == 5:
        return volume.add(low, node)
    plain = node.attrs.get("alpha", 1) == 1
    if plain and numbers_of_samples(low, node, "shift_channels"):
        return
    images = isinstance(a, Value) and isinstance(b, Value) and a.shape == b.shape and len(a.shape) in (3, 4)
    if not images or not (low.is_map(a) or low.is_map(b)) or not plain:
        return flat(low, node)
    low.add("add_maps", low.as_map(a).ref, low.as_map(b).ref, node.epilogue.activation or activations.NONE,
            low.new_map(node.output).ref, node=node, algorithm="add")


def numbers_of_samples(low: Lowering, node: Node, kernel: str) -> bool:
    """An image and a number a sample and channel, as squeeze-and-excitation has it; False if it is not."""
    for image, numbers in (node.inputs, node.inputs[::-1]):
        if (low.is_map(image) and isinstance(numbers, Value) and len(image.shape) in (3, 4)
                and numbers.shape == (*image.shape[:2], *(1,) * (len(image.shape) - 2))):
            low.add(kernel, low.as_map(image).ref, low.as_planar(numbers).reshaped(image.shape[:2]),
                    node.epilogue.activation or activations.NONE, low.new_map(node.output).ref, node=node,
                    algorithm="scale" if kernel == "scale_channels" else "add")
            return True
    return False


def mul(low: Lowering, node: Node) -> None:
    """An image times a number a channel, of each sample or of all; or times another image."""
    if numbers_of_samples(low, node, "scale_channels"):
        return
    for image, gate in (node.inputs, node.inputs[::-1]):
        if low.is_map(image) and isinstance(gate, np.ndarray) and by_channel(gate, image.shape):
            scale, shift = (packing.bias(v, image.shape[1]) for v in (gate.reshape(-1), np.zeros(gate.size)))
            low.add("affine_channels", low.as_map(image).ref, scale, shift, node.epilogue.activation
                    or activations.NONE, low.new_map(node.output).ref, node=node, algorithm="scale")
            return
    flat(low, node)


def by_channel(numbers: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether they are one a channel of an image of that shape."""
    lead = len(shape) - numbers.ndim
    return numbers.size == shape[1] > 1 and lead >= 0 and all(
        n == (shape[1] if axis == 1 else 1) for axis, n in enumerate((1,) * lead + numbers.shape))


def batch_norm(low: Lowering, node: Node) -> None:
    x = node.inputs[0]
    if not low.is_map(x) or not all(v is None or isinstance(v, np.ndarray) for v in node.inputs[1:]):
        raise Declined("no image in blocked layout")
    scale, shift = (packing.bias(np.broadcast_to(v, x.shape[1:2]).astype(np.float32), x.shape[1])
                    for v in scale_and_shift(node))
    low.add("affine_channels", low.as_map(x).ref, scale, shift, node.epilogue.activation or activations.NONE,
            low.new_map(node.output).ref, node=node, algorithm="affine")


def flat(low: Lowering, node: Node) -> None:
    """Rows that work value by value do so in any layout: their own kernel runs over the whole
    memory.

    What it makes of the lanes that fill the last block of channels, infinite or NaN, nobody reads:
    kernels count channels.
    """
    values = [v for v in node.inputs if isinstance(v, Value)]
    if not values or not any(low.is_map(v) for v in values) or any(v.shape != node.output.shape
                                                                   for v in values):
        raise Declined("not value by value")
    numbers = [v for v in node.inputs if isinstance(v, np.ndarray)]
    if any(v.size != 1 for v in numbers) or len(node.output.shape) not in (3, 4) or len(numbers) + len(
            values) != len(node.inputs):
        raise Declined("constants by channel")
    maps = [low.as_map(v) for v in values]
    out = low.new_map(node.output)
    if not out.contiguous:
        raise Declined("part of a concatenation")
    maps = [together(low, node, part) for part in maps]
    recorder = Recorder(low, node, out.flat())   # its one result goes where the map lies
    stand_ins = iter([recorder.given(m.flat()) for m in maps])
    inputs = [next(stand_ins) if isinstance(v, Value) else v.reshape(()) for v in node.inputs]
    node.row.forward(recorder, *inputs, **node.attrs)
    if not recorder.calls:
        raise Declined("no kernel of its own")
    if node.epilogue.activation not in (None, activations.NONE):
        low.add("activate_flat", node.epilogue.activation, out.flat(), node=node, algorithm="flat")


def together(low: Lowering, node: Node, part: Map) -> Map:
    """The map, or a copy of it if its samples lie apart, as those of some channels do."""
    if part.contiguous:
        return part
    n, _, h, w, _ = part.ref.shape
    copy = low.free_map(n, part.channels, h, w)
    low.add("copy_channels", part.ref, part.channels, 0, copy.ref, node=node, algorithm="copy")
    return copy


def prelu(low: Lowering, node: Node) -> None:
    """A slope a channel."""
    x, weight = node.inputs
    if not low.is_map(x) or not isinstance(weight, np.ndarray) or len(x.shape) not in (3, 4):
        raise Declined("no image in blocked layout, or slopes that are computed")
    slopes = packing.bias(np.broadcast_to(weight, x.shape[1:2]), x.shape[1])
    low.add("slope_channels", low.as_map(x).ref, slopes, low.new_map(node.output).ref, node=node, algorithm="slope")


def cat(low: Lowering, node: Node) -> None:
    """Parts that were written in place need nothing; others are copied."""
    values = node.inputs
    if not joins_channels(node) or not any(low.is_map(v) or v in low.placement for v in values):
        raise Declined("no images side by side")
    if node.output not in low.maps and node.output not in low.placement and left_apart(low, node):
        return
    whole = low.maps.get(node.output) or low.new_map(node.output)
    first = 0
    for v in values:
        if low.placement.get(v) == (node.output, first // BLOCK) and first % BLOCK == 0 and v in low.maps:
            pass
        elif in_place(low, v, whole, first):
            pass
        else:
            low.add("copy_channels", low.as_map(v).ref, v.shape[1], first, whole.ref, node=node,
                    algorithm="copy")
        first += v.shape[1]


def joins_channels(node: Node) -> bool:
    """Whether images, none of them a constant, are put together along their channels."""
    axes = len(node.output.shape)
    return (axes in (3, 4) and node.attrs["dim"] in (1, 1 - axes)
            and all(isinstance(v, Value) and v.dtype == np.float32 for v in node.inputs))


def in_place(low: Lowering, value: Value, whole, first: int) -> bool:
    """Whether the value already lies at channel `first` of `whole`."""
    if first % BLOCK or value not in low.maps:
        return False
    ref, target = low.maps[value].ref, whole.block(first // BLOCK, value.shape[1]).ref
    return ref.buffer is target.buffer and ref.offset == target.offset and ref.sample == target.sample


def place_concatenations(low: Lowering) -> None:
    """Decides which values are written straight into the concatenation that takes them: those that
    fill whole blocks there.

    Later concatenations come first: in a dense block each is the beginning of the next, and
    becomes a part of it itself.
    """
    for node in reversed(low.graph.nodes):
        if node.op != "cat" or not joins_channels(node):
            continue
        root, base = node.output, 0
        if root in low.placement:
            root, base = low.placement[root]
        elif extends(low, node):
            continue
        first = 0
        for v in node.inputs:
            if (first % BLOCK == 0 and v.shape[1] % BLOCK == 0 and v not in low.placement
                    and v.node is not None):
                low.placement[v] = (root, base + first // BLOCK)
            first += v.shape[1]


def extends(low: Lowering, node: Node) -> bool:
    """A concatenation whose parts all lie in order in a larger one is that part of it."""
    parts = [low.placement.get(v) for v in node.inputs]
    if not parts or any(p is None for p in parts) or any(v.shape[1] % BLOCK for v in node.inputs):
        return False
    root, at = parts[0]
    for (whole, first), v in zip(parts, node.inputs):
        if whole is not root or first != at:
            return False
        at += blocks(v.shape[1])
    low.placement[node.output] = parts[0]
    return True


def reshape(low: Lowering, node: Node) -> None:
    """Another shape of the same memory. In blocks that is a row of pixels turned into a column, or back
    (passes/turn_thin.py), and a line as an image of one row (passes/lines_as_images.py)."""
    x, y = node.inputs[0], node.output
    if not isinstance(x, Value):
        raise Declined("of a constant")
    if low.is_map(x) and same_pixels(x, y) and y not in low.placement:
        source = low.maps[x]
        low.maps[y] = Map(source.ref.reshaped((*source.ref.shape[:2], *four(y.shape)[2:], BLOCK)), source.channels)
        if x not in low.planar:
            return
    elif low.is_view(x):
        raise Declined("of a view")
    low.planar[y] = low.as_planar(x).reshaped(y.shape)


def same_pixels(x: Value, y: Value) -> bool:
    """Whether both are lines, or images of one row or column, with the same channels."""
    if len(x.shape) not in (3, 4) or len(y.shape) not in (3, 4):
        return False
    of, to = four(x.shape), four(y.shape)
    return of[:2] == to[:2] and 1 in of[2:] and 1 in to[2:]


RULES = {"reshape": reshape, "add": add, "mul": mul, "batch_norm": batch_norm, "prelu": prelu, "cat": cat}
