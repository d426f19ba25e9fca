"""How float32 products are computed on a GPU.

    strict    in float32 by the ordinary units (the default)
    3xtf32    by tensor cores, each product as three of TF32: float32's accuracy but for the last bits
    tf32      by tensor cores, operands rounded to 10 bits of mantissa: what torch calls allow_tf32
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PRECISIONS = ("strict", "3xtf32", "tf32")
_precision: ContextVar[str] = ContextVar("pyops_cuda_precision", default="strict")


@contextmanager
def precision(name: str) -> Iterator[None]:
    """Within the block float32 convolutions and matrix products on a GPU (or its emulator) are
    computed as `name` says."""
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r} is not one of {', '.join(PRECISIONS)}")
    token = _precision.set(name)
    try:
        yield
    finally:
        _precision.reset(token)


def current() -> str:
    return _precision.get()
