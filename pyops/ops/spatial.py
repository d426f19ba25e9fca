"""Arguments that image ops share: one value or one per spatial axis."""
from __future__ import annotations

from functools import lru_cache

from ..core.symbolic import index

MOST = 2**31 - 1   # kernels count positions in 63 bits, and multiply two such numbers


def axes(value, n: int, op: str, name: str, least: int = 0) -> tuple[int, ...]:
    """`value` (an int, or n of them) as a tuple of n ints, each at least `least` and below 2^31.
    Raises ValueError or TypeError with the rule."""
    return _axes(ints(value, op, name), n, op, name, least)


def ints(value, op: str, name: str):
    """`value` with its integers made plain, a list made a tuple: what a cache may be keyed by (1.0
    would find the entry of 1)."""
    if type(value) is int or isinstance(value, str):
        return value
    try:
        return (tuple(map(index, value)) if isinstance(value, (tuple, list))
                else index(value))
    except TypeError:
        raise TypeError(f"{op}: {name} must be an int or ints, got {value!r}") from None


@lru_cache(4096)
def _axes(value, n, op, name, least):
    values = value if isinstance(value, tuple) else (value,) * n
    if len(values) == 1:
        values *= n
    if isinstance(value, str) or len(values) != n:
        raise ValueError(f"{op}: {name} must be an int or {n} ints, got {value!r}")
    if any(v < least for v in values):
        raise ValueError(f"{op}: {name} must be at least {least}, got {value!r}")
    return bounded(values, op, name)


def bounded(values: tuple[int, ...], op: str, name: str) -> tuple[int, ...]:
    """`values`, each within 31 bits and a sign. Raises ValueError with the rule."""
    if values and (max(values) > MOST or min(values) < -MOST):
        raise ValueError(f"{op}: {name} must be below 2^31, got {values[0] if len(values) == 1 else values}")
    return values


def three(values: tuple[int, ...], fill: int) -> tuple[int, int, int]:
    """`values` for up to three spatial axes, with `fill` for the missing leading ones:
    what kernels take."""
    return (fill,) * (3 - len(values)) + values
