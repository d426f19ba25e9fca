"""The table of operators, and what a row sees of a node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...graph.trace import Traced
from ..limits import Limits
from ..model import ModelError, dtypes
from ..values import is_plain, kind

OPS: dict[str, Callable] = {}
KEEPS: set[str] = set()
MOST_NUMBERS = 1 << 16  # of a shape, axes, pads


class Unsupported(ModelError):
    """An operator with arguments for which there is no counterpart here."""


@dataclass
class Call:
    """A node with its inputs, None where one is left out. evaluate(graph, inputs) runs a subgraph
    with the values around it.
    """

    node: Any
    inputs: list
    evaluate: Callable
    limits: Limits

    def room(self, shape, dtype=np.float32, copies: int = 1) -> tuple[int, ...]:
        """The shape of what is about to be made, as ints; ValueError where `copies` of it are more
        than may be.
        """
        return self.limits.room(shape, dtype, copies)

    def number(self, i, name):
        """One known number, as Python's."""
        values = known(self[i], name)
        if values.size != 1:
            raise ValueError(f"{name} must be one number, got shape {values.shape}")
        return values.reshape(-1)[0].item()

    def work(self, operations) -> None:
        """ValueError where so many multiply-adds are more than may be done."""
        self.limits.work(operations)

    def __getitem__(self, i):
        return self.inputs[i] if i < len(self.inputs) else None

    def attr(self, name, default=None):
        return self.node.attrs.get(name, default)

    @property
    def version(self) -> int:
        return self.node.version

    def wants(self, i) -> bool:
        """Whether somebody names output i."""
        return len(self.node.outputs) > i and bool(self.node.outputs[i])

    def numbers(self, i, name=None, default=None):
        """An argument that must be known while compiling, as a list: input i, or the attribute of
        older operator sets.
        """
        if self[i] is not None:
            values = known(self[i], name or f"input {i}").reshape(-1)
            if (
                len(values) > MOST_NUMBERS
                or values.dtype.kind not in "iufO"
                and values.dtype.name not in ("float16", "bfloat16")
            ):
                raise ValueError(
                    f"{name or f'input {i}'} must be at most {MOST_NUMBERS} numbers, got {len(values)} "
                    f"of {values.dtype}"
                )
            return [v.item() if isinstance(v, np.generic) else v for v in values]
        value = self.attr(name, default)
        return list(value) if isinstance(value, (list, tuple)) else value


def op(*names, keeps: bool = False):
    """Enters a row. keeps: it takes half precision as it comes, and its results have the types they
    should have; others compute in float32.
    """

    def enter(function):
        for name in names:
            assert name not in OPS, name
            OPS[name] = function
            if keeps:
                KEEPS.add(name)
        return function

    return enter


def dtype_of(code: int) -> np.dtype:
    """The type that an attribute names by ONNX's number."""
    if code not in dtypes():
        raise ValueError(f"type {code} is none of ONNX's")
    return np.dtype(dtypes()[code])


def known(value, what):
    if isinstance(value, Traced):
        value.asked()
        raise Unsupported(
            f"{what} depends on the model's input; shapes and indices must be known when a Program is made"
        )
    if not is_plain(value):
        raise ValueError(f"{what} must be an array, got {kind(value)}")
    return np.asarray(value)


def traced(*values) -> bool:
    return any(isinstance(v, Traced) for v in values)


def needs(call, count: int) -> None:
    """Refuses a node that lacks one of its first inputs: of other domains no schema does."""
    absent = next((i for i in range(count) if call[i] is None), None)
    if absent is not None:
        raise ValueError(f"input {absent} is left out, the first {count} are needed")


def real(*values) -> bool:
    """Whether our kernels take them: traced, or float32 or float64 of one type."""
    types = {np.dtype(v.dtype) for v in values if v is not None}
    return traced(*values) or len(types) == 1 and types <= {np.dtype(np.float32), np.dtype(np.float64)}


def rank(x) -> int:
    if not is_plain(x):
        raise ValueError(f"takes an array, got {kind(x)}")
    return len(x.shape)


def axis_of(axis: int, n: int) -> int:
    """An axis counted from the front, of n."""
    if not -n <= axis < n:
        raise ValueError(f"axis {axis} is outside of [{-n}, {n - 1}], the axes of {n}")
    return axis % n


def axes_of(axes, n: int) -> tuple[int, ...]:
    """Several axes, counted from the front; none twice."""
    found = tuple(axis_of(a, n) for a in axes)
    if len(set(found)) < len(found):
        raise ValueError(f"axes {list(axes)} name one of {n} twice")
    return found
