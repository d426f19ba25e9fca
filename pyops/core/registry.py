"""One row per op. Tests, `pyops validate`, the tape and the benchmarks are loops over `OPS`."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from .._C import OpBase
from . import backends as backends  # tells OpBase where calls go
from .symbolic import plain

if TYPE_CHECKING:
    from .cases import Bad, Case

OPS: dict[str, Op] = {}


@dataclass(frozen=True, eq=False, repr=False)
class Op(OpBase):
    """A row: everything about one op.

    kinds has a letter per input: r real, o real or None, i int64, j int64 or None, a an array of
    any element type (csrc/elements.inc), as it is, v the same of rows that make views, which take it as it
    lies; a trailing * repeats the letter before it.
    forward(kernels, *inputs, **attrs) allocates with kernels.empty and calls kernels.<name>;
    reference(*inputs, **attrs) is the NumPy definition with the same results. check(*inputs,
    **attrs) raises ValueError for what the op refuses; forward calls it (through a cache, by
    shapes) and so does the reference backend. gradient(ctx) returns one gradient per input, in
    terms of ops (see tensor.Context). macs, flops and bytes take what `reference` takes.

    What follows `todo` are traits: whoever treats some rows alike (the compiler's passes, layouts,
    drawings) reads them, and keeps no list of names. A row that lacks one although it looks as if
    it had it says why in `todo`, under the trait's name.
    """
    name: str
    kinds: str
    forward: Callable
    reference: Callable
    gradient: Callable | None = None      # None: not differentiable
    check: Callable | None = None
    kernels: Sequence[str] = ()           # rows of kernels/<family>/kernels.inc it calls
    macs: Callable | None = None          # multiply-adds, those with padding counted
    flops: Callable | None = None         # where not given, two a multiply-add
    bytes: Callable | None = None
    # allowed error in eps(dtype) x the largest expected magnitude, with the reason beside it
    tolerance: float = 64
    # backend -> why it has no kernels yet; trait -> why it lacks that
    todo: Mapping[str, str] = field(default_factory=dict)
    # inputs broadcast, and a value of the result comes from those at its place alone
    pointwise: bool = False
    activation: bool = False              # what networks put behind a layer, and drawings into its box
    # attrs -> (name in kernels/blocked/epilogue.h, operands) if a producer may apply it, or None
    epilogue: Callable | None = None
    # what the kernels of programs do before they store: "activation", "residual"
    applies: frozenset[str] = frozenset()
    per_sample: bool | Callable = False   # the first axis is the batch, and samples do not mix; or attrs -> bool
    filter_axis: int | None = None   # of input 1: the result's channels lie along it, each with factors of its own
    # (name, *inputs) -> inputs, numbers among them as arrays: what public functions take beyond
    # arrays
    operands: Callable | None = None
    random: bool = False                  # other results in every call, by its seed
    checks_indices: bool = False          # its kernels do: those of a program may be known only when it runs
    # (*shapes of inputs, None for those left out, **attrs) -> shapes of the results, also of sizes that carry
    # a formula; where there is none, glue says what they are, size by size (graph/sized.py)
    shapes: Callable | None = None
    whole: str = ""                       # the row that computes the same of whole numbers and truth values

    def __post_init__(self):
        assert self.name not in OPS, f"{self.name} registered twice"
        if self.flops is None and self.macs is not None:
            object.__setattr__(self, "flops", lambda *inputs, **attrs: 2 * self.macs(*inputs, **attrs))
        OPS[self.name] = self

    def __repr__(self):
        return f"Op({self.name})"

    def __reduce__(self):
        return row_named, (self.name,)

    @cached_property
    def whole_row(self) -> Op | None:
        """The row that `whole` names, which OpBase calls with arrays of whole numbers."""
        return OPS[self.whole] if self.whole else None

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

    def by_dispatch(self, inputs, attrs, out):
        """A call (row(*inputs, out=None, **attrs), which OpBase answers) whose inputs are not all
        plain arrays, or with `out`."""
        from .dispatch import call
        return call(self, inputs, attrs, out)

    def by_operands(self, inputs, attrs, out):
        """The same of row.of_operands(*inputs, out=None, **attrs): numbers become arrays first."""
        return self.by_dispatch(self.operands(self.name, *map(plain, inputs)), attrs, out)


def row_named(name: str) -> Op:
    """The row of this name: what a pickled one comes back as. KeyError if there is none."""
    return OPS[name]
