"""Adds up layers instead of their results: conv(x, v) + conv(x, w) is conv(x, v + w) where both see
the same places, the taps of the smaller filter lying among those of the larger one.

Networks that are trained with parallel branches have such sums (RepVGG, arXiv 2101.03697; MobileOne,
arXiv 2206.04040; RepViT, arXiv 2307.09283). A batch norm of x is a filter of one tap a channel, and so
is x itself beside a depthwise convolution; beside others it stays what it is, as a residual costs
next to nothing there. Filters are added in float64.
"""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import packing
from ..ir import Graph, Node, Value
from ..shared import once
from . import fold_batch_norm

Consumers = dict[Value, list[Node]]


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    for node in list(graph.nodes):
        if node.op == "conv" and is_plain(node):
            while merge_one(graph, node, consumers):
                pass


def is_plain(conv: Node) -> bool:
    x, weight, bias = conv.inputs
    return (isinstance(x, Value) and isinstance(weight, np.ndarray) and weight.dtype.kind == "f" and weight.size > 0
            and x.ndim == weight.ndim and (bias is None or isinstance(bias, np.ndarray))
            and conv.epilogue.residual is None and conv.epilogue.activation is None)


def merge_one(graph: Graph, conv: Node, consumers: Consumers) -> bool:
    """Takes over another term of the sum that the convolution's result belongs to, if one can be."""
    for value, add in terms(graph, conv.output, consumers):
        found = as_filter(graph, value, add, conv, consumers)
        if found is None:
            continue
        taps, bias = found
        weight = conv.inputs[1]
        merged = sum_of(weight, *taps)
        if not packing.finite(merged) or loses_winograd(weight, merged):
            continue
        if bias is not None:
            bias = (bias + (0 if conv.inputs[2] is None else conv.inputs[2].astype(np.float64))).astype(weight.dtype)
        conv.inputs = [conv.inputs[0], merged, conv.inputs[2] if bias is None else bias]
        a, b = add.inputs
        graph.drop(add, b if a is value else a, consumers)
        return True
    return False


def loses_winograd(weight: np.ndarray, merged: np.ndarray) -> bool:
    return (weight[0, 0].size > 1 and weight.shape[1] > 1 and packing.even_filters(weight)
            and not packing.even_filters(merged))


def terms(graph: Graph, start: Value, consumers: Consumers) -> Iterator[tuple[Value, Node]]:
    """The other terms of the sum that `start` is a term of, each with the addition that takes it."""
    value = start
    while (add := graph.only_consumer(value, consumers)) is not None and is_sum(add):
        other = add.inputs[1] if add.inputs[0] is value else add.inputs[0]
        if other is value:
            return
        yield from within(graph, other, add, consumers)
        value = add.output


def within(graph: Graph, value: Value, add: Node, consumers: Consumers) -> Iterator[tuple[Value, Node]]:
    inner = value.node
    if inner is not None and is_sum(inner) and graph.only_consumer(value, consumers) is add:
        for each in inner.inputs:
            yield from within(graph, each, inner, consumers)
    else:
        yield value, add


def is_sum(node: Node) -> bool:
    if node.op != "add" or node.attrs.get("alpha", 1) != 1 or not all(isinstance(v, Value) for v in node.inputs):
        return False
    a, b = node.inputs
    return a is not b and a.shape == b.shape and node.epilogue.activation is None


Filter = tuple[np.ndarray, tuple[int, ...]]   # and the tap of the larger one at which its first one lies


def as_filter(graph: Graph, value: Value, add: Node, conv: Node,
              consumers: Consumers) -> tuple[Filter, np.ndarray | None] | None:
    """The filter and the bias, in float64, by which conv's input becomes this term; None if it is made in
    another way, or somebody else reads it."""
    x, weight, _ = conv.inputs
    depthwise = weight.shape[1] == 1 and conv.attrs["groups"] == weight.shape[0]
    if value is x:
        return one_tap(conv, np.ones(len(weight)), None) if depthwise else None
    node = value.node
    if node is None or node is conv or node.inputs[0] is not x or graph.only_consumer(value, consumers) is not add:
        return None
    if node.op == "batch_norm" and fold_batch_norm.constant(node):
        return one_tap(conv, *fold_batch_norm.scale_and_shift(node))
    if node.op != "conv" or not is_plain(node):
        return None
    return beside(conv, node)


def one_tap(conv: Node, scale: np.ndarray, shift: np.ndarray | None) -> tuple[Filter, np.ndarray | None] | None:
    """x scale + shift, a number a channel, as a filter."""
    weight, groups = conv.inputs[1], conv.attrs["groups"]
    if len(weight) != weight.shape[1] * groups or set(conv.attrs["stride"]) != {1}:
        return None
    place = places(conv, (1,) * (weight.ndim - 2), (0,) * (weight.ndim - 2))
    if place is None:
        return None
    taps = np.zeros((*weight.shape[:2], *(1,) * (weight.ndim - 2)))
    channels = np.arange(len(weight))
    taps[(channels, channels % weight.shape[1])] = scale.reshape(-1, *(1,) * (weight.ndim - 2))
    return (taps, place), shift


def beside(conv: Node, other: Node) -> tuple[Filter, np.ndarray | None] | None:
    weight, taps, bias = conv.inputs[1], *other.inputs[1:]
    same = all(conv.attrs[name] == other.attrs[name] for name in ("groups", "stride"))
    if not same or weight.shape[:2] != taps.shape[:2] or any(
            d != e for d, e, n in zip(conv.attrs["dilation"], other.attrs["dilation"], taps.shape[2:]) if n > 1):
        return None
    place = places(conv, taps.shape[2:], other.attrs["padding"])
    return None if place is None else ((taps, place), None if bias is None else bias.astype(np.float64))


def places(conv: Node, size: tuple[int, ...], padding: tuple[int, ...]) -> tuple[int, ...] | None:
    """The tap of conv's at which the first one of so many lies, for outputs that begin where `padding`
    says; None if not all of them lie on taps."""
    found = []
    for n, pad, taps, conv_pad, dilation in zip(size, padding, conv.inputs[1].shape[2:], conv.attrs["padding"],
                                                conv.attrs["dilation"]):
        first, rest = divmod(conv_pad - pad, dilation)
        if rest or first < 0 or first + n > taps:
            return None
        found.append(first)
    return tuple(found)


@once
def sum_of(weight: np.ndarray, taps: np.ndarray, place: tuple[int, ...]) -> np.ndarray:
    made = weight.astype(np.float64)
    made[(..., *(slice(first, first + n) for first, n in zip(place, taps.shape[2:])))] += taps
    return made.astype(weight.dtype)
