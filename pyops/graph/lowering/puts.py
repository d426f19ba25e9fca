"""Blocks that are put into an array: into its own memory, where nobody reads it any more."""
from __future__ import annotations

import math

from ..ir import Node, Value
from .context import ARENA, Declined, Lowering, Ref, contiguous_strides


def put_blocks(low: Lowering, node: Node) -> None:
    x, index, values = node.inputs
    if not node.output.size or not index.shape[-1]:
        raise Declined("nothing to put, or all of it")
    depth, reduction = index.shape[-1], node.attrs.get("reduction", "")
    place = low.as_planar(x)
    if isinstance(place, Ref) and ends(low, x, place, node):
        low.planar[node.output] = y = place
    else:
        y = low.new_planar(node.output)
        low.add("strided_move", place, contiguous_strides(x.shape), y, node=node, algorithm="copy")
    low.add(f"put_blocks_{reduction}" if reduction else "put_blocks", low.as_planar(values), low.as_planar(index),
            x.shape[:depth], 1, math.prod(x.shape[depth:]), node.attrs.get("wrap", True), y, node=node,
            algorithm="in place" if y is place else "plain")


def ends(low: Lowering, x: Value, place: Ref, node: Node) -> bool:
    """Whether this node is the last to read what lies there: neither x nor any value that shares its memory
    has a reader that is still to come, is a result, or was there before the body of a loop."""
    if place.buffer.space != ARENA:
        return False
    for value in sharing(low, place):
        if value.node is None or value in low.graph.outputs:
            return False
        if any(low.order[reader] > low.order[node] for reader in low.consumers.get(value, ())):
            return False
    return not any(isinstance(v, Value) and lies_in(low, v, place) for v in node.inputs[1:])


def sharing(low: Lowering, place: Ref) -> list[Value]:
    return [v for v in (*low.planar, *low.views, *low.maps, *low.last, *low.volumes) if lies_in(low, v, place)]


def lies_in(low: Lowering, value: Value, place: Ref) -> bool:
    found = [low.planar.get(value), *(held.ref for held in (low.views.get(value), low.maps.get(value),
                                      low.last.get(value), low.volumes.get(value)) if held is not None)]
    return any(ref is not None and ref.buffer is place.buffer for ref in found)


RULES = {"put_blocks": put_blocks}
