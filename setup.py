"""Builds pyops._C: every kernels/*/*.cpp once per instruction set and element type, csrc/module.cpp once.

An object lives in build/kernels/<isa>-<real>/ and is rebuilt when its source, a header it read or its command changes.
PYOPS_BUILD_ISAS="avx512,scalar" limits the sets (a development aid: the extension then lacks the others); PYOPS_CXXFLAGS adds compiler
flags and PYOPS_BUILD_DIR keeps the objects of such a build apart (see `make sanitize`).
"""
import keyword
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
BUILD = Path(os.environ.get("PYOPS_BUILD_DIR", "build"))   # relative to ROOT, as all paths of a compilation: so a build can be moved
MORE_FLAGS = shlex.split(os.environ.get("PYOPS_CXXFLAGS", ""))
COMMON = ["-O3", "-g0", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden",
          "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-uninitialized"]
KERNEL = ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-rtti"]
if platform.machine() in ("x86_64", "AMD64"):
    ISA_FLAGS = {
        "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
        "avx2": ["-march=x86-64-v3"],
        "scalar": ["-march=x86-64-v2"],
    }
elif platform.machine() in ("aarch64", "arm64"):
    ISA_FLAGS = {"neon": ["-march=armv8-a"]}
else:
    ISA_FLAGS = {"scalar": []}
REALS = {"f32": "float", "f64": "double"}


PYTHON_SCALARS = {"Dims": "tuple[int, ...]", "bool": "bool", "double": "float", "real": "float", "i64": "int", "int": "int"}
PYTHON_ELEMENTS = {"real": "Real", "i64": "np.int64", "std::uint8_t": "np.uint8", "uint8_t": "np.uint8"}

# names of functions inside the extension are a fifth of a megabyte of every wheel; builds with flags of their own, as for sanitizers, keep them
STRIPPED = ["-s"] if sys.platform == "linux" and not MORE_FLAGS else []


def python_name(parameter):
    """The parameter's name; one that Python keeps for itself (in) gets an underscore."""
    name = parameter.rsplit(" ", 1)[1]
    return f"{name}_" if keyword.iskeyword(name) else name


def python_type(parameter):
    """What Python passes for a C++ parameter such as `In<real> x`."""
    kind = parameter.rsplit(" ", 1)[0]
    if kind in PYTHON_SCALARS:
        return PYTHON_SCALARS[kind]
    view, element = kind.rstrip(">").split("<")
    array = f"NDArray[{PYTHON_ELEMENTS[element]}]"
    return f"{array} | None" if view in ("In", "InMap") else array


def rows(table):
    """(name, parameters) of every row of a table of kernels."""
    return re.findall(r"^KERNEL\((\w+), \((.*)\)\)", (ROOT / "csrc" / table).read_text(), re.M)


def signature(name, parameters):
    typed = [f"{python_name(p)}: {python_type(p)}" for p in parameters.split(", ")]
    return f"    def {name}({', '.join(['self', *typed])}, /) -> None: ..."


def stub():
    """The text of pyops/_C.pyi, from the rows of kernels.inc and program.inc."""
    methods = []
    for name, parameters in rows("kernels.inc"):
        methods.append(signature(name, parameters))
    programs = [signature(name, parameters) for name, parameters in rows("program.inc")] or ["    ..."]
    sets = "\n".join(f"{isa}: _Set   # where the CPU and the build have it" for isa in ("avx512", "avx2", "neon", "scalar"))
    return f'''"""Made by setup.py from csrc/kernels.inc and csrc/program.inc. Kernels check nothing but what would be unsafe: call pyops.functional."""
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)

class _Kernels(Generic[Real]):
{chr(10).join(methods)}

class _ProgramKernels(_Kernels[np.float32]):
{chr(10).join(programs)}

class _Set:
    f32: _ProgramKernels
    f64: _Kernels[np.float64]

{sets}
built: tuple[str, ...]
cpu: dict[str, bool]

def probe(inputs: tuple, kinds: str) -> str | None: ...
class Program:
    def __init__(self, isa: str, arena: int, inputs: list[int], outputs: list[int], threads: int, /) -> None: ...
    def add(self, kernel: str, arguments: tuple, /) -> None: ...
    def run(self, inputs: tuple, outputs: tuple, /) -> None: ...
    def run_timed(self, inputs: tuple, outputs: tuple, /) -> list[float]: ...
    def poison(self) -> None: ...
    def workspaces(self) -> int: ...
    def release(self) -> None: ...

def pooled_empty(shape: tuple[int, ...], dtype: np.dtype, /) -> np.ndarray: ...
def pool_limit(bytes: int, /) -> None: ...
def pool_clear() -> None: ...
def pool_state() -> dict[str, int]: ...
def set_winograd(allowed: bool, /) -> None: ...
def get_winograd() -> bool: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
'''


