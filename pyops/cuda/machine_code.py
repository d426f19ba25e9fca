"""Facts about compiled kernels' instructions (SASS), read with cuobjdump and
nvdisasm, which need no GPU.

kernels/cuda_promises.txt lists what a kernel promises: `file:kernel type arch INSTRUCTION ...`, an
instruction's prefix such as HMMA (tensor cores), LDSM (ldmatrix), LDGSTS (cp.async), LDG.E.128
(16-byte loads); a minus before it promises that there is none (-LDL: no local memory), and <4000
that the whole kernel is shorter than so many instructions.
"""
from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from .nvrtc import compile_cubin
from .source import KERNELS, kernel_source

PROMISES = KERNELS / "cuda_promises.txt"
_INSTRUCTION = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P[T\d]+\s+)?([A-Z][A-Za-z0-9_.]*)([^;]*)")


class Instruction(NamedTuple):
    address: int
    name: str             # with its modifiers: LDG.E.128
    target: int | None    # of a jump


@lru_cache(1)
def tool() -> str | None:
    """cuobjdump's path, or None."""
    try:
        from cuda.pathfinder import find_nvidia_binary_utility
        return find_nvidia_binary_utility("cuobjdump")
    except Exception:   # absent package, or one that finds nothing: both mean that there is none
        return None


def missing() -> str:
    """Why machine code cannot be read here; empty if it can."""
    return ("" if tool()
            else "cuobjdump is not installed: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm")


def instructions(file: str, real: str, arch: str, **defines) -> dict[str, Counter]:
    """Kernel -> how often each instruction stands in it; arguments as listing's."""
    return {kernel: Counter(i.name for i in code)
            for kernel, code in listing(file, real, arch, **defines).items()}


@lru_cache(64)
def listing(file: str, real: str, arch: str, **defines) -> dict[str, list[Instruction]]:
    """Kernel -> its instructions, for kernels/`file` compiled for `real` and `arch` with these
    macros."""
    cubin, _ = compile_cubin(kernel_source(file, real, **defines), arch)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as kept:
        kept.write(cubin)
        kept.flush()
        text = subprocess.run([tool(), "-sass", kept.name], capture_output=True, text=True, check=True,
                              env={"PATH": f"{Path(tool()).parent}:/usr/bin:/bin"}).stdout
    found: dict = {}
    for line in text.splitlines():
        if name := re.search(r"Function : (\S+)", line):
            code = found.setdefault(name[1], [])
        elif found and (match := _INSTRUCTION.match(line)):
            address, name, rest = match.groups()
            jump = re.search(r"0x([0-9a-f]+)\s*$", rest) if name.startswith("BRA") else None
            code.append(Instruction(int(address, 16), name, int(jump[1], 16) if jump else None))
    return found


def promises() -> list[tuple[str, str, str, str, list[str]]]:
    """(file, kernel, type, architecture, instructions) of every line."""
    rows = [line.split() for line in PROMISES.read_text().splitlines() if line and not line.startswith("#")]
    return [(*name.split(":"), real, arch, wanted) for name, real, arch, *wanted in rows]


def broken(file, kernel, real, arch, wanted) -> list[str]:
    """Which of the promises a kernel does not keep."""
    found = instructions(file, real, arch)
    if kernel not in found:
        return [f"{file} has no kernel {kernel} for {arch}"]
    count = lambda prefix: sum(n for name, n in found[kernel].items() if name.startswith(prefix))   # noqa: E731
    long = [f"{file}:{kernel} ({real}, {arch}) has {count('')} instructions, not {w}" for w in wanted
            if w.startswith("<") and count("") >= int(w[1:])]
    return long + [f"{file}:{kernel} ({real}, {arch}) has {count(w.lstrip('-'))} x {w.lstrip('-')}"
                   for w in wanted
                   if not w.startswith("<") and bool(count(w.lstrip("-"))) == w.startswith("-")]
