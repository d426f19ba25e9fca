"""NumPy's names for what torch calls dim and keepdim: every op with these takes axis= and
keepdims= as well."""
from __future__ import annotations

from typing import Any


def axis_or_dim(op: str, dim: Any, axis: Any, default: Any = None) -> Any:
    """The axes that a call names by `dim` or by `axis`. TypeError where it names both."""
    if axis is None:
        return dim
    if dim is not default and dim != default:
        raise TypeError(f"{op}: dim={dim} and axis={axis} are one argument under two names; give one")
    return axis


def required_axis(op: str, dim: Any, axis: Any) -> Any:
    """As axis_or_dim, for ops that need one."""
    dim = axis_or_dim(op, dim, axis)
    if dim is None:
        raise TypeError(f"{op}: dim is missing: which axis?")
    return dim
