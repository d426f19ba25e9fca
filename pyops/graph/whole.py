"""Whole numbers in a float's type, whose sums have to stay exact: quantised layers compute with
them."""
from __future__ import annotations

from typing import Any

import numpy as np

from .ir import Value


def whole_numbers(weight: np.ndarray[Any, Any]) -> bool:
    some = weight.reshape(-1)[:64]
    return np.array_equal(some, np.rint(some)) and np.array_equal(weight, np.rint(weight))


def from_whole_numbers(value: Value) -> bool:
    """Whether a value is whole numbers: a cast of them, less a zero point, a part of it or with a
    border."""
    node = value.node
    if node is None:
        return False
    if node.op == "cast":
        return node.inputs[0].dtype.kind in "iub"
    if node.op == "dequantise":   # by a scale of one
        return isinstance(node.inputs[1], np.ndarray) and whole_numbers(node.inputs[1])
    if node.op == "fake_quantise":
        return bool(node.attrs["by"] == 1)
    if node.op not in ("add", "getitem", "pad", "reshape"):
        return False
    return any(from_whole_numbers(v) for v in node.inputs if isinstance(v, Value))
