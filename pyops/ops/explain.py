"""Errors in the caller's words: rows know their inputs by number and themselves by the row's name,
a caller knows what was written."""
from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from ..core.dispatch import InputError
from ..core.registry import OPS


def explained(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
              error: Exception) -> Exception | None:
    """`error` of function(*args, **kwargs) with the function's name and that of the argument at
    fault; None where it says so already."""
    name = function.__name__
    if isinstance(error, AttributeError):
        given = [*args, *kwargs.values()]
        given += [v for several in given if isinstance(several, (list, tuple)) for v in several]
        if hasattr(error.obj, "shape") or not any(error.obj is v for v in given):
            return None
        return TypeError(f"{name}: {argument(function, args, kwargs, error.obj)} must be an array, a Tensor "
                         f"or a DLPack exporter, got {type(error.obj).__name__}")
    said = str(error)
    row, colon, rest = said.partition(": ")
    if not colon or row not in OPS:
        return None
    if isinstance(error, InputError):
        rest = re.sub(r"^input \d+", argument(function, args, kwargs, error.value), rest, count=1)
    kind = TypeError if isinstance(error, InputError) else type(error)
    return kind(f"{name}: {rest}") if f"{name}: {rest}" != said else None


def argument(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> str:
    """The name of the parameter that `value` was given to, or "input" where it is none of them."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
    except TypeError:
        return "input"
    for name, found in given.items():
        if found is value:
            return name
        if isinstance(found, (list, tuple)) and any(v is value for v in found):
            return f"{name}[{next(i for i, v in enumerate(found) if v is value)}]"
    return "input"
