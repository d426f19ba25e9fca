"""What a model takes and returns, arrays within tuples, lists and dicts: taken apart into a list,
and put together again."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def flatten(value: Any, take: Callable[..., Any]) -> Any:
    """`value` with take(leaf) for each leaf: the place of an array among the results, or
    ("constant", leaf)."""
    return (rebuilt(value, lambda part: flatten(part, take)) if isinstance(value, (dict, tuple, list))
            else take(value))


def unflatten(structure: Any, results: Any) -> Any:
    """`structure` with its places replaced by the results there, and each ("constant",
    leaf) by the leaf: arrays by copies, which the caller may write to."""
    if isinstance(structure, int):
        return results[structure]
    if isinstance(structure, tuple) and len(structure) == 2 and structure[0] == "constant":
        held = structure[1]
        return held.copy() if isinstance(held, np.ndarray) else held
    return rebuilt(structure, lambda part: unflatten(part, results))


def arrays_in(structure: Any) -> list[np.ndarray]:
    """The arrays among a structure's constants."""
    if isinstance(structure, tuple) and len(structure) == 2 and structure[0] == "constant":
        return [structure[1]] if isinstance(structure[1], np.ndarray) else []
    parts = structure.values() if isinstance(structure, dict) else structure
    return [a for part in parts for a in arrays_in(part)] if not isinstance(structure, int) else []


def rebuilt(value, change: Callable):
    """A dict, tuple, named tuple or list with change(part) for each of its parts."""
    if isinstance(value, dict):
        return {k: change(v) for k, v in value.items()}
    parts = [change(v) for v in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
