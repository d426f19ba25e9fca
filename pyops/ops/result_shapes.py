"""Shapes of results from shapes of inputs, of plain numbers or of sizes that carry a formula: the
trait `shapes` of rows."""
from __future__ import annotations

from typing import Any

Shape = tuple[Any, ...]


def first(x: Shape, *_: Shape | None, **__: Any) -> tuple[Shape]:
    """That of the first input."""
    return (x,)


def given(*_: Shape | None, shape: Shape, **__: Any) -> tuple[Shape]:
    """The attribute `shape`."""
    return (shape,)


def broadcast(*shapes: Shape | None, **_: Any) -> tuple[Shape]:
    """What all of them broadcast to."""
    every = [s for s in shapes if s is not None]
    axes = max(map(len, every))
    return (tuple(joined([s[i - axes] for s in every if axes - i <= len(s)]) for i in range(axes)),)


def joined(sizes: list[Any]) -> Any:
    """The size of an axis, of those that are 1 or one and the same."""
    found: Any = 1
    for n in sizes:
        if n is not found and found == 1:
            found = n
        elif n is not found and n != 1 and n != found:
            raise ValueError(f"sizes {sizes} of one axis do not broadcast")
    return found
