"""What a name of a graph stands for: an array, a traced value, a sequence (a list of them), or an
optional value that is empty."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np


class Empty:
    """An optional value that holds nothing. Outside of models it is None."""

    def __repr__(self) -> str:
        return "an empty optional"


EMPTY = Empty()


def leaves(value: Any) -> Iterator[Any]:
    """The arrays and traced values in a value."""
    if isinstance(value, list):
        for part in value:
            yield from leaves(part)
    elif value is not EMPTY and value is not None:
        yield value


def is_plain(value: Any) -> bool:
    """Whether it is one array or traced value."""
    return value is not EMPTY and not isinstance(value, list)


def given(value: Any) -> Any:
    """What a caller gives: lists and tuples are sequences where they hold arrays or nothing, None
    is an empty optional."""
    if value is None:
        return EMPTY
    if isinstance(value, (list, tuple)):
        return [given(part) for part in value]
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind == "U" else array


def returned(value: Any) -> Any:
    """The same, back."""
    if value is EMPTY:
        return None
    return [returned(part) for part in value] if isinstance(value, list) else value


def kind(value: Any) -> str:
    """For messages."""
    if value is EMPTY:
        return repr(value)
    return f"a sequence of {len(value)}" if isinstance(value, list) else name_of(value.dtype)


@lru_cache(256)
def name_of(dtype: Any) -> str:
    """A type's name, which it takes long to say."""
    return np.dtype(dtype).name
