"""An image plus a multiple of itself, a number a sample and channel: x + (x g w + b) = x (1 + g w) + b,
where g is computed, and w and b are constants a channel.

Global response normalisation (ConvNeXt V2, arXiv 2301.00808) and gates with a way around them are
written so. One product of the image is left, which a layer behind it may do while it reads
(fuse_gate.py).
"""
from __future__ import annotations

import numpy as np

from ..ir import Graph, Node, Value
from .turn_tokens import made


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += factored(graph, node, consumers)
    graph.nodes[:] = nodes


def factored(graph: Graph, node: Node, consumers) -> list[Node]:
    """The node, or what it is replaced by; its last node has the node's place and output."""
    if node.op != "add" or node.attrs.get("alpha", 1) != 1 or node.output.dtype != np.float32:
        return [node]
    for x, product in (node.inputs, node.inputs[::-1]):
        found = chain(graph, x, product, consumers) if isinstance(x, Value) and isinstance(product, Value) else None
        if found is None:
            continue
        gate, w, b = found
        before = []
        for op, number in (("mul", w), ("add", np.ones(1, np.float32))):
            if number is not None:
                before.append(made(op, gate, {"alpha": 1} if op == "add" else {}, gate.shape, node))
                before[-1].inputs.append(number)
                gate = before[-1].output
        if b is None:
            node.op, node.inputs, node.attrs = "mul", [x, gate], {}
        else:
            before.append(made("mul", x, {}, x.shape, node))
            before[-1].inputs.append(gate)
            node.inputs = [before[-1].output, b]
        return [*before, node]
    return [node]


Found = tuple[Value, np.ndarray | None, np.ndarray | None]


def chain(graph: Graph, x: Value, product: Value, consumers) -> Found | None:
    """(gate, w, b) where `product` is x gate w + b and nobody else reads what lies between; None if it is not."""
    gate = w = b = None
    while product is not x:
        node = product.node
        if (node is None or node.op not in ("mul", "add") or len(consumers.get(product, ())) != 1
                or product in graph.outputs or product.shape != x.shape or node.epilogue.activation is not None):
            return None
        image, other = node.inputs if isinstance(node.inputs[0], Value) and node.inputs[0].shape == x.shape \
            else node.inputs[::-1]
        if not isinstance(image, Value) or image.shape != x.shape:
            return None
        if isinstance(other, Value):
            if node.op == "add" or gate is not None or other.shape != numbers_of(x):
                return None
            gate = other
        elif not by_channel(other, x) or (node.op == "add" and (gate is not None or node.attrs.get("alpha", 1) != 1)):
            return None
        elif node.op == "mul":
            w = other if w is None else w * other
        else:   # what it is multiplied by on its way out is known by now
            b = (0 if b is None else b) + (other if w is None else other * w)
        product = image
    return None if gate is None else (gate, w, b)


def numbers_of(x: Value) -> tuple:
    return (*x.shape[:2], *(1,) * (x.ndim - 2))


def by_channel(numbers: np.ndarray, x: Value) -> bool:
    """Whether there is one number, or one a channel, for an image."""
    shape = (1,) * (x.ndim - numbers.ndim) + numbers.shape
    return (x.ndim in (3, 4) and len(shape) == x.ndim and numbers.dtype == np.float32
            and bool(np.isfinite(numbers).all())
            and all(n == 1 or axis == 1 and n == x.shape[1] for axis, n in enumerate(shape)))
