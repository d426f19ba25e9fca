"""The walk back through a network with other rules at its rectifiers: guided backpropagation and
the deconvnet. Poolings hand on to where their maxima were and convolutions are transposed, as in
gradients."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ..core import tape
from ..core.tensor import Tensor

# (what comes from behind, the rectifier's own gradient rule) -> what goes on
Rectify: TypeAlias = Callable[[Any, Callable[[Any], Any]], Any]

# Rows whose layers let positive values pass more than negative ones, and torch's nodes of their gradients
RECTIFIERS = {"relu": "Relu", "leaky_relu": "LeakyRelu", "prelu": "Prelu", "hardtanh": "Hardtanh", "elu": "Elu",
              "gelu": "Gelu", "gelu_tanh": "Gelu", "silu": "Silu", "mish": "Mish", "hardswish": "Hardswish",
              "softplus": "Softplus", "threshold": "Threshold"}


def guided(g: Any, rule: Callable[[Any], Any]) -> Any:
    """Only what speaks for the score, and only where the unit was active."""
    return rule(g * (g > 0))


def deconvolved(g: Any, rule: Callable[[Any], Any]) -> Any:
    """Only what speaks for the score, wherever the unit was."""
    return g * (g > 0)


def unhindered(g: Any, rule: Callable[[Any], Any]) -> Any:
    """As though there were no rectifier."""
    return g


def walk(roots: Sequence[Tensor], seeds: Sequence[np.ndarray], leaf: Tensor,
         rule: Callable[[tape.Node, Any, tuple[bool, ...]], Sequence[Any]]) -> np.ndarray | None:
    """What reaches `leaf` from the seeds at roots, by rule(node, what came for each of its outputs,
    which inputs want it) -> what goes to each input. None where nothing does."""
    arrived: np.ndarray | None = None
    pending: dict[int, list[Any]] = {}

    def give(tensor: Any, g: Any) -> None:
        nonlocal arrived
        if tensor is leaf:
            arrived = g if arrived is None else arrived + g
        elif tensor.node is not None:
            slots = pending.setdefault(id(tensor.node), [None] * len(tensor.node.outputs))
            slots[tensor.index] = g if slots[tensor.index] is None else slots[tensor.index] + g
    for root, seed in zip(roots, seeds):
        give(root, seed)
    for node in tape.order(roots):
        grads = pending.pop(id(node), None)
        if grads is None:
            continue
        wanted = tuple(isinstance(v, Tensor) and v.requires_grad for v in node.inputs)
        for value, g in zip(node.inputs, rule(node, grads, wanted), strict=True):
            if g is not None and isinstance(value, Tensor) and value.requires_grad:
                give(value, g)
    return arrived


def by_gradient(node: tape.Node, grads: Sequence[Any], wanted: tuple[bool, ...]) -> Sequence[Any]:
    """The row's own gradient rule."""
    if node.op.gradient is None:
        raise ValueError(f"{node.op.name} has no gradient, so nothing can be seen through it")
    inputs = tuple(v.data if isinstance(v, Tensor) else v for v in node.inputs)
    return node.op.gradient(tape.Context(tuple(grads), inputs, node.outputs, node.attrs, wanted))


def rectified(rectify: Rectify) -> Callable[[tape.Node, Any, tuple[bool, ...]], Sequence[Any]]:
    """A rule of `walk`: `rectify` at rectifiers, gradients elsewhere."""
    def rule(node: tape.Node, grads: Any, wanted: tuple[bool, ...]) -> Sequence[Any]:
        if node.op.name not in RECTIFIERS:
            return by_gradient(node, grads, wanted)
        return (rectify(grads[0], lambda g: by_gradient(node, (g,), wanted)[0]), *[None] * (len(node.inputs) - 1))
    return rule


def hook_torch(roots: Sequence[Any], rectify: Rectify) -> list[Any]:
    """`rectify` at the rectifiers behind roots in torch's graph. Returns the hooks' handles."""
    names = {f"{name}Backward0" for name in RECTIFIERS.values()}
    stack, seen, handles = [root.grad_fn for root in roots], set(), []
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack += [behind for behind, _ in node.next_functions]
        if node.name() in names and rectify is guided:
            handles.append(node.register_prehook(lambda outer: (guided(outer[0], lambda g: g),)))
        elif node.name() in names:
            handles.append(node.register_hook(lambda inner, outer: (rectify(outer[0], lambda g: g), *inner[1:])))
    return handles
