"""Channels of an image in blocked layout in another order (passes/pick_channels.py), of two images side
by side where nothing else needs these joined."""
from __future__ import annotations

import numpy as np

from ..ir import Node, Value
from .context import BLOCK, Declined, Lowering, blocks


def take(low: Lowering, node: Node) -> None:
    x, table = node.inputs
    parts = low.joined.get(x, (x,)) if picks(node) else ()
    if not any(map(low.is_map, parts)):
        raise Declined("no channels of images in blocked layout")
    lanes = np.concatenate([np.arange(v.shape[1]) + first * BLOCK for v, first in zip(parts, firsts(parts))])[table]
    maps = [low.as_map(v).ref for v in parts]
    low.add("pick_channels", maps[0], maps[1] if len(maps) > 1 else None, lanes.astype(np.int64),
            low.new_map(node.output).ref, node=node, algorithm="copy")


def firsts(parts: tuple[Value, ...]) -> list[int]:
    """The block that each part begins with."""
    return [sum(blocks(v.shape[1]) for v in parts[:i]) for i in range(len(parts))]


def picks(node: Node) -> bool:
    """Whether a `take` is of an image's channels, by constants."""
    x, table = node.inputs
    return (isinstance(x, Value) and x.ndim == 4 and x.dtype == np.float32 and x.size > 0
            and isinstance(table, np.ndarray) and table.ndim == 1 and table.size > 0 and node.attrs["dim"] == 1
            and node.short is None and 0 <= int(table.min()) and int(table.max()) < x.shape[1])


def left_apart(low: Lowering, cat: Node) -> bool:
    """Whether two images that are put together are only picked from, so that they may stay where they are."""
    readers = low.consumers.get(cat.output, [])
    apart = (len(cat.inputs) == 2 and cat.output not in low.graph.outputs and cat.short is None
             and len(readers) > 0 and all(reader.op == "take" and picks(reader) for reader in readers))
    if apart:
        low.joined[cat.output] = tuple(cat.inputs)
    return apart


RULES = {"take": take}
