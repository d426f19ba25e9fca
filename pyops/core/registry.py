"""One row per op. Tests, `pyops validate`, the tape and the benchmarks are loops over `OPS`."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._C import probe
from .backends import active

if TYPE_CHECKING:
    from .cases import Bad, Case

OPS: dict[str, "Op"] = {}


@dataclass(frozen=True, eq=False)
class Op:
    """A row: everything about one op.

    kinds has a letter per input: r real, o real or None, i int64, j int64 or None; a trailing * repeats the letter before it.
    forward(kernels, *inputs, **attrs) allocates with kernels.empty and calls kernels.<name>; reference(*inputs, **attrs) is the
    NumPy definition with the same results. check(*inputs, **attrs) raises ValueError for what the op refuses; forward calls it
    (through a cache, by shapes) and so does the reference backend. gradient(ctx) returns one gradient per input, in terms of ops
    (see tensor.Context). flops and bytes take what `reference` takes.
    """
    name: str
    kinds: str
    forward: Callable
    reference: Callable
    gradient: Callable | None = None      # None: not differentiable
    check: Callable | None = None
    kernels: Sequence[str] = ()           # rows of csrc/kernels.inc it calls
    flops: Callable | None = None
    bytes: Callable | None = None
    tolerance: float = 64                 # allowed error in eps(dtype) x the largest expected magnitude, with the reason beside it
    todo: Mapping[str, str] = field(default_factory=dict)   # backend -> why it has no kernels yet

    def __post_init__(self):
        assert self.name not in OPS, f"{self.name} registered twice"
        OPS[self.name] = self

    @property
    def cases(self) -> Sequence[Case]:
        """The calls that every backend must compute, from kernels/<family>/cases.py."""
        from .cases import tables
        return tables()[0].get(self.name, ())

    @property
    def refuses(self) -> Sequence[Bad]:
        """The calls that must be refused, from the same file."""
        from .cases import tables
        return tables()[1].get(self.name, ())

    @property
    def chains(self) -> Sequence[Case]:
        """Calls of this row among others, as the compiler fuses them, from the same file."""
        from .cases import tables
        return tables()[2].get(self.name, ())

    def __call__(self, *inputs, out=None, **attrs):
        real = probe(inputs, self.kinds)
        if real is not None and out is None:
            return active.get().run(self, real, inputs, attrs)
        from .dispatch import call
        return call(self, inputs, attrs, out)
