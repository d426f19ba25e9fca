"""Rows that a producer can apply in its epilogue, as kernels/blocked/epilogue.h takes them."""
from __future__ import annotations

import math
from typing import NamedTuple

from ..core.registry import Op


class Act(NamedTuple):
    """An activation of csrc/activations.inc by name, and its numbers: the bounds of a clamp, the
    slope or alpha of others."""
    name: str
    a: float = 0.0
    b: float = 0.0

    def __str__(self):
        if self == NONE:
            return ""
        if self.name == "clamp":
            return "relu" if self == RELU else f"clamp({self.a:g}, {self.b:g})"
        return self.name


NONE = Act("clamp", -math.inf, math.inf)
RELU = Act("clamp", 0.0, math.inf)


def activation(row: Op, attrs: dict) -> Act | None:
    """The activation that a call of `row` is, if a producer can apply it; else None."""
    found = row.epilogue(**attrs) if row.epilogue else None
    if found is None:
        return None
    name, *operands = found
    return Act(name, *map(float, operands))
