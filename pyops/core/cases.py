"""What rows are tried on: calls that must give the right values (Case), and calls that must be
refused (Bad).
They are data, in kernels/<family>/cases.py: CASES, REFUSES and CHAINS, dicts from a row's name to a
list. Only tests, `pyops validate` and the benchmarks read them, by Op.cases, Op.refuses and
Op.chains, and nothing else imports those files.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import kernels


@dataclass(slots=True, eq=False)
class Array:
    """An input of a case, described: a shape and where its values come from.

    values: normal | positive (0.1 .. 2) | unit (0.05 .. 0.95) | distinct (a shuffled grid: no two
    equal) | int (low .. high - 1, of type `whole`) | bool. Values are multiplied by scale, then
    offset is added, to stress cancellation; grad=False keeps the input out of the gradient tests.
    """
    shape: tuple[int, ...]
    values: str = "normal"
    low: int = 0
    high: int = 2
    offset: float = 0.0
    grad: bool = True
    scale: float = 1.0
    whole: str = "int64"

    @property
    def real(self) -> bool:
        return self.values not in ("int", "bool")

    def make(self, dtype, rng: np.random.Generator) -> np.ndarray:
        if self.values == "int":
            return rng.integers(self.low, self.high, self.shape, dtype=np.int64).astype(self.whole)
        if self.values == "bool":
            return np.asarray(rng.random(self.shape) < 0.5)
        if self.values == "positive":
            a = rng.uniform(0.1, 2, self.shape)
        elif self.values == "unit":
            a = rng.uniform(0.05, 0.95, self.shape)
        elif self.values == "distinct":
            n = int(np.prod(self.shape))
            a = (rng.permutation(n).reshape(self.shape) + 0.5) * (4 / max(n, 1)) - 2
        else:
            a = rng.standard_normal(self.shape)
        return np.asarray(a * self.scale + self.offset, dtype)


def A(*shape: int, **how) -> Array:
    """A random input of this shape."""
    return Array(shape, **how)


def I(*shape: int, high: int, low: int = 0, whole: str = "int64") -> Array:  # noqa: E743
    """A random input of whole numbers of this shape and type with values in [low, high)."""
    return Array(shape, "int", low, high, whole=whole)


def B(*shape: int) -> Array:
    """A random input of truth values of this shape."""
    return Array(shape, "bool")


@dataclass(slots=True, eq=False)
class Case:
    """One call through the public door. `why` names the case in test ids and says what it is there
    to catch.
    """
    why: str
    call: str                             # a name in pyops.functional
    args: tuple
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float | None = None        # allowed error when it is not the op's own
    # other name or callable (torch, *args) -> result; None: torch has no counterpart
    torch: str | Callable | None = ""
    gradient: bool = True                 # False: not differentiable here, or torch has no gradient
    # the first axis of every real argument in `batched` and of the result is the batch
    batch: bool = False
    batched: tuple[int, ...] = (0,)
    exact: bool = True                    # False: the gradient takes something that depends on inputs as a constant
    # instead of one call: several, chain(F, *args); only checked in compiled form
    chain: Callable | None = None

    def arguments(self, dtype, seed: int = 0) -> tuple[list, dict]:
        """The call's arguments with every Array made, in `dtype`, from `seed`. Arrays in a list
        argument are made too.
        """
        rng = np.random.default_rng(seed)

        def make(a):
            if isinstance(a, Array):
                return a.make(dtype, rng)
            return [make(v) for v in a] if isinstance(a, list) else a
        return [make(a) for a in self.args], {k: make(v) for k, v in self.kwargs.items()}


def case(why: str, call: str, *args, tolerance=None, torch="", gradient=True, batch=False, batched=(0,),
         exact=True, **kwargs) -> Case:
    return Case(why, call, args, kwargs, tolerance, torch, gradient, batch, tuple(batched), exact)


def chain(why: str, function: Callable, *args, tolerance=64, batch=True, batched=(0,)) -> Case:
    """Several calls that the compiler may put into one kernel: function(F, *arrays)."""
    return Case(why, "chain", args, {}, tolerance, None, False, batch, tuple(batched), chain=function)


@dataclass(slots=True, eq=False)
class Bad:
    """A call that must be refused, with `match` in the message, before any kernel sees it."""
    why: str
    call: str
    args: tuple
    kwargs: Mapping[str, Any]
    match: str
    error: type[Exception] = ValueError


def bad(why: str, call: str, *args, match: str, error=ValueError, **kwargs) -> Bad:
    return Bad(why, call, args, kwargs, match, error)


@lru_cache
def tables() -> tuple[dict[str, list[Case]], dict[str, list[Bad]], dict[str, list[Case]]]:
    """The CASES, the REFUSES and the CHAINS of all families. ValueError where two
    families name one row."""
    joined: tuple[dict, dict, dict] = ({}, {}, {})
    for file in sorted(Path(kernels.__file__).parent.glob("*/cases.py")):
        module = import_module(f"{kernels.__name__}.{file.parent.name}.cases")
        for into, found in zip(joined,
                               (getattr(module, name, {}) for name in ("CASES", "REFUSES", "CHAINS"))):
            if twice := into.keys() & found:
                raise ValueError(
                    f"{file.parent.name}/cases.py: {', '.join(sorted(twice))} has cases in another family")
            into.update(found)
    return joined
