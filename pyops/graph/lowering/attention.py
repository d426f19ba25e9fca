"""Attention on heads wherever they lie: parts of one projection are read in place, the result is
written in the order that is read next."""
from __future__ import annotations

import math

import numpy as np

from ...ops.attention import plan, plan_within
from ...ops.rotary import plan as rotary_plan
from ..ir import Node, Value
from .context import Declined, Lowering, Ref, View, contiguous_strides


def attention(low: Lowering, node: Node) -> None:
    p = plan(*(None if v is None else v.shape for v in node.inputs), node.attrs["gqa"])
    axes = len(p.lead) + 2
    places = [None if v is None else strided(low, v) for v in node.inputs]
    strides = [() if v is None else along(v.shape, place.strides, axes)
               for v, place in zip(node.inputs, places)]
    y = result(low, node)
    low.add("attention", *(None if place is None else place.ref for place in places), p.lead, sizes(low, p),
            *(s[:-1] for s in strides[:3]), strides[3], y.strides[:-1], node.attrs["causal"],
            node.attrs["scale"], y.ref, low.new_planar(node.outputs[1]), node=node, algorithm="fused",
            flops=2.0 * math.prod(p.lead) * p.sizes[0] * p.sizes[1] * (p.sizes[2] + p.sizes[3]))


def attention_within(low: Lowering, node: Node) -> None:
    """Also of stored keys and values, whose kernel has no causal."""
    if node.output.dtype != np.float32:
        raise Declined("of doubles")
    given = node.inputs[3:]
    p, spans, distance = plan_within(*(None if v is None else v.shape for v in node.inputs), node.attrs["gqa"])
    axes = len(p.lead) + 2
    places = [strided(low, v) for v in node.inputs[:3]]
    y = result(low, node)
    low.add(node.op, *(place.ref for place in places),
            *(low.as_planar(v) if isinstance(v, Value) else v for v in given), p.lead, sizes(low, p),
            *(along(v.shape, place.strides, axes)[:-1] for v, place in zip(node.inputs, places)), spans, distance,
            y.strides[:-1], *([node.attrs["causal"]] if "causal" in node.attrs else []), node.attrs["scale"], y.ref,
            low.new_planar(node.outputs[1]), node=node, algorithm="fused",
            flops=2.0 * math.prod(p.lead) * p.sizes[0] * p.sizes[1] * (p.sizes[2] + p.sizes[3]))


def sizes(low: Lowering, p) -> tuple[int, ...]:
    """A Plan's, and where few queries must have the bits that they have among others, the order."""
    return (*p.sizes, 1) if low.options.batch_invariant else p.sizes


def strided(low: Lowering, value) -> View:
    """Where the value lies; its last axis must be contiguous."""
    view = low.as_view(value)
    return (view if value.shape[-1] == 1 or view.strides[-1] == 1
            else View(low.as_planar(value), contiguous_strides(value.shape)))


def along(shape, strides, axes: int) -> tuple[int, ...]:
    """Strides for `axes` axes: 0 along those that the value repeats along."""
    return (0,) * (axes - len(shape)) + tuple(0 if n == 1 else s for n, s in zip(shape, strides))


def result(low: Lowering, node: Node) -> View:
    """A place for the result: where one permutation reads it, in that one's order."""
    value = node.output
    reader = low.graph.only_consumer(value, low.consumers)
    if reader is None or reader.op != "permute" or reader.attrs["dims"][-1] % len(value.shape) != len(
            value.shape) - 1:
        return View(low.new_planar(value), contiguous_strides(value.shape))
    order = [d % len(value.shape) for d in reader.attrs["dims"]]
    strides = [0] * len(order)
    for axis, step in zip(order, contiguous_strides(tuple(value.shape[d] for d in order))):
        strides[axis] = step
    low.views[value] = View(Ref(low.buffer(value.size), 0, value.shape), tuple(strides))
    return low.views[value]


def rotary(low: Lowering, node: Node) -> None:
    """Heads turned where they lie."""
    x, *tables = node.inputs
    p, view = rotary_plan(*(v.shape for v in node.inputs)), strided(low, x)
    low.add("rotary", view.ref, *(low.as_planar(t) if isinstance(t, Value) else t for t in tables), p.lead,
            along(x.shape, view.strides, len(x.shape))[:-1], *p[2:], node.attrs["interleaved"], node.attrs["back"],
            low.new_planar(node.output), node=node, algorithm="strided")


MIXED = {"attention_within", "attention_stored"}   # some of their inputs are whole numbers
RULES = {"attention": attention, "attention_within": attention_within, "attention_stored": attention_within,
         "rotary": rotary}
