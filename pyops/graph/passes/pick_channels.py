"""Reshapes, transpositions and slices that do nothing but put an image's channels in another order, or
leave some out, become one `take` along the channels, which stays in blocked layout (lowering/picked.py).

That is how shuffled channels are written down (ShuffleNet, arXiv 1707.01083): (n, g c, h, w) as
(n, g, c, h, w), two axes exchanged, and joined again; then a half is taken of them. Of each axis it is
followed where in the image its entries lie, so that it does not matter how axes are split, joined, or
left out.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ir import Graph, Node, Value

MOVES = ("reshape", "permute", "getitem")
# What makes images that lie in blocks, or may.
IMAGES = {"conv", "conv_transpose", "max_pool", "avg_pool", "resample", "cat", "add", "mul", "batch_norm",
          "take"}


@dataclass(frozen=True, slots=True)
class Moved:
    """A value whose entries are those of an image: entry (i, j, ...) lies at first + axes[0][i] +
    axes[1][j] + ... Each axis begins with 0."""
    image: Value
    axes: list[np.ndarray]
    first: int = 0
    turned: bool = False   # axes were exchanged


def run(graph: Graph) -> None:
    moved: dict[Value, Moved] = {}
    for node in graph.nodes:
        if node.op not in MOVES or len(node.outputs) != 1 or node.short is not None:
            continue
        x = node.inputs[0]
        found = follow(node, moved[x] if x in moved else start(x))
        if found is None:
            continue
        moved[node.output] = found
        table = channels(found, node.output)
        # a run of channels is read where it lies (lowering/slices.py)
        if table is not None and (found.turned or (np.diff(table) != 1).any()):
            node.op, node.inputs, node.attrs = "take", [found.image, table], {"dim": 1, "wrap": False}


def start(x: object) -> Moved | None:
    """An image that nothing has moved yet."""
    if (not isinstance(x, Value) or x.node is None or not (x.node.op in IMAGES or x.node.row.activation)
            or x.ndim != 4 or not x.size or x.dtype != np.float32 or x.node.short is not None):
        return None
    return Moved(x, [np.arange(n) * math.prod(x.shape[axis + 1:]) for axis, n in enumerate(x.shape)])


def follow(node: Node, x: Moved | None) -> Moved | None:
    """The node's result; None where its entries lie otherwise."""
    if x is None or not node.output.size:
        return None
    if node.op == "permute":
        return Moved(x.image, [x.axes[d] for d in node.attrs["dims"]], x.first, True)
    if node.op == "getitem":
        return cut(x, node.attrs["index"])
    axes = reshaped(x.axes, node.output.shape)
    return None if axes is None else Moved(x.image, axes, x.first, x.turned)


def reshaped(axes: list[np.ndarray], shape: tuple[int, ...]) -> list[np.ndarray] | None:
    """Where entries lie along axes of these sizes: as few as can be are joined, and split again."""
    found: list[np.ndarray] = []
    left, wanted = list(axes[::-1]), list(shape[::-1])
    while left or wanted:
        whole, sizes = left.pop() if left else np.zeros(1, np.int64), [wanted.pop()] if wanted else [1]
        while len(whole) != math.prod(sizes):
            if len(whole) < math.prod(sizes):
                whole = (whole[:, None] + left.pop()).reshape(-1)
            else:
                sizes.append(wanted.pop())
        parts = parted(whole, sizes)
        if parts is None:
            return None
        found += parts
    return found[:len(shape)] if all(len(axis) == 1 for axis in found[len(shape):]) else None


def parted(whole: np.ndarray, sizes: list[int]) -> list[np.ndarray] | None:
    """An axis as several; None if no axes have these sums."""
    parts = []
    for size in sizes[:-1]:
        table = whole.reshape(size, -1)
        if not (table == table[:, :1] + table[:1]).all():
            return None
        parts.append(table[:, 0])
        whole = table[0]
    return [*parts, whole]


def cut(x: Moved, index: object) -> Moved | None:
    """Slices of axes, and entries of an axis that is taken away."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not all(part is Ellipsis or isinstance(part, slice) or type(part) is int for part in parts):
        return None
    at = parts.index(Ellipsis) if Ellipsis in parts else len(parts)
    parts[at:at + 1] = [slice(None)] * (len(x.axes) - len(parts) + (Ellipsis in parts))
    taken = [axis[part] for axis, part in zip(x.axes, parts, strict=True)]
    first = x.first + sum(int(np.ravel(entries)[0]) for entries in taken)
    return Moved(x.image, [entries - entries[0] for entries in taken if entries.ndim], first, x.turned)


def channels(x: Moved, value: Value) -> np.ndarray | None:
    """The image's channels that the value has, in order, if samples and pixels are the image's."""
    n, count, h, w = x.image.shape
    if value.ndim != 4 or (value.shape[0], *value.shape[2:]) != (n, h, w):
        return None
    samples, places, rows, columns = x.axes
    places = x.first + places
    whole = (np.array_equal(samples, np.arange(n) * (count * h * w)) and np.array_equal(columns, np.arange(w))
             and np.array_equal(rows, np.arange(h) * w))
    return np.ascontiguousarray(places // (h * w)) if whole and not (places % (h * w)).any() else None
