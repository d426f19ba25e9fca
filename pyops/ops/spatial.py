"""Arguments that image ops share: one value or one per spatial axis."""
from __future__ import annotations

import operator
from functools import lru_cache


def axes(value, n: int, op: str, name: str, least: int = 0) -> tuple[int, ...]:
    """`value` (an int, or n of them) as a tuple of n ints, each at least `least`. Raises ValueError or TypeError with the rule."""
    return _axes(tuple(value) if isinstance(value, list) else value, n, op, name, least)


@lru_cache(4096, typed=True)   # typed: 1.0 must not find the entry of 1
def _axes(value, n, op, name, least):
    try:
        values = tuple(map(operator.index, value)) if isinstance(value, tuple) else (operator.index(value),) * n
    except TypeError:
        raise TypeError(f"{op}: {name} must be an int or {n} ints, got {value!r}") from None
    if len(values) == 1:
        values *= n
    if len(values) != n:
        raise ValueError(f"{op}: {name} must be an int or {n} ints, got {value!r}")
    if min(values) < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {value!r}")
    return values


def three(values: tuple[int, ...], fill: int) -> tuple[int, int, int]:
    """`values` for up to three spatial axes, with `fill` for the missing leading ones: what kernels take."""
    return (fill,) * (3 - len(values)) + values
