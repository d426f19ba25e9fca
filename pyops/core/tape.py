"""The tape: which ops made a value, and the walk back over them that gives gradients.

Nodes are calls of op rows; each row's gradient rule is itself written in ops. With create_graph the
rules see Tensors and can be differentiated again, otherwise they see plain arrays and cost nothing
beyond their kernels.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import memory
from .late import Late
from .registry import OPS

spelled = Late("pyops.ops.spelled")   # rows by rows that all have gradients: wanted by create_graph only
_recording: ContextVar[bool] = ContextVar("pyops_recording", default=True)
_changes = 0   # how many times a Tensor was changed in place, in this process


class no_grad(ContextDecorator):
    """Within the block, or the function that it decorates, ops record nothing."""

    # a class of its own, as a generator's takes as long as a small call
    __slots__ = ("_before",)
    _before: tuple[Token[bool], Any]   # and that of the block around, where it is the same object's

    def __enter__(self) -> None:
        self._before = _recording.set(False), getattr(self, "_before", None)

    def __exit__(self, *raised: object) -> None:
        token, self._before = self._before
        _recording.reset(token)

    def _recreate_cm(self) -> no_grad:
        return no_grad()


def recording() -> bool:
    """Whether ops on Tensors are recorded here."""
    return _recording.get()


class OnTape:
    """What the tape knows of a Tensor.

    data: the array. grad: its gradient, an array or, under create_graph, a Tensor. node, index: the
    call that made it and which of its outputs it is; None for a leaf. changed: the count of changes
    in place when it last was changed so.
    """

    __slots__ = ("data", "grad", "requires_grad", "node", "index", "changed", "__weakref__")

    data: Any
    grad: Any
    requires_grad: bool
    node: Node | None
    index: int
    changed: int

    def numbers(self, what: str) -> Any:
        """`data`, for `what`: a value that has a shape only says who asked."""
        return self.data

    def note_change(self) -> None:
        """Called after `data` was written to: gradients of earlier calls that read it would be
        wrong, and are refused."""
        global _changes
        _changes += 1
        self.changed = _changes


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """One recorded call. `inputs` are as they were given; `outputs` are arrays; `made` is the count
    of changes in place at the time."""
    op: Any
    inputs: tuple[Any, ...]
    attrs: dict[str, Any]
    outputs: tuple[Any, ...]
    made: int

    def __repr__(self) -> str:
        return f"<{self.op.name} of {', '.join(map(_brief, self.inputs))}>"


def _brief(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else repr(value)


@dataclass(slots=True, eq=False, repr=False)
class Context:
    """What a gradient rule sees. Values are arrays, or Tensors under create_graph.

    g: gradient of the first output; grads: of each output, None where nothing depends
    on it; inputs, outputs: of the call; attrs: its attributes; needs: per input,
    whether its gradient is wanted.
    """
    grads: tuple[Any, ...]
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    attrs: dict[str, Any]
    needs: tuple[bool, ...]

    @property
    def g(self) -> Any:
        return self.grads[0]


def per_input(*rules: Callable[..., Any] | None) -> Callable[..., Any]:
    """A gradient rule from one line an input: rule(g, ctx) -> gradient, or None where there is
    none. Unwanted ones are not run."""
    def gradient(ctx: Context) -> tuple[Any, ...]:
        return tuple(rule(ctx.g, ctx) if rule and need else None for rule, need in zip(rules, ctx.needs))
    return gradient


def record(op: Any, inputs: tuple[Any, ...], attrs: dict[str, Any], kind: type) -> Any:
    """op(*inputs) on the arrays of `inputs`, wrapped as `kind`, and on the tape where an input
    requires a gradient."""
    arrays = tuple([v.data if isinstance(v, OnTape) else v for v in inputs])
    result = op(*arrays, **attrs)
    outputs = result if isinstance(result, tuple) else (result,)
    if _recording.get() and any(isinstance(v, OnTape) and v.requires_grad for v in inputs):
        node = Node(op, inputs, attrs, outputs, _changes)
        wrapped = tuple([on_tape(kind, o, node, i) for i, o in enumerate(outputs)])
    else:
        wrapped = tuple([kind(o) for o in outputs])
    return wrapped if isinstance(result, tuple) else wrapped[0]


def on_tape(kind: type, array: Any, node: Node, index: int) -> Any:
    """A Tensor for output `index` of `node`; integer outputs (indices) carry no gradient."""
    tensor = kind(array)
    if tensor.data.dtype.kind == "f":
        tensor.requires_grad, tensor.node, tensor.index = True, node, index
    return tensor


def order(roots: Sequence[OnTape], ends: frozenset[int] = frozenset()) -> list[Node]:
    """Nodes that `roots` depend on, consumers before producers (an explicit stack: graphs are
    deeper than Python's recursion). ends: ids of Tensors behind which nothing counts."""
    found: list[Node] = []
    seen: set[int] = set()
    stack = [(t.node, False) for t in roots if t.node is not None and id(t) not in ends]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack += [(v.node, False) for v in node.inputs
                      if isinstance(v, OnTape) and v.node is not None and id(v) not in ends]
    return found[::-1]


def _seed(root: OnTape, gradient: Any) -> Any:
    shape = tuple(root.data.shape)
    if not root.requires_grad:
        raise ValueError("backward: this tensor does not depend on anything that requires a gradient")
    if gradient is None:
        if root.data.size != 1:
            raise ValueError(f"backward: a tensor of shape {shape} needs `gradient`; only one element can do "
                             "without (take .sum() or .mean())")
        return np.ones_like(root.data)
    if isinstance(gradient, (int, float)):
        gradient = np.asarray(gradient, root.data.dtype)
    array = np.asarray(gradient.data if isinstance(gradient, OnTape) else gradient)
    if array.shape != shape or array.dtype != root.data.dtype:
        raise ValueError(
            f"backward: gradient is {array.dtype} {array.shape}, the tensor {root.data.dtype} {shape}")
    return gradient if isinstance(gradient, OnTape) else array


def gradients(roots: Sequence[OnTape], seeds: Sequence[Any], create_graph: bool,
              kind: type, ends: frozenset[int] = frozenset()) -> dict[Any, Any]:
    """Leaf -> gradient of the sum of roots weighted by seeds; as Tensors of `kind`
    under create_graph. ends: ids of Tensors that are taken for leaves."""
    leaves: dict[Any, Any] = {}
    pending: dict[int, list[Any]] = {}
    own: set[tuple[int, int]] = set()   # places whose arrays were made here: others may be shared

    def give(tensor: OnTape, g: Any, index: tuple[Any, ...] | None = None) -> None:
        """index: the part of the Tensor that g is of."""
        if tensor.node is None or id(tensor) in ends:
            place: Any = leaves
            at: Any = tensor
            before, key = leaves.get(tensor), (id(tensor), -1)
        else:
            place, at = pending.setdefault(id(tensor.node), [None] * len(tensor.node.outputs)), tensor.index
            before, key = place[at], (id(tensor.node), tensor.index)
        if index is None:
            place[at] = g if before is None else summed(before, g)
        else:
            place[at] = placed(before if key in own else None if before is None else np.array(before), g, index, tensor)
        if before is not None or index is not None:
            own.add(key)

    for root, seed in zip(roots, seeds):
        seed = _seed(root, seed)
        give(root, kind(seed) if create_graph and not isinstance(seed, OnTape) else
             seed.data if isinstance(seed, OnTape) and not create_graph else seed)
    for node in order(roots, ends):
        grads = pending.pop(id(node), None)
        if grads is None:
            continue
        part = node.op.name == "getitem" and not create_graph and isinstance(grads[0], np.ndarray)
        if part and grads[0].size < node.inputs[0].data.size:   # what is only turned is turned back, a view
            refuse_changed(node)
            give(node.inputs[0], grads[0], node.attrs["index"])
            continue
        wanted = tuple([isinstance(v, OnTape) and v.requires_grad for v in node.inputs])
        for value, g in zip(node.inputs, _apply(node, grads, wanted, create_graph, kind), strict=True):
            if g is not None and isinstance(value, OnTape) and value.requires_grad:
                give(value, g)
    return leaves


LARGE = 1 << 16   # values from which an addition is worth several threads


def summed(before: Any, g: Any) -> Any:
    """What a Tensor was given, and one more gradient, in an array of its own."""
    plain = isinstance(before, np.ndarray) and isinstance(g, np.ndarray) and before.size >= LARGE
    return OPS["add"](before, g, alpha=1.0) if plain else before + g


def placed(before: np.ndarray | None, g: np.ndarray, index: tuple[Any, ...], tensor: OnTape) -> np.ndarray:
    """The same of a part, in place: the parts of one value are written into one array, which is never
    added up whole. Slices of a value do not meet themselves."""
    if before is None:
        before = memory.empty(tensor.data.shape, g.dtype)   # pages that were used before
        before[...] = 0
    found = np.asarray(before)   # sums of arrays without axes are NumPy's scalars
    found[index] += g
    return found


def refuse_changed(node: Node) -> None:
    """RuntimeError where an input was changed since the call, so that its gradient would be wrong."""
    for i, value in enumerate(node.inputs):
        if isinstance(value, OnTape) and value.changed > node.made:
            raise RuntimeError(
                f"backward: input {i} of {node.op.name}, {_brief(value)}, was changed in place after the "
                "call, so its gradient would be wrong; change a copy (t.clone()), or after backward")


def _apply(node: Node, grads: list[Any], needs: tuple[bool, ...], create_graph: bool, kind: type) -> Any:
    if node.op.gradient is None:
        raise ValueError(f"backward: {node.op.name} has no gradient rule, so nothing can be differentiated "
                         "through it (a second derivative?)")
    refuse_changed(node)
    if create_graph and node.op.name in spelled.SPELLED:
        return _spelled_out(node, grads, needs, kind)
    if create_graph:
        outputs = tuple(on_tape(kind, o, node, i) for i, o in enumerate(node.outputs))
        return node.op.gradient(Context(tuple(grads), node.inputs, outputs, node.attrs, needs))
    inputs = tuple([v.data if isinstance(v, OnTape) else v for v in node.inputs])
    return node.op.gradient(Context(tuple(grads), inputs, node.outputs, node.attrs, needs))


def _spelled_out(node: Node, grads: list[Any], needs: tuple[bool, ...], kind: type) -> tuple[Any, ...]:
    """A call's gradients, on the tape: through the same call spelled out."""
    function, slope = spelled.SPELLED[node.op.name]
    if slope:
        return (grads[0] * function(node.inputs[0], **node.attrs),)
    result = function(*node.inputs, **node.attrs)
    results = result if isinstance(result, tuple) else (result,)
    pairs = [(r, g) for r, g in zip(results, grads) if g is not None and isinstance(r, OnTape) and r.requires_grad]
    found = gradients([r for r, _ in pairs], [g for _, g in pairs], True, kind,
                      frozenset(id(v) for v in node.inputs if isinstance(v, OnTape)))
    # an input that is given twice has its gradient once
    first = {id(v): i for i, v in reversed(list(enumerate(node.inputs)))}
    return tuple(found.get(v) if need and first[id(v)] == i else None
                 for i, (v, need) in enumerate(zip(node.inputs, needs)))
