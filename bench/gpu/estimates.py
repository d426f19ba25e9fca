"""How long each row of the benchmark is expected to take on an H200: model.py, with what the row launches
and what the machine code of that costs. NOT MEASURED; a run confirms or refutes it.

    python -m pyops.bench.gpu estimates            print them
    python -m pyops.bench.gpu estimates --write    and keep them in estimates.txt, for machines without NVRTC
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..gpu_rows import ROWS, Row
from .code_costs import Costs, costs
from .launches import Launch, launches, rows_and_precisions
from .model import H200, Limits, Work, seconds

TABLE = Path(__file__).with_name("estimates.txt")
HEADER = ("# row | type | milliseconds | what limits it: not measured, computed by bench/gpu/model.py from machine "
          "code and shapes\n")


@dataclass(frozen=True)
class Estimate:
    ms: float
    limit: str   # memory, issue, tensor or launch


def estimate(row: Row, precision: str, limits: Limits = H200) -> Estimate:
    """Needs NVRTC and cuobjdump, but no GPU."""
    found = launches(row, precision)
    ms, limit = seconds(works(row, precision, found, [code_of(launch) for launch in found]), limits)
    return Estimate(1e3 * ms, limit)


def works(row: Row, precision: str, found: Sequence[Launch], code: Sequence[Costs]) -> list[Work]:
    """The launches' work. The row's flops are shared out among those that multiply in their loops; the
    first launch of all reads and writes no less than the row must."""
    flops = row.flops * (3 if precision == "3xtf32" else 1)
    tensor = [c for c in code if c.unit]
    multiplying = [c for c in code if c.per_flop and (c.unit or not tensor)] if flops else []
    least = row.elements * (2 if precision in ("bf16", "hopper") else 4)
    lacking = max(0, least - sum(launch.bytes for launch in found))
    result = []
    for launch, c in zip(found, code):
        share = flops / len(multiplying) if any(c is m for m in multiplying) else 0.0
        moved, lacking = launch.bytes + lacking, 0
        issued = share * c.per_flop if share else moved * c.per_byte
        result.append(Work(moved, issued, launch.blocks, share if c.unit else 0.0, c.unit if share else "",
                           c.wgmma))
    return result


def code_of(launch: Launch) -> Costs:
    from ...cuda.source import kernel_source
    required = kernel_source(launch.file, launch.real).required
    return costs(launch.file, launch.kernel, launch.real, required if required.endswith("a") else "sm_90",
                 launch.defines)


# ---- the table, which the report reads where there is no NVRTC

def text(match: str = "") -> str:
    """A line a row and type in which `match` is found."""
    return "".join(f"{row.name} | {precision} | {(e := estimate(row, precision)).ms:.4f} | {e.limit}\n"
                   for row, precision in rows_and_precisions(ROWS) if re.search(match, f"{row.name} {precision}"))


def write() -> None:
    TABLE.write_text(HEADER + text())


@lru_cache(1)
def table() -> dict[tuple[str, str], Estimate]:
    """(row, type) -> Estimate, of estimates.txt."""
    lines = (line.split(" | ") for line in TABLE.read_text().splitlines() if not line.startswith("#"))
    return {(name, precision): Estimate(float(ms), limit) for name, precision, ms, limit in lines}
