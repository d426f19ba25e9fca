"""softmax(number * q k') v, as exporters write attention, becomes the row attention, which holds no
matrix of scores.

q and k may carry a share of the number each, and k' is some permutation of the heads. A mask that is
added to the scores is taken where it is a constant that leaves every query a key, or where what
softmax makes of no key at all, NaN, is replaced by zeros as the row does; else such a query would
tell the two apart.
"""
from __future__ import annotations

import numpy as np

from ...ops.attention import MOST_LEADING, broadcasts
from ..ir import Graph, Node, Value
from .spelled_out import number_of, product

MOST_MASK = 1 << 22   # scores whose masks are added up beforehand: 16 MB


def run(graph: Graph) -> None:
    consumers = graph.consumers()
    nodes = list(graph.nodes)
    added: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.op == "matmul" and node.output.dtype == np.float32:
            views = matched(graph, node, consumers)
            if views:
                added[node] = views
    if added:
        graph.nodes[:] = [n for node in nodes for n in (*added.get(node, ()), node)]


def matched(graph: Graph, node: Node, consumers) -> list[Node] | None:
    """Turns `node`, the last product, into attention, and returns the view of k that it needs; None,
    and nothing changed, where it is another product."""
    weights, v = node.inputs
    softmax, tolerant = softmax_of(graph, weights, consumers)
    if softmax is None or not isinstance(v, Value):
        return None
    scores, mask = masked(graph, softmax.inputs[0], consumers)
    number, factors = product(scores)
    made = factors[0].node if len(factors) == 1 and isinstance(factors[0], Value) else None
    if made is None or made.op != "matmul" or not only(graph, factors[0], scores, consumers):
        return None
    q_number, q = scaled(made.inputs[0])
    k_number, turned = scaled(made.inputs[1])
    if q is None or turned is None or turned.node is None or turned.node.op != "permute":
        return None
    inner_number, heads = scaled(turned.node.inputs[0])
    if heads is None or not fits(q, turned, v, node.output) or not usable(mask, tolerant):
        return None
    dims = list(turned.node.attrs["dims"])
    dims[-2:] = dims[-1], dims[-2]
    k = Value((*turned.shape[:-2], turned.shape[-1], turned.shape[-2]), turned.dtype)
    view = Node("permute", [heads], {"dims": tuple(dims)}, [k], node.where, node.module)
    k.node = view
    node.op, node.inputs = "attention", [q, k, v, mask]
    node.attrs = {"causal": False, "scale": number * q_number * k_number * inner_number, "gqa": False}
    node.outputs = [node.output, Value(node.output.shape[:-1], node.output.dtype, node)]
    return [view]


def softmax_of(graph: Graph, value, consumers) -> tuple[Node | None, bool]:
    """The softmax over the last axis that makes `value` for one reader, and whether its NaN become
    zeros."""
    node = value.node if isinstance(value, Value) else None
    tolerant = False
    if node is not None and node.op in ("where", "select"):
        condition, zero, value = node.inputs
        asked = condition.node if isinstance(condition, Value) else None
        if (asked is None or asked.op != "isnan" or asked.inputs[0] is not value or number_of(zero) != 0
                or set(consumers.get(value, ())) != {asked, node} or len(consumers.get(node.output, ())) != 1):
            return None, False
        node, tolerant = value.node if isinstance(value, Value) else None, True
    if node is None or node.op != "softmax" or node.attrs["dim"] % len(node.output.shape) != node.output.ndim - 1:
        return None, False
    if not tolerant and graph.only_consumer(node.output, consumers) is None:
        return None, False
    return node, tolerant


def masked(graph: Graph, value, consumers):
    """(scores, what was added to them or None)."""
    node = value.node if isinstance(value, Value) else None
    if node is None or node.op not in ("add", "reshape") or node.attrs.get("alpha", 1) != 1:
        return value, None
    if graph.only_consumer(value, consumers) is None:
        return value, None
    for scores, mask in (node.inputs, node.inputs[::-1]) if node.op == "add" else ():
        if isinstance(scores, Value) and scores.shape == value.shape and broadcasts(mask.shape, value.shape):
            made = product(scores)[1]
            if len(made) == 1 and isinstance(made[0], Value) and made[0].node and made[0].node.op == "matmul":
                return scores, mask
    return sums_of_masks(graph, value, consumers) or (value, None)


def sums_of_masks(graph: Graph, value: Value, consumers) -> tuple[Value, np.ndarray] | None:
    """The same where several constants are added, some to scores whose leading axes are split, as
    windows that are shifted have it: a bias a head, and a mask a window. The constants are added up."""
    masks: list[tuple[np.ndarray, tuple]] = []
    at = value
    while at.node is not None and at.node.op in ("add", "reshape") and len(masks) < 4:
        node = at.node
        constants = [v for v in node.inputs if isinstance(v, np.ndarray)]
        inner = next((v for v in node.inputs if isinstance(v, Value)), None)
        if inner is None or graph.only_consumer(at, consumers) is None or at.shape[-2:] != inner.shape[-2:]:
            return None
        if node.op == "add":
            if (len(constants) != 1 or inner.shape != at.shape or node.attrs.get("alpha", 1) != 1
                    or constants[0].dtype != np.float32 or not broadcasts(constants[0].shape, at.shape)):
                break
            masks.append((constants[0], at.shape))
        at = inner
    made = product(at)[1]
    if (not masks or len(made) != 1 or not isinstance(made[0], Value) or made[0].node is None
            or made[0].node.op != "matmul" or at.shape != value.shape or len(at.shape) < 3
            or not all(type(n) is int for n in at.shape) or at.size > MOST_MASK):
        return None
    total = np.zeros(at.shape, np.float32)
    for mask, shape in masks:
        total += np.broadcast_to(mask, shape).reshape(at.shape)
    while total.shape[0] == 1 and total.ndim > 2:
        total = total[0]
    return at, total


def scaled(value) -> tuple[float, Value | None]:
    """(number, x) of number * x."""
    number, factors = product(value) if isinstance(value, Value) else (1.0, [])
    return number, factors[0] if len(factors) == 1 and isinstance(factors[0], Value) else None


def only(graph: Graph, first: Value, scores: Value, consumers) -> bool:
    """Whether nothing else reads the scores on their way from the product to the softmax."""
    value = scores
    while graph.only_consumer(value, consumers) is not None:
        if value is first:
            return True
        value = next(v for v in value.node.inputs if isinstance(v, Value))
    return False


def fits(q: Value, turned: Value, v: Value, result: Value) -> bool:
    return (2 <= q.ndim <= MOST_LEADING + 2 and q.ndim == turned.ndim == v.ndim == result.ndim
            and q.shape[:-2] == turned.shape[:-2] == v.shape[:-2])


def usable(mask, tolerant: bool) -> bool:
    if mask is None:
        return True
    if mask.dtype != np.float32 or not len(mask.shape):
        return False
    lowest = -1e30   # as good as -inf among scores, and -inf itself leaves no key
    return tolerant or isinstance(mask, np.ndarray) and bool((mask > lowest).any(-1).all())
