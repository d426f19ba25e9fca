"""Tensor: an array that remembers which ops made it, so that gradients can be taken in reverse mode.

The tape's nodes are op rows; each row's gradient rule is itself written in ops. With create_graph the rules see Tensors and can be
differentiated again, otherwise they see plain arrays and cost nothing beyond their kernels.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

_recording: ContextVar[bool] = ContextVar("pyops_recording", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Within the block ops record nothing."""
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


def recording() -> bool:
    """Whether ops on Tensors are recorded here."""
    return _recording.get()


@dataclass(slots=True)
class Node:
    """One recorded call. `inputs` are as they were given; `outputs` are arrays."""
    op: Any
    inputs: tuple
    attrs: dict
    outputs: tuple


@dataclass(slots=True)
class Context:
    """What a gradient rule sees. Values are arrays, or Tensors under create_graph.

    g: gradient of the first output; grads: of each output, None where nothing depends on it; inputs, outputs: of the call;
    attrs: its attributes; needs: per input, whether its gradient is wanted.
    """
    grads: tuple
    inputs: tuple
    outputs: tuple
    attrs: dict
    needs: tuple[bool, ...]

    @property
    def g(self):
        return self.grads[0]


def per_input(*rules: Callable | None) -> Callable:
    """A gradient rule from one line an input: rule(g, ctx) -> gradient, or None where there is none. Unwanted ones are not run."""
    def gradient(ctx: Context):
        return tuple(rule(ctx.g, ctx) if rule and need else None for rule, need in zip(rules, ctx.needs))
    return gradient


class Tensor:
    """A NumPy array (`data`) with a gradient (`grad`, an array or, under create_graph, a Tensor) and a place on the tape."""

    __slots__ = ("data", "grad", "requires_grad", "node", "index", "__weakref__")
    __array_priority__ = 1000

    def __init__(self, data, requires_grad: bool = False):
        self.data = np.asarray(data.data if isinstance(data, Tensor) else data)
        if requires_grad and self.data.dtype.kind != "f":
            raise TypeError(f"Tensor: only float tensors have gradients, got {self.data.dtype}")
        self.requires_grad = requires_grad
        self.grad = None
        self.node = None
        self.index = 0

    @staticmethod
    def __pyops_call__(op, inputs, attrs):
        arrays = tuple(v.data if isinstance(v, Tensor) else v for v in inputs)
        result = op(*arrays, **attrs)
        outputs = result if isinstance(result, tuple) else (result,)
        if _recording.get() and any(isinstance(v, Tensor) and v.requires_grad for v in inputs):
            node = Node(op, inputs, attrs, outputs)
            wrapped = tuple(_on_tape(o, node, i) for i, o in enumerate(outputs))
        else:
            wrapped = tuple(map(Tensor, outputs))
        return wrapped if isinstance(result, tuple) else wrapped[0]

    def backward(self, gradient=None, create_graph: bool = False) -> None:
        """Adds d(self)/d(leaf) to `grad` of every leaf that requires it. `gradient` is needed unless self has one element."""
        for leaf, g in _gradients([self], [gradient], create_graph).items():
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    def detach(self) -> "Tensor":
        return Tensor(self.data)

    def numpy(self) -> np.ndarray:
        return self.data

    def item(self) -> float:
        return self.data.item()

    shape = property(lambda self: self.data.shape)
    dtype = property(lambda self: self.data.dtype)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)

    def __len__(self):
        return len(self.data)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.data, dtype, copy=copy) if copy else np.asarray(self.data, dtype)

    def __repr__(self):
        return f"Tensor({self.data!r}{', requires_grad=True' if self.requires_grad else ''})"


def _on_tape(array, node, index) -> Tensor:
    """A Tensor for output `index` of `node`; integer outputs (indices) carry no gradient."""
    tensor = Tensor(array)
    if tensor.data.dtype.kind == "f":
        tensor.requires_grad, tensor.node, tensor.index = True, node, index
    return tensor


def _order(roots: Sequence[Tensor]) -> list[Node]:
    """Nodes that `roots` depend on, consumers before producers (an explicit stack: graphs are deeper than Python's recursion)."""
    order, seen = [], set()
    stack = [(t.node, False) for t in roots if t.node is not None]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(v.node, False) for v in node.inputs if isinstance(v, Tensor) and v.node is not None]
    return order[::-1]


def _seed(root: Tensor, gradient):
    if not root.requires_grad:
        raise ValueError("backward: this tensor does not depend on anything that requires a gradient")
    if gradient is None:
        if root.data.size != 1:
            raise ValueError(f"backward: a tensor of shape {root.shape} needs `gradient`; only one element can do without")
        return np.ones_like(root.data)
    array = np.asarray(gradient.data if isinstance(gradient, Tensor) else gradient)
    if array.shape != root.shape or array.dtype != root.dtype:
        raise ValueError(f"backward: gradient is {array.dtype} {array.shape}, the tensor {root.dtype} {root.shape}")
    return gradient


def _gradients(roots, gradients, create_graph) -> dict[Tensor, Any]:
    """Leaf -> gradient of the sum of roots weighted by gradients."""
    leaves: dict[Tensor, Any] = {}
    pending: dict[int, list] = {}

    def give(tensor, g):
        if tensor.node is None:
            leaves[tensor] = g if tensor not in leaves else leaves[tensor] + g
        else:
            slots = pending.setdefault(id(tensor.node), [None] * len(tensor.node.outputs))
            slots[tensor.index] = g if slots[tensor.index] is None else slots[tensor.index] + g

    for root, gradient in zip(roots, gradients):
        seed = _seed(root, gradient)
        give(root, Tensor(seed) if create_graph and not isinstance(seed, Tensor) else
             seed.data if isinstance(seed, Tensor) and not create_graph else seed)
    wanted = {}
    for node in _order(roots):
        grads = pending.pop(id(node), None)
        if grads is None:
            continue
        wanted = tuple(isinstance(v, Tensor) and v.requires_grad for v in node.inputs)
        for value, g in zip(node.inputs, _apply(node, grads, wanted, create_graph), strict=True):
            if g is not None and isinstance(value, Tensor) and value.requires_grad:
                give(value, g)
    return leaves


def _apply(node, grads, needs, create_graph):
    if node.op.gradient is None:
        raise ValueError(f"backward: {node.op.name} has no gradient rule, so nothing can be differentiated through it (a second derivative?)")
    if create_graph:
        outputs = tuple(_on_tape(o, node, i) for i, o in enumerate(node.outputs))
        return node.op.gradient(Context(tuple(grads), node.inputs, outputs, node.attrs, needs))
    inputs = tuple(v.data if isinstance(v, Tensor) else v for v in node.inputs)
    return node.op.gradient(Context(tuple(grads), inputs, node.outputs, node.attrs, needs))


def grad(outputs, inputs: Sequence[Tensor], gradients=None, create_graph: bool = False) -> tuple:
    """Gradients of the sum of `outputs` (weighted by `gradients`) for `inputs`, without touching their `.grad`.

    inputs must be leaves (made with requires_grad=True). A gradient is None where nothing depends on the input.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    gradients = [None] * len(outputs) if gradients is None else [gradients] if not isinstance(gradients, (list, tuple)) else gradients
    found = _gradients(outputs, gradients, create_graph)
    return tuple(found.get(t) for t in inputs)
