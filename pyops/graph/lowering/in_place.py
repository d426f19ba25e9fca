"""Softmax where its scores lie: the kernel has read all of a line before it writes the first value of
it, so that a map of scores that nothing else reads becomes the probabilities.
"""
from __future__ import annotations

from ..ir import Node, Value
from .context import ARENA, Declined, Lowering, Ref


def softmax(low: Lowering, node: Node) -> None:
    place = free_to_write(low, node.inputs[0], node)
    low.add(node.op, place, node.attrs["dim"] % max(1, len(place.shape)), place, node=node, algorithm="in place")
    low.planar[node.output] = place


def free_to_write(low: Lowering, x: Value, node: Node) -> Ref:
    """Where x lies, planar, if it is this node's alone."""
    if (not isinstance(x, Value) or x.node is None or not x.size or x in low.graph.outputs
            or len(low.consumers[x]) != 1 or node.short is not None or x.node.short is not None):
        raise Declined("others read its input")
    place = low.as_planar(x)
    if place.buffer.space != ARENA or not place.whole:
        raise Declined("its input lies among others")
    held = [*low.planar.items(), *((v, m.ref) for places in (low.maps, low.last, low.volumes)
                                   for v, m in places.items()), *((v, view.ref) for v, view in low.views.items())]
    if any(v is not x and ref.buffer is place.buffer for v, ref in held):
        raise Declined("others lie where its input does")
    return place


RULES = {"softmax": softmax, "log_softmax": softmax}
