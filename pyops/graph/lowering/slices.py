"""Some channels of an image in blocked layout: where they lie if they begin with a block."""
from __future__ import annotations

import numpy as np

from ..ir import Node
from .context import BLOCK, Declined, Lowering


def getitem(low: Lowering, node: Node) -> None:
    x, y = node.inputs[0], node.output
    if not low.is_map(x) or len(x.shape) != 4 or x.dtype != np.float32 or node.short is not None:
        raise Declined("no image in blocked layout")
    first = first_channel(node.attrs["index"], x.shape, y.shape)
    if first is None:
        raise Declined("more than a run of channels")
    source = low.as_map(x)
    if first % BLOCK == 0 and y not in low.placement:
        low.maps[y] = source.block(first // BLOCK, y.shape[1])
        return
    low.add("slice_channels", source.ref, x.shape[1], first, y.shape[1], low.new_map(y).ref, node=node,
            algorithm="copy")


def first_channel(index, shape: tuple[int, ...], result: tuple[int, ...]) -> int | None:
    """Of an index that takes neighbouring channels, all of their pixels; else None."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if not all(part is Ellipsis or isinstance(part, slice) for part in parts) or len(result) != 4 or not result[1]:
        return None
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at:at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    begins = [part.indices(n) for part, n in zip(parts, shape)]
    rest = (result[0], *result[2:]) == (shape[0], *shape[2:])
    if any(step != 1 for _, _, step in begins) or not rest:
        return None
    return begins[1][0]


RULES = {"getitem": getitem}
