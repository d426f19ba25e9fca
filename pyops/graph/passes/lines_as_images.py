"""Layers on lines, (n, channels, length), are those on images of one row, (n, channels, 1, length): what is
done for images, sums and gates that layers take along, blocks of layers that are one, channels that are
picked where they lie, is done for lines then.

A line layer is turned with all that is connected to it by rows that know both; what others make of lines
or read of them is a reshape away.
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import Graph, Node, Value
from .turn_tokens import made

LAYERS = {"conv", "conv_transpose"}


def run(graph: Graph) -> None:
    turned = connected(graph)
    if not turned:
        return
    images: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node not in turned:
            nodes.append(node)
            continue
        for value in node.values():
            if is_line(value) and value not in images:
                there = made("reshape", value, {"shape": as_image(value.shape)}, as_image(value.shape), node)
                images[value] = there.output
                nodes.append(there)
        old = node.output
        inputs, attrs = TURN[node.op](node) if node.op in TURN else pointwise(node)
        node.inputs, node.attrs = [images.get(v, v) if isinstance(v, Value) else v for v in inputs], attrs
        nodes.append(node)
        if not is_line(old):   # what is read off the line
            continue
        image = Value(as_image(old.shape), old.dtype, node, old.name)
        node.outputs = [image, *node.outputs[1:]]
        images[old] = image
        back = made("reshape", image, {"shape": old.shape}, old.shape, node)
        back.outputs, old.node = [old], back
        nodes.append(back)
    graph.nodes[:] = nodes


def connected(graph: Graph) -> set[Node]:
    """The nodes to turn: of each set that lines connect, if a layer is among them."""
    group: dict[Node, list[Node]] = {}
    for node in graph.nodes:
        if not turnable(node):
            continue
        group[node] = [node]
        for value in node.values():
            other = value.node
            if is_line(value) and other in group and group[other] is not group[node]:
                small, large = sorted((group[other], group[node]), key=len)
                large += small
                for member in small:
                    group[member] = large
    return {node for node, members in group.items() if any(member.op in LAYERS for member in members)}


def is_line(value) -> bool:
    return isinstance(value, Value) and len(value.shape) == 3 and value.dtype == np.float32


def as_image(shape) -> tuple:
    return (*shape[:2], 1, *shape[2:])


def turnable(node: Node) -> bool:
    if node.bodies or node.short is not None or not node.outputs or not any(is_line(v) for v in node.values()):
        return False
    known = KNOWN.get(node.op)
    if known is None:
        return node.row.pointwise and len(node.outputs) == 1 and is_line(node.output) and all(map(fits, node.inputs))
    return known(node)


def fits(operand) -> bool:
    """Whether a pointwise row's operand is one of a line, too."""
    return is_line(operand) or not isinstance(operand, Value) and np.ndim(operand) <= 3


# ---- rows that know lines and images: what they must be like, and how they are turned

def is_layer(node: Node) -> bool:
    _, weight, bias = node.inputs
    return (is_line(node.inputs[0]) and isinstance(weight, np.ndarray) and weight.ndim == 3
            and not isinstance(bias, Value))


def layer(node: Node):
    x, weight, bias = node.inputs
    attrs = dict(node.attrs)
    for name, first in (("stride", 1), ("padding", 0), ("dilation", 1), ("size", 1)):
        attrs[name] = (first, *attrs[name])
    return [x, weight[:, :, None], bias], attrs


def of_line(node: Node) -> bool:
    return is_line(node.inputs[0]) and not any(isinstance(v, Value) for v in node.inputs[1:])


def pool(node: Node):
    return node.inputs, {**node.attrs, "window": node.attrs["window"]._replace(axes=2)}


def resample(node: Node):
    return node.inputs, {**node.attrs, "specs": (None, *node.attrs["specs"])}


def pad(node: Node):
    ends = {name: node.attrs[name] for name in ("before", "after")}
    return node.inputs, {**node.attrs, **{name: (*end[:2], 0, *end[2:]) for name, end in ends.items()}}


def spread(node: Node):
    return node.inputs, {**node.attrs, "shape": as_image(node.attrs["shape"])}


def is_pool(node: Node) -> bool:
    return of_line(node) and len(node.outputs) == 1 and node.attrs["window"].axes == 1


def is_join(node: Node) -> bool:
    return all(is_line(v) for v in node.inputs)


def join(node: Node):
    return node.inputs, {**node.attrs, "dim": image_axis(node.attrs["dim"])}


def is_slice(node: Node) -> bool:
    return of_line(node) and is_line(node.output) and all(isinstance(part, slice) for part in parts(node))


def cut(node: Node):
    index = parts(node)
    return node.inputs, {**node.attrs, "index": (*index[:2], slice(None), *index[2:])}


def parts(node: Node) -> tuple:
    """The index, a part an axis if it takes parts alone."""
    index = node.attrs["index"]
    index = index if isinstance(index, tuple) else (index,)
    at = next((i for i, part in enumerate(index) if part is Ellipsis), len(index))
    return (*index[:at], *[slice(None)] * (3 - len(index) + (at < len(index))), *index[at + 1:])


def is_sum(node: Node) -> bool:
    return of_line(node) and len(node.outputs) == 1 and sorted(d % 3 for d in node.attrs["dims"]) == [2]


def total(node: Node):
    shape = node.attrs["shape"]
    return node.inputs, {**node.attrs, "dims": (2, 3), "shape": as_image(shape) if len(shape) == 3 else shape}


def image_axis(axis: int) -> int:
    axis %= 3
    return axis + (axis == 2)


def same(node: Node):
    return node.inputs, node.attrs


def pointwise(node: Node):
    return [wider(v) if isinstance(v, np.ndarray) else v for v in node.inputs], node.attrs


def wider(constant: np.ndarray) -> np.ndarray:
    """Numbers of a line as those of an image."""
    shape = constant.shape
    return constant.reshape(*shape[:-1], 1, shape[-1]) if constant.ndim > 1 else constant


KNOWN: dict[str, Callable[[Node], bool]] = {
    **dict.fromkeys(LAYERS, is_layer), **dict.fromkeys(("max_pool", "avg_pool", "lp_pool"), is_pool),
    "resample": of_line, "pad": of_line, "batch_norm": of_line, "group_norm": of_line, "prelu": of_line,
    "local_response_norm": of_line, "glu": lambda node: of_line(node) and image_axis(node.attrs["dim"]) == 1,
    "broadcast_to": lambda node: of_line(node) and is_line(node.output), "cat": is_join, "getitem": is_slice,
    "sum": is_sum, "amax": is_sum,
    "arg_max": lambda node: of_line(node) and node.attrs["inner"] == node.inputs[0].shape[2]}
TURN: dict[str, Callable[[Node], tuple]] = {
    **dict.fromkeys(LAYERS, layer), **dict.fromkeys(("max_pool", "avg_pool", "lp_pool"), pool),
    "resample": resample, "pad": pad, "broadcast_to": spread, "cat": join, "getitem": cut, "sum": total, "amax": total,
    **dict.fromkeys(("batch_norm", "group_norm", "prelu", "local_response_norm", "arg_max"), same),
    "glu": lambda node: (node.inputs, {**node.attrs, "dim": 1})}
