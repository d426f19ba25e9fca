"""What a kernel's machine code says of its cost: instructions that it issues for a byte that it moves,
and for a multiply-add.

Nobody runs the code, so how often a loop turns is taken from what the launch has to do. A product's
instructions are those of the loop that holds most of its multiply-adds; what stands around it runs once
a tile. Other kernels move their arrays once, so that bytes count them; a second way through the code,
for arrays that cannot be read in packets, has its own bytes and changes the quotient little.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ...cuda.machine_code import Instruction, listing

WARP = 32
_MATRIX = re.compile(r"(HMMA|DMMA|HGMMA)\.(\d+x\d+x\d+|\d+)")
# the sides of a product that one instruction computes, as its name has them
SIDES = {"16816": (16, 8, 16), "1688": (16, 8, 8), "1684": (16, 8, 4), "884": (8, 8, 4)}
_WIDTH = re.compile(r"\.(U?8|U?16|S8|S16|64|128)\b")


@dataclass(frozen=True)
class Costs:
    """Of a kernel. per_byte: warp instructions for a byte of global memory read or written; per_flop: for
    a flop, 0 where its loops multiply nothing; unit and wgmma: as in model.Work."""
    per_byte: float
    per_flop: float
    unit: str
    wgmma: bool


@lru_cache(1024)
def costs(file: str, kernel: str, real: str, arch: str, defines: tuple[tuple[str, object], ...]) -> Costs:
    """Of kernels/`file`'s `kernel`, compiled so."""
    return costs_of(listing(file, real, arch, **dict(defines))[kernel], real)


def costs_of(code: Sequence[Instruction], real: str) -> Costs:
    code = [i for i in code if i.name != "NOP"]
    moved = sum(map(width, code)) * WARP
    found = loops(code)
    most = max((sum(map(flops, body)) for body in found), default=0)
    # the shortest that holds half of what any holds: one around it has what is done once a tile as well
    loop = min((body for body in found if most and 2 * sum(map(flops, body)) >= most), key=len, default=code)
    of_loop = sum(map(flops, loop)) if most else 0
    # loops within it that multiply nothing copy what cannot be read in packets
    copies = {i.address for body in found if len(body) < len(loop) and not sum(map(flops, body)) for i in body}
    turned = [i for i in loop if i.address not in copies]
    matrix = next((m[1] for i in loop if (m := _MATRIX.match(i.name))), "")
    unit = "" if not matrix else "f64" if matrix == "DMMA" else "tf32" if real == "f32" else "half"
    return Costs(len(code) / max(moved, WARP), len(turned) / of_loop if of_loop else 0.0, unit, matrix == "HGMMA")


def loops(code: Sequence[Instruction]) -> list[list[Instruction]]:
    """Bodies of loops, from the target of a jump backwards to the jump."""
    found = [(i.target, i.address) for i in code if i.target is not None and i.target < i.address]
    return [[i for i in code if a <= i.address <= b] for a, b in found]


def flops(instruction: Instruction) -> float:
    """Of one warp's instruction; multiply-adds count as two."""
    if match := _MATRIX.match(instruction.name):
        m, n, k = SIDES[match[2]] if match[2] in SIDES else map(int, match[2].split("x"))
        return 2 * m * n * k / (4 if match[1] == "HGMMA" else 1)   # that one is four warps'
    return 2 * WARP if instruction.name.startswith(("FFMA", "DFMA")) else 0


def width(instruction: Instruction) -> int:
    """Bytes of global memory that a thread reads or writes by it."""
    if instruction.name.startswith("LDGSTS"):   # straight into shared memory
        return 16 if ".128" in instruction.name else 4
    if not instruction.name.startswith(("LDG", "STG")):
        return 0
    found = _WIDTH.search(instruction.name)
    return 4 if not found else int(found[1].lstrip("US")) // 8
