"""The budget: for every CUDA kernel the most registers, static shared memory and spilled bytes that
any architecture and type may take.

Nothing spills. Where the compiler saves registers that it might have, around the calls that
division and roots become, a least number of blocks in __launch_bounds__ gives them back.

    python -m pyops.cuda.budget            compile all kernels and compare them with kernels/cuda_budget.txt
    python -m pyops.cuda.budget --write    and keep what they take now as the new table
    python -m pyops.cuda.budget --match RE [--write]
                                           of files only in whose name that is found ("^pooling/")
    python -m pyops.cuda.budget --sm90 [--every] [--match RE] [--nvrtc FOLDER] [--cache DIR]
                                           make machine code ahead for compute capability 9.0: each form
                                           that is launched on an H200, by the NVRTC in FOLDER/lib, into DIR;
                                           float16's with --every, which are else compiled where they are launched
"""
from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .emulator import cache_folder
from .forms import H200, recorded
from .nvrtc import ARCHITECTURES, Resources, compile_cubin, missing, resources, version
from .source import KERNELS, REALS, Source, cuda_files, kernel_source

TABLE = KERNELS / "cuda_budget.txt"
SLACK = 8   # registers: counts move a little from one NVRTC to the next


def compilations() -> list[tuple[Source, str]]:
    """Every file as it is without macros, and in the forms that launch.py files ask for."""
    files = [Source(path, "f32") for path in cuda_files()]
    plain = [(Source(file.path, real), arch) for file in files
             for real, arch in forms(file.required, file.reals)]
    return plain + [(source, source.required if source.required.endswith("a") else "sm_90")
                    for source in asked_for()]


def asked_for() -> list[Source]:
    """Forms with macros, for one architecture; not float16's, which are bfloat16's but
    for the conversions."""
    return [kernel_source(file, real, **dict(defines))
            for file, real, defines in recorded() if defines and real != "f16"]


def fewest(jobs: list[tuple[Source, str]]) -> list[tuple[Source, str]]:
    """Of compilations() those that leave out no kernel, no type and no macros: each file in float
    for the oldest architecture, in the other types for one, with each set of macros in one type;
    not float16, see asked_for.
    """
    kept: dict = {}
    for source, arch in jobs:
        if source.real != "f16":
            kept.setdefault((source.path, source.defines or source.real), (source, arch))
    return list(kept.values())


def forms(required: str, reals: tuple[str, ...] = REALS) -> list[tuple[str, str]]:
    """(type, architecture): float for every architecture that is not older than the required one;
    the other types, whose code is the same but for the type, for one. Of a file that has no
    float, its first type takes float's place. What requires sm_NNa runs on nothing else, and is
    compiled for it alone."""
    if required.endswith("a"):
        return [(real, required) for real in reals]
    first, *others = reals
    least = int(required[3:] or 0)
    return [(real, arch)
            for real, arch in [*((first, a) for a in ARCHITECTURES), *((real, "sm_90") for real in others)]
            if int(arch[3:]) >= least]


