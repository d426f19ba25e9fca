"""Texts of different lengths side by side in rows, so that next to no padding is computed. Krell et
al. (2021), "Efficient sequence packing without cross-contamination"."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import functional as F

MULTIPLE = 32   # of which the length of rows is one, so that a Program meets few sizes


class Rows(NamedTuple):
    """ids, positions, begin and end (R, L): tokens, where each stands in its text, and where that text
    begins and ends in the row, both 0 where there is none. places: of each text, its row and where it
    begins there."""
    ids: np.ndarray
    positions: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    places: list[tuple[int, int]]


def rows(texts: Sequence[np.ndarray]) -> Rows:
    """The longest first, each into the first row with room for it (first-fit decreasing). A row is as
    long as the longest text, up to a multiple of 32."""
    length = -(-max(map(len, texts)) // MULTIPLE) * MULTIPLE
    used: list[int] = []
    places = [(0, 0)] * len(texts)
    for i in sorted(range(len(texts)), key=lambda i: -len(texts[i])):
        row = next((r for r, taken in enumerate(used) if taken + len(texts[i]) <= length), len(used))
        if row == len(used):
            used.append(0)
        places[i] = row, used[row]
        used[row] += len(texts[i])
    found = Rows(*(np.zeros((len(used), length), np.int64) for _ in range(4)), places)
    for i, (row, begin) in enumerate(places):
        here = slice(begin, begin + len(texts[i]))
        found.ids[row, here], found.begin[row, here], found.end[row, here] = texts[i], here.start, here.stop
        found.positions[row, here] = np.arange(len(texts[i]))
    return found


def laid(found: Rows, values: Sequence[np.ndarray]) -> np.ndarray:
    """(R, L) int64: something else that each text has for every token."""
    out = np.zeros_like(found.ids)
    for (row, begin), one in zip(found.places, values):
        out[row, begin:begin + len(one)] = one
    return out


class Spans(NamedTuple):
    """What attention takes in place of a mask: of each token (R, 1, L) where its own text begins and ends
    in its row; begin None: at the row's."""
    begin: Any
    end: Any

    @classmethod
    def of(cls, begin: Any, end: Any) -> Spans:
        """From arrays (R, L)."""
        return cls(F.unsqueeze(begin, 1), F.unsqueeze(end, 1))


def row_of(name: str, text: Any) -> np.ndarray:
    """An array of what should be a row of numbers. ValueError for rows within rows of other lengths."""
    try:
        return np.asarray(getattr(text, "data", text) if hasattr(text, "requires_grad") else text)
    except ValueError:
        raise ValueError(f"{name} must be a row of whole numbers, got {text!r}") from None


def told(text: np.ndarray) -> str:
    """What an array holds, for messages."""
    return f"{text.dtype} from {text.min()} to {text.max()}" if text.dtype.kind in "biuf" else f"{text.dtype}"


def checked(name: str, texts: Any, vocabulary: int, positions: int, what: str = "text") -> list[np.ndarray]:
    """Rows of whole numbers as int64 arrays. ValueError that names the one that is none."""
    listed = hasattr(texts, "__len__") and not isinstance(texts, (str, bytes, Mapping))
    found = [row_of(f"{name}: {what} {i}", text) for i, text in enumerate(texts)] if listed else []
    if not found:
        raise ValueError(f"{name}: there is no {what}")
    for i, text in enumerate(found):
        if text.ndim != 1 or not 1 <= len(text) <= positions:
            raise ValueError(f"{name}: {what} {i} must be a row of 1 to {positions} tokens, got shape {text.shape}")
        if text.dtype.kind not in "iu" or text.min() < 0 or text.max() >= vocabulary:
            raise ValueError(f"{name}: {what} {i} must be whole numbers from 0 to {vocabulary - 1}, got {told(text)}")
    return [text.astype(np.int64) for text in found]
