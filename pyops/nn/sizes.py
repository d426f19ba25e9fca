"""Numbers that layers are made with, checked where a layer is made."""
from __future__ import annotations

import operator


def whole(layer: str, **sizes: object) -> None:
    """TypeError or ValueError unless every one of `sizes` is an int that is not negative."""
    for name, size in sizes.items():
        if (number := as_int(layer, name, size)) < 0:
            raise ValueError(f"{layer}: {name} must not be negative, got {number}")


def positive(network: str, **sizes: object) -> None:
    """TypeError or ValueError unless every one of `sizes` is an int of at least 1."""
    for name, size in sizes.items():
        if (number := as_int(network, name, size)) < 1:
            raise ValueError(f"{network}: {name} must be at least 1, got {number}")


def as_int(owner: str, name: str, size: object) -> int:
    try:
        if isinstance(size, bool):   # which Python would take for 0 or 1
            raise TypeError
        return operator.index(size)   # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{owner}: {name} must be an int, got {size!r} ({type(size).__name__})") from None
