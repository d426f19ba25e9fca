"""What an op's glue may ask of a backend, and what a call may: the contracts, as
types that a checker sees.

Backends are written apart from each other (instruction sets, the reference, CUDA, its emulator, the
tracer's and the tests' stand-ins); what one of them lacks is an error of `mypy` here, and of
tests/rows/test_backends.py, rather than an AttributeError in the op that needs it.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .types import Array


@runtime_checkable
class Kernels(Protocol):
    """The kernels of one element type. Besides these, every row of the tables of kernels is an
    attribute: kernels.relu(x, y).

    real: "f32" or "f64". dtype: of inputs and results. acc: of what sums and
    statistics are kept in.
    """

    @property
    def real(self) -> str: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def acc(self) -> np.dtype[Any]: ...

    def empty(self, shape: Any, dtype: Any = None) -> Array:
        """A result or scratch, not yet written; by convention the first is the op's first output,
        on which `out=` rests."""
        ...

    def host(self, array: Array) -> Array | None:
        """`array` for Python to look into; None where that would have to wait for a device."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Where calls go. missing: why it cannot run here, or "". sets: its kernels by element type.
    by_default: `pyops validate` runs it unasked."""

    @property
    def name(self) -> str: ...

    @property
    def by_default(self) -> bool: ...

    @property
    def missing(self) -> str: ...

    @property
    def sets(self) -> Mapping[str, Kernels]: ...

    def run(self, op: Any, real: Any, inputs: Any, attrs: Any, out: Any = None) -> Any:
        """op(*inputs, **attrs) for plain contiguous arrays of one element type, into `out` if
        given."""
        ...
