"""Compiles .cu files for named architectures with NVRTC, which needs no driver and no GPU, and
reads what the compiler says of them.

Needs the packages cuda-bindings, nvidia-cuda-nvrtc and nvidia-cuda-runtime (the extra
pyops[cuda] brings them).
"""
from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..files import cache
from .emulator import cache_folder
from .source import Source

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
# what CuPy adds of its own; in CI the same, so that what compiles there compiles here
FLAGS = ("-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


def missing() -> str:
    """Why NVRTC cannot be used here; empty if it can."""
    try:
        from cuda.bindings import nvrtc
        from cuda.pathfinder import find_nvidia_header_directory
        nvrtc.nvrtcVersion()
        return ("" if find_nvidia_header_directory("cudart")
                else "no CUDA headers: pip install pyops-kernels[cuda]")
    except Exception as why:   # the loader raises types of its own where the library is absent
        return f"NVRTC cannot be loaded ({why}): pip install pyops-kernels[cuda]"


class CompileError(RuntimeError):
    """A .cu file that NVRTC refuses; the message is the compiler's."""


def _ok(result):
    from cuda.bindings import nvrtc
    if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {result[0].name}")
    return result[1] if len(result) == 2 else None


@lru_cache(1)
def header_options() -> tuple[str, ...]:
    from cuda.pathfinder import find_nvidia_header_directory
    return tuple(f"-I{find_nvidia_header_directory(name)}"
                 for name in ("cudart", "cccl") if find_nvidia_header_directory(name))


@lru_cache(1)
def version() -> str:
    from cuda.bindings import nvrtc
    return ".".join(map(str, nvrtc.nvrtcVersion()[1:]))


def cubin_path(source: Source, arch: str) -> Path:
    """Where compile_cubin keeps the machine code."""
    return (
        cache_folder()
        / f"{source.path.parent.name}-{source.path.stem}-{source.real}-{arch}-nvrtc{version()}-{source.digest}.cubin")


def compile_cubin(source: Source, arch: str) -> tuple[bytes, str]:
    """Machine code of `source` for `arch` ("sm_90"), and the log with each kernel's resources. Kept
    in the user's cache folder."""
    cubin = cubin_path(source, arch)
    log = cubin.with_suffix(".log")
    # a driver may want the cubin as it is: its digest begins the log
    code, told = cache.read(cubin, plain=True), cache.read(log)
    if code is not None and told is not None and told.startswith(digest_line(code)):
        return code, told[len(digest_line(code)):].decode()
    code, text = _compile(source, arch)
    cache.keep(cubin, code, plain=True)
    cache.keep(log, digest_line(code) + text.encode())
    return code, text


def digest_line(code: bytes) -> bytes:
    return hashlib.sha256(code).hexdigest().encode() + b"\n"


def _compile(source, arch):
    from cuda.bindings import nvrtc
    program = _ok(nvrtc.nvrtcCreateProgram(source.text.encode(), source.path.name.encode(), 0, [], []))
    options = [o.encode() for o in (f"-arch={arch}", *FLAGS, *source.options, *header_options())]
    result, = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = b" " * _ok(nvrtc.nvrtcGetProgramLogSize(program))
    nvrtc.nvrtcGetProgramLog(program, log)
    log = log.rstrip(b"\0 ").decode()
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise CompileError(f"{source.path.name} ({source.real}, {arch}):\n{log}")
    cubin = b" " * _ok(nvrtc.nvrtcGetCUBINSize(program))
    _ok(nvrtc.nvrtcGetCUBIN(program, cubin))
    nvrtc.nvrtcDestroyProgram(program)
    return cubin, log


@dataclass(frozen=True)
class Resources:
    """What one thread or block of a kernel takes."""
    registers: int   # a thread
    shared: int      # static shared memory, bytes a block
    spills: int      # bytes a thread stores to and loads from local memory for want of registers
    stack: int       # bytes a thread


def resources(log: str) -> dict[str, Resources]:
    """Kernel -> Resources, as the assembler's log has them."""
    found = {}
    for entry in re.split(r"Compiling entry function '", log)[1:]:
        name = entry.split("'", 1)[0]
        stack, stores, loads = map(int, re.search(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry).groups())
        shared = re.search(r"(\d+) bytes smem", entry)
        found[name] = Resources(int(re.search(r"Used (\d+) registers", entry)[1]),
                                int(shared[1]) if shared else 0, stores + loads, stack)
    return found
