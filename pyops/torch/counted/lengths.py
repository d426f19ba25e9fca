"""Sizes that a run decides, as numbers that torch's graphs compute with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import functional as F
from ...graph import trace
from ...graph.counted import shared
from ...graph.trace import Traced

INT = np.dtype(np.int64)


@dataclass(frozen=True, eq=False)
class Length:
    """A size that a run decides, a traced int64 without axes, and the most that it can be."""

    value: Traced
    most: float

    def __add__(self, other):
        value, most = of_length(other)
        return Length(shared(("sum", self.value, value), lambda: F.add(self.value, value)), self.most + most)

    def __sub__(self, other):
        value, _ = of_length(other)
        return Length(F.sub(self.value, value), self.most if isinstance(other, Length) else self.most - other)

    def __mul__(self, other):
        value, most = of_length(other)
        return Length(F.mul(self.value, value), self.most * most)

    def __floordiv__(self, other):
        value, _ = of_length(other)
        return Length(F.floor_divide(self.value, value), self.most)

    def __mod__(self, other):
        value, _ = of_length(other)
        return Length(F.remainder(self.value, value), self.most)

    __radd__, __rmul__ = __add__, __mul__


class Compared:
    """Of sizes that a run decides: what torch asserts."""


def of_length(size) -> tuple[Any, float]:
    return (size.value, size.most) if isinstance(size, Length) else (np.asarray(size, INT), size)


def length(value: Traced) -> Length:
    tracer = trace._tracer.get()
    most = None if tracer is None else tracer.most(value.value)
    return Length(value, math.inf if most is None else most)


def least_of(*sizes):
    """sym_min: at most what the smallest can be at most."""
    (a, most), (b, other) = map(of_length, sizes)
    if len({type(s) for s in sizes}) == 2:   # a count and a number: as a slice has it
        count, number = (b, a) if isinstance(a, np.ndarray) else (a, b)
        return Length(shared(("place", count, int(number)), lambda: F.minimum(count, number)), min(most, other))
    return Length(F.minimum(a, b), min(most, other))


def most_of(*sizes):
    (a, most), (b, other) = map(of_length, sizes)
    return Length(F.maximum(a, b), max(most, other))
