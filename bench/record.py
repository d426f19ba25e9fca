"""The calls that a piece of work makes, so that a peer can be given the same work.

Calls of pyops.functional are recorded by the names and arguments that torch.nn.functional gives them; rows (registry.Op) for their
arithmetic and traffic.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

import pyops.functional as F
from pyops.backends import get_backend, use_backend
from pyops.tensor import Tensor


@dataclass
class Call:
    name: str       # in pyops.functional
    args: tuple
    kwargs: dict
    result: Any


def plain(value):
    """Tensors as arrays, through tuples, lists and dicts."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(plain, value))
    return value.data if isinstance(value, Tensor) else value


@contextmanager
def calls() -> Iterator[list[Call]]:
    """The calls of pyops.functional made within the block (not those that one of them makes of another)."""
    seen, depth = [], [0]
    originals = {k: f for k, f in vars(F).items() if callable(f) and not k.startswith("_")}

    def recording(name, function):
        @wraps(function)
        def call(*args, **kwargs):
            depth[0] += 1
            try:
                result = function(*args, **kwargs)
            finally:
                depth[0] -= 1
            if not depth[0]:
                seen.append(Call(name, plain(args), plain(kwargs), plain(result)))
            return result
        return call
    vars(F).update({name: recording(name, f) for name, f in originals.items()})
    try:
        yield seen
    finally:
        vars(F).update(originals)


class Counting:
    """The active backend, with the arithmetic and the traffic of every row that runs added up."""

    def __init__(self):
        self.backend = get_backend()
        self.name, self.sets = self.backend.name, self.backend.sets
        self.flops = self.bytes = 0
        self.rows: list[str] = []
        self.unknown: list[str] = []   # rows that do not say what they cost

    def run(self, op, real, inputs, attrs, out=None):
        self.rows.append(op.name)
        if op.flops and op.bytes:
            self.flops += op.flops(*inputs, **attrs)
            self.bytes += op.bytes(*inputs, **attrs)
        elif op.kernels:   # a row without kernels makes a view
            self.unknown.append(op.name)
        return self.backend.run(op, real, inputs, attrs, out)


def count(run) -> Counting:
    counting = Counting()
    with use_backend(counting):
        run()
    return counting


def arrays_of(calls_: list[Call], inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays that calls take and none of them made: a network's weights."""
    made = {address(a) for a in inputs} | {address(c.result) for c in calls_ if isinstance(c.result, np.ndarray)}
    return [a for c in calls_ for a in (*c.args, *c.kwargs.values()) if isinstance(a, np.ndarray) and address(a) not in made]


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