def measured(jobs: list[tuple[Source, str]]) -> Iterator[tuple[str, str, str, Resources]]:
    """(file:kernel, type and macros, architecture, Resources) of these compilations."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (source, arch), (_, log) in zip(jobs, pool.map(lambda job: compile_cubin(*job), jobs)):
            for kernel, r in resources(log).items():
                file, _, form = source.name.partition(" ")
                yield f"{file}:{kernel}", form, arch, r


def read_table() -> dict[str, tuple[int, int, int]]:
    rows = (line.split() for line in TABLE.read_text().splitlines() if line and not line.startswith("#"))
    return {name: tuple(map(int, most)) for name, *most in rows}


def write_table(found, match: str = ""):
    """The table with what was found; with `match`, of files in whose name it is, the others' lines as
    they are."""
    most: dict = {name: row for name, row in read_table().items() if match and not re.search(match, name)}
    for name, _, _, r in found:
        most[name] = tuple(map(max, most.get(name, (0, 0, 0)), (r.registers, r.shared, r.spills)))
    width = max(map(len, most))
    lines = ["# file:kernel, the most registers a thread, bytes of static shared memory a "
             "block and bytes spilled a thread, of any architecture and type",
             *(f"{name:<{width}} {registers:>4} {shared:>6} {spills:>4}"
               for name, (registers, shared, spills) in sorted(most.items()))]
    TABLE.write_text("\n".join(lines) + "\n")


def violations(found) -> list[str]:
    """What is over budget, spills, or is not in the table."""
    table, wrong = read_table(), []
    for name, real, arch, r in found:
        who = f"{name} ({real}, {arch})"
        if name not in table:
            wrong.append(f"{who}: not in {TABLE.name}; python -m pyops.cuda.budget --write adds it")
            continue
        registers, shared, spills = table[name]
        if r.registers > registers + SLACK:
            wrong.append(f"{who}: {r.registers} registers, {registers} + {SLACK} allowed")
        if r.shared > shared:
            wrong.append(f"{who}: {r.shared} bytes of shared memory, {shared} allowed")
        if r.spills > spills:
            wrong.append(f"{who}: spills {r.spills} bytes, {spills} allowed")
    return wrong


def launched_on_hopper(match: str = "", every: bool = False) -> list[tuple[Source, str]]:
    """What the GPU benchmark launches on an H200: its rows, its products of integers, and all cases; of
    float16, which is bfloat16 but for the conversions, the products alone, unless `every` is true. Of files
    that no case launches (optimisers' steps) the plain form. match: of forms in whose name it is found."""
    sources = [kernel_source(file, real, **dict(defines)) for file, real, defines in recorded((H200,), ("strict",))]
    seen = {source.path for source in sources}
    sources += [Source(file.path, real) for file in (Source(path, "f32") for path in cuda_files())
                if file.path not in seen for real in file.reals]
    return [(source, source.required if source.required.endswith("a") else "sm_90")
            for source in dict.fromkeys(sources)
            if int(source.required.strip("sm_a") or 0) <= 90 and re.search(match, source.name)
            and (every or source.real != "f16" or source.path.parent.name == "gemm" or source.required.endswith("a"))]


def make_ahead(match: str, every: bool) -> int:
    """Compiles what the cache does not hold yet of launched_on_hopper(match, every)."""
    jobs, begun, used = launched_on_hopper(match, every), time.monotonic(), time.process_time()
    forms_made = len(list(measured(jobs)))
    print(f"{len(jobs)} forms, {forms_made} kernels, by NVRTC {version()} in {cache_folder()}: "
          f"{time.monotonic() - begun:.0f} s, {time.process_time() - used:.0f} s of one core")
    return 0


def main(arguments) -> int:
    parser = argparse.ArgumentParser(prog="pyops.cuda.budget", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--match", metavar="RE", default="")
    parser.add_argument("--sm90", action="store_true")
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--nvrtc", metavar="FOLDER", help="PYOPS_CUDA_TOOLKIT")
    parser.add_argument("--cache", metavar="DIR", help="PYOPS_CACHE")
    args = parser.parse_args(arguments)
    os.environ.update({name: str(Path(value).resolve()) for name, value in
                       (("PYOPS_CUDA_TOOLKIT", args.nvrtc), ("PYOPS_CACHE", args.cache)) if value})
    if why := missing():
        print(why)
        return 2
    if args.sm90:
        return make_ahead(args.match, args.every)
    found = list(measured([job for job in compilations() if re.search(args.match, job[0].name)]))
    if args.write:
        write_table(found, args.match)
    wrong = violations(found)
    print("\n".join([*wrong, f"{len({name for name, *_ in found})} kernels, {len(found)} compiled forms, "
                     f"{len(wrong)} over budget"]))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