def write_stub():
    path, text = ROOT / "pyops" / "_C.pyi", stub()
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def command_changed(obj, command):
    record = obj.with_suffix(".cmd")
    return not record.exists() or record.read_text() != shlex.join(command)


def out_of_date(obj):
    """True when obj is older than a file its last compilation read (listed in the .d file that -MMD wrote)."""
    deps = obj.with_suffix(".d")
    if not obj.exists() or not deps.exists():
        return True
    built = obj.stat().st_mtime
    names = deps.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    return any(not Path(n).exists() or Path(n).stat().st_mtime > built for n in names)


def compile_object(source, obj, flags):
    command = [*shlex.split(os.environ.get("CXX", "g++")), *COMMON, *flags, "-MMD", "-c", str(source), "-o", str(obj), *MORE_FLAGS]
    if not command_changed(obj, command) and not out_of_date(obj):
        return obj
    obj.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.stderr:
        print(done.stderr, flush=True)
    if done.returncode:
        raise SystemExit(f"compiling {source} failed: {shlex.join(command)}")
    obj.with_suffix(".cmd").write_text(shlex.join(command))
    return obj


class BuildKernels(build_ext):
    """Compiles the kernel objects in parallel, then lets setuptools compile module.cpp and link all of them."""

    def build_extension(self, ext):
        chosen = os.environ.get("PYOPS_BUILD_ISAS", ",".join(ISA_FLAGS)).split(",")
        jobs = []
        for isa in chosen:
            for tag, ctype in REALS.items():
                for source in (p.relative_to(ROOT) for p in sorted((ROOT / "kernels").glob("*/*.cpp"))):
                    if source.name.startswith("blocked") and tag != "f32":   # kernels of compiled programs
                        continue
                    obj = BUILD / "kernels" / f"{isa}-{tag}" / f"{source.parent.name}-{source.stem}.o"
                    flags = [*KERNEL, *ISA_FLAGS[isa], f"-DISA={isa}", f"-DREAL_NAME={tag}", f"-DREAL={ctype}",
                             f"-DREAL_{tag}", "-Icsrc", "-Ikernels"]
                    jobs.append((source, obj, flags))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            ext.extra_objects = [str(o) for o in pool.map(lambda j: compile_object(*j), jobs)]
        ext.define_macros += [(f"HAVE_{isa}", "1") for isa in chosen]
        ext.depends = [str(ROOT / "setup.py"), *ext.extra_objects, *map(str, (ROOT / "csrc").glob("*"))]
        super().build_extension(ext)


class SmallWheel(bdist_wheel):
    """Packs the wheel once more at zlib's highest level, which the command cannot be asked for."""

    def run(self):
        super().run()
        wheel = Path(self.distribution.dist_files[-1][2])
        packed = wheel.with_suffix(".packed")
        with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(packed, "w") as new:
            for entry in old.infolist():
                new.writestr(entry, old.read(entry), zipfile.ZIP_DEFLATED, compresslevel=9)
        packed.replace(wheel)


class BuildPackage(build_py):
    """Starts from an empty folder: files that the repository no longer has would go into the wheel, and the emulator compiles all it finds."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "pyops", ignore_errors=True)
        super().run()


write_stub()   # before setuptools collects the files of the package
setup(
    packages=["pyops", *(f"pyops.{p.parent.relative_to(ROOT / 'pyops').as_posix().replace('/', '.')}"
                         for p in sorted((ROOT / "pyops").glob("*/**/__init__.py")) if p.parent.name not in ("kernels", "bench")),   # `make links`
              "pyops.kernels", *(f"pyops.kernels.{p.name}" for p in sorted((ROOT / "kernels").iterdir())
                                 if (p / "reference.py").exists()), "pyops.bench", "pyops.bench.experiments", "pyops.csrc.cuda", "pyops.csrc.emulator"],
    package_dir={"pyops": "pyops", "pyops.kernels": "kernels", "pyops.bench": "bench", "pyops.csrc": "csrc"},
    package_data={"pyops": ["py.typed", "*.pyi"], "": ["*.cu", "*.cuh"], "pyops.kernels": ["cuda_budget.txt"],
                  "pyops.csrc.emulator": ["*.cpp", "*.h", "include/*.h"]},
    ext_modules=[Extension(
        "pyops._C", ["csrc/module.cpp", "csrc/program.cpp", "csrc/pool.cpp", "csrc/scratch.cpp", "csrc/team.cpp"], include_dirs=["csrc", pybind11.get_include()], language="c++",
        extra_compile_args=[*COMMON, "-O2", *MORE_FLAGS], extra_link_args=["-pthread", *STRIPPED, *MORE_FLAGS])],
    cmdclass={"build_py": BuildPackage, "build_ext": BuildKernels, "bdist_wheel": SmallWheel},
)
