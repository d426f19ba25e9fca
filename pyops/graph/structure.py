"""What a model takes and returns, arrays within tuples, lists and dicts: taken apart into a list,
and put together again."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def flatten(value: Any, take: Callable[..., Any]) -> Any:
    """`value` with take(leaf) for each leaf: the place of an array among the results, or
    ("constant", leaf)."""
    return (rebuilt(value, lambda part: flatten(part, take)) if isinstance(value, (dict, tuple, list))
            else take(value))


def unflatten(structure: Any, results: Any) -> Any:
    """`structure` with its places replaced by the results there, and each ("constant",
    leaf) by the leaf."""
    if isinstance(structure, int):
        return results[structure]
    if isinstance(structure, tuple) and len(structure) == 2 and structure[0] == "constant":
        return structure[1]
    return rebuilt(structure, lambda part: unflatten(part, results))


def rebuilt(value, change: Callable):
    """A dict, tuple, named tuple or list with change(part) for each of its parts."""
    if isinstance(value, dict):
        return {k: change(v) for k, v in value.items()}
    parts = [change(v) for v in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
