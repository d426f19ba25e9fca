"""Images that are stacked, or channels seen as stacked images, and added up are added one to another:
sum_i x_i and sum_i x_i g_i, with g_i a number a sample and channel. They need not be put together, and stay
in the layout of layers.

Networks that choose among paths are written so: selective kernels (arXiv 1903.06586), split attention
(ResNeSt, arXiv 2004.08955).
"""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir import Graph, Node, Value
from .turn_tokens import made

MOST = 8   # images


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += added_up(graph, node, consumers)
    graph.nodes[:] = nodes


def added_up(graph: Graph, node: Node, consumers) -> list[Node]:
    """The node, or what it is replaced by; its last node has the node's place and output."""
    if not sums_images(node):
        return [node]
    stack, gates = node.inputs[0], None
    if stack.node is not None and stack.node.op == "mul" and graph.only_consumer(stack, consumers) is node:
        stack, gates = gated(stack.node)
    parts = None if stack is None else images_of(stack, node)
    if parts is None:
        return [node]
    before: list[Node] = []
    terms = []
    for i, part in enumerate(parts):
        term = part(before)
        if gates is not None:
            gate = made("getitem", gates, {"index": (slice(None), i)}, numbers_of(term), node)
            before += [gate, made("mul", term, {}, term.shape, node)]
            before[-1].inputs.append(gate.output)
            term = before[-1].output
        terms.append(term)
    for term in terms[1:-1]:
        before.append(made("add", terms[0], {"alpha": 1}, term.shape, node))
        before[-1].inputs.append(term)
        terms[0] = before[-1].output
    node.op, node.inputs, node.attrs = "add", [terms[0], terms[-1]], {"alpha": 1}
    return [*before, node]


def sums_images(node: Node) -> bool:
    """Whether it adds up the images that lie along the second axis of what it reads."""
    if node.op != "sum" or not isinstance(node.inputs[0], Value) or node.output.dtype != np.float32:
        return False
    shape = node.inputs[0].shape
    return (len(shape) == 5 and [d % 5 for d in node.attrs["dims"]] == [1] and node.attrs.get("scale", 1.0) == 1.0
            and type(shape[1]) is int and 2 <= shape[1] <= MOST and node.output.shape == (shape[0], *shape[2:]))


def gated(product: Node) -> tuple[Value | None, Value | None]:
    """Of a product of stacked images with numbers a sample, image and channel: the two factors."""
    for images, numbers in (product.inputs, product.inputs[::-1]):
        if (isinstance(images, Value) and isinstance(numbers, Value) and images.shape == product.output.shape
                and numbers.shape == (*images.shape[:3], 1, 1) and images.shape[3:] != (1, 1)):
            return images, numbers
    return None, None


def images_of(stack: Value, near: Node) -> list[Callable[[list[Node]], Value]] | None:
    """For each image what makes it, given the nodes so far; None where `stack` is put together otherwise."""
    node, image = stack.node, (stack.shape[0], *stack.shape[2:])
    if node is None or not all(isinstance(v, Value) for v in node.inputs):
        return None
    if node.op == "cat" and node.attrs["dim"] % 5 == 1 and len(node.inputs) == stack.shape[1]:
        alone = [v.node.inputs[0] if v.node is not None and v.node.op == "reshape" else None for v in node.inputs]
        if all(isinstance(v, Value) and v.shape == image for v in alone):
            return [lambda _, v=v: v for v in alone]
    if node.op == "reshape" and type(stack.shape[2]) is int:
        source, channels = node.inputs[0], stack.shape[2]
        if source.shape == (stack.shape[0], stack.shape[1] * channels, *stack.shape[3:]):
            def part(nodes: list[Node], first: int) -> Value:
                index = (slice(None), slice(first, first + channels), slice(None), slice(None))
                nodes.append(made("getitem", source, {"index": index}, image, near))
                return nodes[-1].output
            return [lambda nodes, first=i * channels: part(nodes, first) for i in range(stack.shape[1])]
    return None


def numbers_of(image: Value) -> tuple:
    return (*image.shape[:2], 1, 1)
