"""Activations as exporters spell them out, x * sigmoid(x) and the like, become the rows that they
are; a PReLU whose slopes are one number is a leaky ReLU.

A product is seen as a number and a list of factors, whatever the order and the brackets; a pattern
is that number, and what each factor is of the one value x that they come from. What is left of the
old calls nothing needs any more, and drop_dead removes it.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..ir import Graph, Value

Recognised = Callable[[Value], Value | None]   # a value -> the x of which it is the function, or None


def run(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op == "prelu" and (slope := number_of(node.inputs[1])) is not None:   # which layers can apply
            node.op, node.inputs, node.attrs = "leaky_relu", node.inputs[:1], {"slope": slope}
        if node.op not in ("mul", "div") or node.output.dtype != np.float32:
            continue
        number, factors = product(node.output)
        for row, wanted, of_x in PATTERNS:
            x = matched(number, factors, wanted, of_x)
            if x is not None and x.shape == node.output.shape:
                node.op, node.inputs, node.attrs = row, [x], {}
                break


def matched(number: float, factors: list, wanted: float, of_x: tuple[Recognised, ...]) -> Value | None:
    """The x that the factors are of, one for each function in any order."""
    if not close(number, wanted) or len(factors) != len(of_x):
        return None
    for order in (factors, factors[::-1]):
        found = [function(value) for function, value in zip(of_x, order)]
        if found[0] is not None and all(x is found[0] for x in found):
            return found[0]
    return None


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=2e-6, abs_tol=1e-12)   # as exporters round constants to float32


def number_of(value) -> float | None:
    """The number that a constant repeats, if it is one."""
    if isinstance(value, np.ndarray) and value.size and value.dtype.kind in "fiu":
        first = value.reshape(-1)[0]
        if value.size == 1 or value.size <= 1 << 16 and bool(np.all(value == first)):
            return float(first)
    return None


def product(value: Value) -> tuple[float, list[Value]]:
    """value = number * factors; a factor is no product with a number."""
    number, factors, left = 1.0, [], [value]
    while left:
        value = left.pop()
        node = value.node
        if node is None or node.op not in ("mul", "div"):
            factors.append(value)
            continue
        a, b = node.inputs
        constant = number_of(b)
        if node.op == "div" and (constant is None or not constant or not isinstance(a, Value)):
            factors.append(value)   # by no number
        elif node.op == "div":
            number /= constant
            left.append(a)
        elif constant is not None and isinstance(a, Value):
            number *= constant
            left.append(a)
        elif number_of(a) is not None and isinstance(b, Value):
            number *= number_of(a)
            left.append(b)
        elif isinstance(a, Value) and isinstance(b, Value) and len(factors) + len(left) < 4:
            left += [b, a]
        else:
            factors.append(value)
    return number, factors


def argument(value: Value, op: str) -> Value | None:
    """x of value = op(x)."""
    node = value.node
    return (node.inputs[0] if node is not None and node.op == op and isinstance(node.inputs[0], Value)
            else None)


def plus(value: Value, wanted: float) -> Value | None:
    """x of value = x + wanted."""
    node = value.node
    if node is None or node.op != "add" or node.attrs.get("alpha", 1) != 1:
        return None
    for x, constant in (node.inputs, node.inputs[::-1]):
        number = number_of(constant)
        if isinstance(x, Value) and number is not None and close(number, wanted):
            return x
    return None


def times(value: Value, wanted: float) -> Value | None:
    """x of value = wanted x."""
    number, factors = product(value)
    return factors[0] if len(factors) == 1 and close(number, wanted) else None


def chain(*steps: Recognised) -> Recognised:
    """Functions undone one after the other, the outermost first."""
    def undo(value: Value) -> Value | None:
        found: Value | None = value
        for step in steps:
            found = None if found is None else step(found)
        return found
    return undo


def itself(value: Value) -> Value | None:
    return value


def clamped(value: Value, low: float, high: float) -> Value | None:
    node = value.node
    if node is None or node.op not in ("clamp", "hardtanh") or (node.attrs["low"],
                                                                node.attrs["high"]) != (low, high):
        return None
    return argument(value, node.op)


def with_cube(value: Value) -> Value | None:
    """x of value = x + 0.044715 x^3."""
    node = value.node
    if node is None or node.op != "add" or node.attrs.get("alpha", 1) != 1 or not all(isinstance(v, Value)
                                                                                      for v in node.inputs):
        return None
    for x, cube in (node.inputs, node.inputs[::-1]):
        number, factors = product(cube)
        if not close(number, 0.044715):
            continue
        powers = [v if v is x else raised(v) for v in factors]
        if powers == [x, x, x] or len(factors) == 1 and powers[0] == (x, 3.0) or len(factors) == 2 and {
                id(x), 2.0} == {id(p) if p is x else p[1]
                                for p in powers if p is x or isinstance(p, tuple) and p[0] is x}:
            return x
    return None


def raised(value: Value):
    """(x, n) of value = x^n."""
    node = value.node
    if node is not None and node.op == "square":
        return node.inputs[0], 2.0
    if node is not None and node.op == "pow" and isinstance(node.inputs[0], Value):
        return node.inputs[0], number_of(node.inputs[1])
    return value


def one_more(of: Recognised) -> Recognised:
    return chain(lambda v: plus(v, 1.0), of)


# row, the number, what the factors are
PATTERNS: tuple[tuple[str, float, tuple[Recognised, ...]], ...] = (
    ("silu", 1.0, (itself, lambda v: argument(v, "sigmoid"))),
    ("gelu", 0.5, (itself, one_more(chain(lambda v: argument(v, "erf"), lambda v: times(v, math.sqrt(0.5)))))),
    ("gelu_tanh", 0.5, (itself, one_more(chain(lambda v: argument(v, "tanh"),
                                               lambda v: times(v, math.sqrt(2 / math.pi)), with_cube)))),
    ("mish", 1.0, (itself, chain(lambda v: argument(v, "tanh"), lambda v: argument(v, "softplus")))),
    ("hardswish", 1 / 6, (itself, chain(lambda v: clamped(v, 0.0, 6.0), lambda v: plus(v, 3.0)))),
    ("hardswish", 1.0, (itself, lambda v: argument(v, "hardsigmoid"))),
    ("hardsigmoid", 1 / 6, (chain(lambda v: clamped(v, 0.0, 6.0), lambda v: plus(v, 3.0)),)),
)


