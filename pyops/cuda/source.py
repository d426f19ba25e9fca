"""CUDA sources: where they lie, what they are compiled with, and what a compiled form
of one depends on."""
from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
ROOT = PACKAGE.parent
# in a checkout kernels/ and csrc/ lie beside the package, in a wheel inside it
KERNELS = next(p for p in (PACKAGE / "kernels", ROOT / "kernels") if p.is_dir())
HEADERS = next(p for p in (PACKAGE / "csrc" / "cuda", ROOT / "csrc" / "cuda") if p.is_dir())
REALS = ("f32", "f64", "f16", "bf16")


@dataclass(frozen=True)
class Source:
    """A .cu file as it is compiled: for one element type, with some macros defined."""
    path: Path
    real: str
    defines: tuple[tuple[str, object], ...] = ()

    @property
    def options(self) -> list[str]:
        return ["-std=c++17", f"-DREAL_{self.real}=1", *(f"-D{name}={value}" for name, value in self.defines),
                *includes(self.path)]

    @property
    def name(self) -> str:
        """"gemm/tensor.cu f32 THREE_PRODUCTS=1"."""
        return " ".join([f"{self.path.parent.name}/{self.path.name}", self.real,
                         *(f"{name}={value}" for name, value in self.defines)])

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def first_lines(self) -> str:
        """The beginning of the file, its comment's lines joined: a sentence may be broken anywhere."""
        return re.sub(r"\s*\n//\s*", " ", self.text[:700])

    @property
    def digest(self) -> str:
        """Changes whenever this file, a header that it reads, its type or a macro does."""
        h = hashlib.sha256(repr((self.real, self.defines)).encode())
        for path in read_files(self.path):
            h.update(path.read_bytes())
        return h.hexdigest()[:20]

    @property
    def required(self) -> str:
        """The architecture that the file's first lines require ("requires sm_80"), or "". sm_90a is
        no least one but the only one."""
        found = re.search(r"requires (sm_\d+a?)", self.first_lines)
        return found[1] if found else ""

    @property
    def reals(self) -> tuple[str, ...]:
        """The element types that the file is for: those that its first lines name ("f16 and
        bf16 only"), or all."""
        found = re.search(r"\b(b?f\d\d) and (b?f\d\d) only", self.first_lines)
        return found.groups() if found else REALS


def kernel_source(file: str, real: str, **defines) -> Source:
    """The Source of `file`, a path under kernels/ such as "softmax/cuda.cu"."""
    return _source(KERNELS, file, real, tuple(sorted(defines.items())))


@lru_cache(4096)
def _source(kernels: Path, file: str, real: str, defines: tuple[tuple[str, object], ...]) -> Source:
    """One object for each: a launch looks its kernel up by it."""
    return Source(kernels / file, real, defines)


def named_source(name: str) -> Source:
    """The Source whose name that is."""
    file, real, *defines = name.split(" ")
    pairs = (define.split("=") for define in defines)
    return kernel_source(file, real, **{name: int(value) if re.fullmatch(r"-?\d+", value) else value
                                        for name, value in pairs})


def includes(path: Path) -> list[str]:
    return [f"-I{HEADERS}", f"-I{path.parent}", f"-I{KERNELS}"]


@lru_cache(256)
def _read_files(path: Path, stamp: float) -> tuple[Path, ...]:
    found = [path]
    for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M):
        for folder in (path.parent, HEADERS, KERNELS):
            if (folder / name).is_file():
                found += [p for p in read_files(folder / name) if p not in found]
                break
    return tuple(found)


def read_files(path: Path) -> tuple[Path, ...]:
    """`path` and every header of ours that it reads, directly or not."""
    return _read_files(path, path.stat().st_mtime)


def cuda_files() -> list[Path]:
    """Every .cu file of the package."""
    return sorted(KERNELS.glob("*/*.cu"))
