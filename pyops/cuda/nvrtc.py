"""Compiles .cu files for named architectures with NVRTC, which needs no driver and no GPU, and
reads what the compiler says of them.

Needs the packages cuda-bindings, nvidia-cuda-nvrtc and nvidia-cuda-runtime (the extra
pyops[cuda] brings them). PYOPS_CUDA_TOOLKIT names a folder whose lib/ and include/ are taken
instead: another version's, so that machine code can be made for a machine that has it.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
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


@lru_cache(1)
def missing() -> str:
    """Why NVRTC cannot be used here; empty if it can."""
    try:
        nvrtc = library()
        nvrtc.nvrtcVersion()
        return "" if headers("cudart") else "no CUDA headers: pip install pyops-kernels[cuda]"
    except Exception as why:   # the loader raises types of its own where the library is absent
        return f"NVRTC cannot be loaded ({why}): pip install pyops-kernels[cuda]"


class CompileError(RuntimeError):
    """A .cu file that NVRTC refuses; the message is the compiler's."""


def toolkit() -> Path | None:
    """The folder that PYOPS_CUDA_TOOLKIT names."""
    named = os.environ.get("PYOPS_CUDA_TOOLKIT")
    return Path(named) if named else None


@lru_cache(1)
def library():
    """cuda.bindings.nvrtc. A library of that name that is loaded already is the one it uses."""
    if folder := toolkit():
        for name in ("libnvrtc-builtins.so.13.*", "libnvrtc.so.13"):
            for path in sorted((folder / "lib").glob(name)):
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    from cuda.bindings import nvrtc
    return nvrtc


def headers(name: str) -> str | None:
    """The folder of "cudart"'s or "cccl"'s headers."""
    if folder := toolkit():
        found = folder / "include" / {"cudart": ".", "cccl": "cccl"}[name]
        return str(found.resolve()) if found.is_dir() else None
    from cuda.pathfinder import find_nvidia_header_directory
    return find_nvidia_header_directory(name)


def _ok(result):
    nvrtc = library()
    if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {result[0].name}")
    return result[1] if len(result) == 2 else None


@lru_cache(1)
def header_options() -> tuple[str, ...]:
    return tuple(f"-I{folder}" for folder in map(headers, ("cudart", "cccl")) if folder)


@lru_cache(1)
def version() -> str:
    return ".".join(map(str, library().nvrtcVersion()[1:]))


def cubin_path(source: Source, arch: str, nvrtc: str = "") -> Path:
    """Where compile_cubin keeps the machine code; `nvrtc`: of another version than this one."""
    return cache_folder() / (f"{source.path.parent.name}-{source.path.stem}-{source.real}-{arch}-"
                             f"nvrtc{nvrtc or version()}-{source.digest}.cubin")


def made_ahead(source: Source, arch: str) -> Path | None:
    """Machine code of `source` for `arch` that the cache folder holds already, of this NVRTC or of
    whichever made it: it can be had where there is no NVRTC at all."""
    pattern = cubin_path(source, arch, nvrtc="*")
    whole = [path for path in sorted(pattern.parent.glob(pattern.name)) if _kept(source, path)]
    own = [path for path in whole if not missing() and path == cubin_path(source, arch)]
    return next(iter([*own, *whole]), None)


def _kept(source: Source, cubin: Path) -> tuple[bytes, str] | None:
    """Machine code and log as they lie in the cache, or None where they are not whole."""
    code, told = cache.read(cubin, plain=True), cache.read(cubin.with_suffix(".log"))
    # a driver may want the cubin as it is: its digest begins the log
    if code is None or told is None or not told.startswith(digest_line(code) + source.name.encode() + b"\n"):
        return None
    return code, told[len(digest_line(code)):].decode()


def compile_cubin(source: Source, arch: str) -> tuple[bytes, str]:
    """Machine code of `source` for `arch` ("sm_90"), and the log with each kernel's resources, whose
    first line names the source. Kept in the user's cache folder."""
    cubin = cubin_path(source, arch)
    if kept := _kept(source, cubin):
        return kept
    code, text = _compile(source, arch)
    text = f"{source.name}\n{text}"
    cache.keep(cubin, code, plain=True)
    cache.keep(cubin.with_suffix(".log"), digest_line(code) + text.encode())
    return code, text


def digest_line(code: bytes) -> bytes:
    return hashlib.sha256(code).hexdigest().encode() + b"\n"


def _compile(source, arch):
    nvrtc = library()
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
