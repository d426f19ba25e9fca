"""Validation of anybody's .cu file: `pyops validate --kernel FILE.cu`, with no GPU or on one.

Beside FILE.cu lies FILE.cases.py, which says how the kernels are launched and what must come out:

    import numpy as np
    from pyops.cuda.user_kernel import KernelCase

    def cases():
        x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
        yield KernelCase("n1000", "double_it", grid=(4,), block=(256,), args=[x, np.empty_like(x),
        np.int32(1000)], expected={1: 2 * x})

Every case runs with all accesses checked and, if nothing was found, unchecked with threads in three
orders; outputs start as NaN.
"""
from __future__ import annotations

import runpy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .emulator import Module, Report
from .source import Source

ORDERS = {"ascending": 0, "descending": 1, "random": 7}


@dataclass(frozen=True)
class KernelCase:
    """One launch. args are NumPy arrays (pointers) and NumPy scalars or None, as the kernel's
    parameters are; expected maps the position of an argument that the kernel writes to what it must
    hold afterwards, within tolerance x eps x max(1, the largest expected magnitude).
    """
    name: str
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    args: Sequence
    expected: Mapping[int, np.ndarray]
    shared: int = 0
    tolerance: float = 64
    defines: Mapping[str, object] | None = None
    updates: frozenset[int] = frozenset()

    def __post_init__(self):
        for i in {*self.expected, *self.updates}:
            if not (0 <= i < len(self.args) and isinstance(self.args[i], np.ndarray)):
                raise ValueError(f"case {self.name}: expected or updates names argument {i}, which is no "
                                 f"array among the {len(self.args)} arguments")

    def fresh(self) -> list:
        """Copies of the arguments; float arrays that are written and not in `updates` (read first)
        hold NaN, so that a gap is seen."""
        return [a if not isinstance(a, np.ndarray) else np.full_like(a, np.nan) if self._written(i, a)
                else a.copy() for i, a in enumerate(self.args)]

    def _written(self, i, a):
        return i in self.expected and i not in self.updates and a.dtype.kind == "f"


def cases_of(path: Path) -> list[KernelCase]:
    """The cases in FILE.cases.py beside FILE.cu. FileNotFoundError says what to write where
    there is no such file."""
    beside = path.with_name(path.stem + ".cases.py")
    if not beside.exists():
        raise FileNotFoundError(f"{beside.name} is not beside {path.name}: it must define cases(), an "
                                "iterable of KernelCase (see pyops.cuda.user_kernel)")
    namespace = runpy.run_path(str(beside))
    if "cases" not in namespace:
        raise ValueError(f"{beside.name} defines no cases()")
    found = list(namespace["cases"]())
    if not found:
        raise ValueError(f"{beside.name}: cases() gives none")
    return found


def failures(path: Path, cases: Iterable[KernelCase]) -> Iterable[tuple[KernelCase, str, str]]:
    """(case, run, what was wrong or "") for every run of every case on the emulator."""
    for case in cases:
        source = Source(path, "f32", tuple(sorted((case.defines or {}).items())))
        wrong = _one(Module.of(source, True), case, 0)
        yield case, "checked", wrong
        if not wrong:   # unchecked, a stray store would hit this process
            for name, order in ORDERS.items():
                yield case, name, _one(Module.of(source, False), case, order)


def _one(module, case, order) -> str:
    args = case.fresh()
    try:
        report: Report = module.function(case.kernel)(case.grid, case.block, args, case.shared, order=order)
    except (TypeError, ValueError) as why:
        return str(why)
    if report.errors:
        return str(report)
    return "; ".join(filter(None,
                            (compare(i, args[i], want, case.tolerance) for i, want in case.expected.items())))


def compare(position, got, want, tolerance) -> str:
    """What is wrong with argument `position`, or ""."""
    want = np.asarray(want)
    if got.shape != want.shape:
        return f"argument {position} has shape {got.shape}, expected {want.shape}"
    if got.dtype.kind != "f":
        bad = np.argwhere(got != want)
        return (f"argument {position} differs in {len(bad)} places, first {bad[0].tolist()}" if len(bad)
                else "")
    scale = max(1.0, float(np.nanmax(np.abs(want), initial=0)))
    error = np.abs(got.astype(np.float64) - want)
    worst = float(np.max(error, initial=0)) / (float(np.finfo(got.dtype).eps) * scale)
    if worst <= tolerance:
        return ""
    at = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error))), got.shape)
    return (f"argument {position} is {got[at]} at {tuple(map(int, at))}, expected {want[at]}: off by "
            f"{worst:.0f} eps, {tolerance:.0f} allowed")
