"""Numbers that layers are made with, checked where a layer is made."""
from __future__ import annotations

import operator


def whole(layer: str, **sizes: object) -> None:
    """TypeError or ValueError unless every one of `sizes` is a positive int."""
    for name, size in sizes.items():
        try:
            number = operator.index(size)   # type: ignore[arg-type]
        except TypeError:
            raise TypeError(f"{layer}: {name} must be an int, got {size!r} ({type(size).__name__})") from None
        if number < 0:
            raise ValueError(f"{layer}: {name} must not be negative, got {number}")
