"""From the graph to kernel calls: one rule a row, the plain rule for rows that have none or
decline."""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Value
from . import (
    attention,
    control,
    convolution,
    elementwise,
    in_place,
    labels,
    linear,
    norms,
    on_bytes,
    picked,
    plain,
    pooling,
    puts,
    recurrent,
    slices,
)
from .context import INPUT, OUTPUT, Declined, Lowering, Ref

RULES = {**convolution.RULES, **pooling.RULES, **elementwise.RULES, **linear.RULES, **attention.RULES,
         **recurrent.RULES, **norms.RULES, **on_bytes.RULES, **puts.RULES, **labels.RULES,
         **in_place.RULES, **slices.RULES, **picked.RULES}
# The kernels of rules are of float32, but for those on bytes and of these, whose checks are the row's own
MIXED = {*puts.RULES, *picked.RULES, *labels.RULES, *attention.MIXED, *linear.MIXED}


def lower(graph: Graph, options) -> Lowering:
    low = Lowering(graph, options)
    for i, value in enumerate(graph.inputs):
        buffer = low.buffer(value.size, value.dtype)
        buffer.space, buffer.index = INPUT, i
        low.planar[value] = Ref(buffer, 0, value.shape, value.dtype)
    lower_nodes(low)
    for i, value in enumerate(graph.outputs):
        give_out(low, i, value)
    return low


def lower_nodes(low: Lowering) -> None:
    elementwise.place_concatenations(low)
    for node in low.graph.nodes:
        if node.bodies:
            control.RULES[node.op](low, node, lower_nodes)
        else:
            lower_node(low, node)
            # what was folded, or given up by the model, and is packed now is not kept until the end
            node.inputs = [v if isinstance(v, Value) else None for v in node.inputs]
            node.before, node.normalised = (), None


def lower_node(low: Lowering, node) -> None:
    if node.short is not None:
        low.as_planar(node.short)
    first = len(low.steps)
    lower_whole(low, node)
    low.run_shortly(node, [step for step in low.steps[first:] if step.node is node and step.kernel != "shorten"])


def lower_whole(low: Lowering, node) -> None:
    places = (low.maps, low.planar, low.last, low.volumes)
    before = len(low.steps), *map(len, places)
    rule = RULES.get(node.op, elementwise.flat if node.row.pointwise else None)
    if rule is not None and (of_floats(node) or node.on_bytes is not None or node.op in MIXED):
        try:
            rule(low, node)
            return
        except Declined as why:
            node.why = str(why)
            del low.steps[before[0]:]
            for places_of, count in zip(places, before[1:]):   # a rule adds places and changes none
                while len(places_of) > count:
                    places_of.popitem()
    # the plain rule writes planar results, which are copied into a concatenation
    for output in node.outputs:
        low.placement.pop(output, None)
    plain.plain(low, node)
    plain_epilogue(low, node)


def of_floats(node) -> bool:
    return all(v.dtype == np.float32 for v in (*node.outputs, *(v for v in node.inputs if v is not None)))


def plain_epilogue(low: Lowering, node) -> None:
    """What was fused into a node whose rule declined, as calls of its own."""
    e = node.epilogue
    if e.residual is None and e.activation is None:
        return
    from .. import activations
    ref = low.planar[node.output]
    flat = (node.output.size,)
    if e.residual is not None:
        low.add("add_flat", ref.reshaped(flat), low.as_planar(e.residual).reshaped(flat), ref.reshaped(flat),
                node=node, algorithm="plain")
    if e.activation not in (None, activations.NONE):
        low.add("activate_flat", e.activation, ref.reshaped(flat), node=node, algorithm="plain")


def give_out(low: Lowering, index: int, value) -> None:
    """Makes the value output `index` of the program: its buffer becomes the caller's where that is
    possible, else it is copied."""
    ref = low.as_planar(value)
    if ref.buffer.space == 0 and ref.whole:
        ref.buffer.space, ref.buffer.index = OUTPUT, index
        return
    buffer = low.buffer(value.size, value.dtype)
    buffer.space, buffer.index = OUTPUT, index
    if not value.size:
        return
    low.copy(Ref(ref.buffer, ref.offset, (1,), ref.dtype), (1,), Ref(buffer, 0, (value.size,), value.dtype))
