"""Builds pyops._C: kernels/*/*.cpp and csrc/rows.cpp once per instruction set and element type,
typed*.cpp and the rest of csrc/ once.

An object lives in build/kernels/<isa>-<real>/ or build/csrc-<python>/ and is compiled again when
its source, a header it read or its command changes. The instruction sets are the rows of
csrc/isas.inc that name this machine.
PYOPS_BUILD_ISAS="avx512,scalar" limits the sets (a development aid: the extension then lacks the
others); PYOPS_CXXFLAGS adds compiler flags and PYOPS_BUILD_DIR keeps the objects of such a build
apart (see `make sanitize`).
"""
import keyword
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent.resolve()
# relative to ROOT, as all paths of a compilation: so a build can be moved
BUILD = Path(os.environ.get("PYOPS_BUILD_DIR", "build"))
KERNELS = ROOT / "kernels"
MORE_FLAGS = shlex.split(os.environ.get("PYOPS_CXXFLAGS", ""))
COMMON = ["-O3", "-g0", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wall",
          "-Wextra", "-Wno-unknown-pragmas", "-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-uninitialized"]
KERNEL = ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-rtti"]
MACHINE = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
# what every set may use; a set's own flags come after it
BASELINE = {"x86_64": ["-march=x86-64-v2"]}.get(MACHINE, [])


def isa_flags():
    """Instruction set -> compiler flags, of the rows of csrc/isas.inc for this machine."""
    table = re.findall(r'^ISA\((\w+), "([\w ]*)", .*, "([^"]*)"\)', (ROOT / "csrc" / "isas.inc").read_text(),
                       re.M)
    known = {machine for _, machines, _ in table for machine in machines.split()}
    machine = MACHINE if MACHINE in known else "other"
    return {name: [*BASELINE, *flags.split()]
            for name, machines, flags in table if machine in machines.split()}


ISA_FLAGS = isa_flags()

# Kernels of double, and those of the set for machines before AVX2, are compiled for less code: a
# third of the extension's size is theirs. -O2 alone would keep short loops over registers (for k <
# 4: acc[k] = ...) as loops, which costs sums and norms a factor of two; -fpeel-loops unrolls them
# as -O3 does. What -O3 adds beyond that are copies of loops, one for each outcome of a branch
# inside them. Sources that lose by their absence keep -O3; the others are within 3 % of it, taken
# together (paired runs of some 70 calls on avx512, avx2 and scalar, both types).
SMALL = ("-O2", "-fpeel-loops")
# For machines before AVX2, of which there are few left, and for doubles: families that are not what a network's
# time goes into
SMALLEST = ("-Os", "--param=max-inline-insns-size=12")   # views' sizes are no symbols, which sets would share
RARE = ("attention", "ctc", "deform_conv", "detection", "dft", "distance", "grid_sample", "interpolate", "loss",
        "optim", "pad", "permutohedral", "pixel_shuffle", "pooling", "quantised", "rbf", "recurrent", "rotary")
RARE_SOURCES = {f"convolution/{name}.cpp"
                for name in ("blocked_grouped", "blocked_volume_planar", "blocked_winograd", "blocked_winograd_grouped",
                             "blocked_winograd_line")}
# of thirteen types: with vectors (eq 4.6 times as fast, floor 3), without more copies of loops
TYPED = (*SMALL, "-ftree-vectorize", "-fvect-cost-model=dynamic")
LARGE = {   # source: (the objects that keep -O3: of a type or a set, how much slower they would be)
    "activation/cpu.cpp": ({"scalar"}, "relu and leaky_relu 1.4"),
    "group_norm/cpu.cpp": ({"f64", "scalar"}, "1.15 to 1.25"),
    "layer_norm/cpu.cpp": ({"f64", "scalar"}, "1.05, with avx2 up to 1.35"),
    "loss/pointwise.cpp": ({"f64"}, "huber 1.15 to 1.6, binary cross entropy 1.1"),
}


REALS = {"f32": "float", "f64": "double"}

# Doubles check what floats compute. Where their kernels wait for memory, avx512's gain too little
# over avx2's to be in every wheel (within 10 % of 19 calls, local_response_norm 18 %). These
# families' kernels compute: exp, sigmoid and softmax would take 1.9 times as long.
COMPUTE = ("activation", "attention", "convolution", "elementwise", "gemm", "machine", "recurrent", "softmax")
BORROWED = {("avx512", "f64"): "avx2"}   # the set that has the other families' kernels

PYTHON_SCALARS = {"Dims": "Dims", "Window": "Window", "Act": "Act", "bool": "bool", "double": "float",
                  "i64": "int"}
PYTHON_ELEMENTS = {"real": "Real", "double": "np.float64", "i64": "np.int64", "std::uint8_t": "np.uint8",
                   "uint8_t": "np.uint8"}
PYTHON_ANY = {"InAny": "NDArray[Any] | None", "OutAny": "NDArray[Any]"}

# names of functions inside the extension are a fifth of a megabyte of every wheel; builds with
# flags of their own, as for sanitizers, keep them
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
    if kind in PYTHON_ANY:
        return PYTHON_ANY[kind]
    view, element = kind.rstrip(">").split("<")
    array = f"NDArray[{PYTHON_ELEMENTS[element]}]"
    return f"{array} | None" if view in ("In", "InMap") else array


def tables(name):
    """The families' tables of that name: kernels.inc, typed.inc or program.inc."""
    return sorted(KERNELS.glob(f"*/{name}"))


def rows(name):
    """(name, parameters) of every row of the families' tables of that name."""
    return [row for table in tables(name)
            for row in re.findall(r"^(?:KERNEL\(|VECTOR\(|ONLY\(\w+, )(\w+), \((.*)\)\)", table.read_text(), re.M)]


def signature(name, parameters):
    typed = [f"{python_name(p)}: {python_type(p)}" for p in parameters.split(", ")]
    return f"    def {name}({', '.join(['self', *typed])}, /) -> None: ..."


def stub():
    """The text of pyops/_C.pyi, from the rows of kernels/*/kernels.inc, typed.inc and
    program.inc."""
    methods = [signature(name, parameters) for name, parameters in [*rows("kernels.inc"), *rows("typed.inc")]]
    programs = [signature(name, parameters) for name, parameters in rows("program.inc")]
    all_isas = re.findall(r"^ISA\((\w+)", (ROOT / "csrc" / "isas.inc").read_text(), re.M)
    sets = "\n".join(f"{isa}: _Set   # where the CPU and the build have it" for isa in all_isas)
    return f'''"""Made by setup.py from kernels/*/kernels.inc and program.inc.

Kernels check nothing but what would be unsafe: call pyops.functional.
"""
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Real = TypeVar("Real", np.float32, np.float64)
Dims = tuple[int, ...]
Window = tuple[Dims, Dims, Dims, Dims]   # kernel, stride, padding, dilation
Act = tuple[str, float, float]

class _Kernels(Generic[Real]):
{chr(10).join(methods)}

class _ProgramKernels(_Kernels[np.float32]):
{chr(10).join(programs)}

class _Set:
    f32: _ProgramKernels
    f64: _Kernels[np.float64]

{sets}
ISAS: tuple[str, ...]          # all there are, best first
built: tuple[str, ...]
only: dict[str, str]           # kernel -> the one instruction set that has it
activations: tuple[str, ...]
cpu: dict[str, bool]
vnni: bool

class OpBase:
    kinds: str
    forward: Callable[..., Any]
    def of_operands(self, *inputs: Any, out: Any = None, **attrs: Any) -> Any: ...
    def __call__(self, *inputs: Any, out: Any = None, **attrs: Any) -> Any: ...

def probe(inputs: tuple, kinds: str) -> str | None: ...
def pointwise(name: str, inputs: int, broadcasts: bool, general: Callable[..., Any], /) -> Callable[..., Any]: ...
def join(cat: OpBase, arrays: Any, dim: int, stacked: bool, /) -> Any: ...
def route_calls(active: ContextVar, native: type, /) -> None: ...
def route_tensors(tensor: type, node: type, recording: ContextVar, names: dict, /) -> None: ...
def route_parameters(parameter: type, /) -> None: ...
class Program:
    def __init__(self, isa: str, arena: int, inputs: list[int], outputs: list[int], threads: int, /) -> None: ...
    def add(self, kernel: str, arguments: tuple, /) -> None: ...
    def run(self, inputs: tuple, outputs: tuple, /) -> None: ...
    def run_timed(self, inputs: tuple, outputs: tuple, /) -> list[float]: ...
    def poison(self) -> None: ...
    def workspaces(self) -> int: ...
    def release(self) -> None: ...

def allocator(dtype: np.dtype, /, at_hand: bool = False) -> Callable[..., np.ndarray]: ...
def pool_installed(bytes: int, /) -> None: ...
def pool_limit(bytes: int, /) -> None: ...
def contiguous(array: np.ndarray, /) -> np.ndarray: ...
def pool_settle() -> None: ...
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


# ---- compiling

@dataclass(frozen=True)
class Object:
    """One compilation: its result, the source, the flags beside COMMON, and what a line of
    progress calls it."""
    path: Path
    source: Path
    flags: tuple[str, ...]
    name: str

    @property
    def command(self):
        compiler = shlex.split(os.environ.get("CXX", "g++"))
        return [*compiler, *COMMON, *self.flags, "-MMD", "-c", str(self.source), "-o", str(self.path),
                *MORE_FLAGS]

    def up_to_date(self):
        """Whether it was made by this command, after every file that its compilation read (-MMD
        listed them in the .d file)."""
        record, deps = self.path.with_suffix(".cmd"), self.path.with_suffix(".d")
        if (not self.path.exists() or not deps.exists() or not record.exists()
                or record.read_text() != shlex.join(self.command)):
            return False
        built = self.path.stat().st_mtime
        read = deps.read_text().replace("\\\n", " ").split(":", 1)[1].split()
        return all(Path(n).exists() and Path(n).stat().st_mtime <= built for n in read)

    def compile(self):
        """Returns the seconds of a CPU and the MB of memory that it took."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        compiler = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        errors = compiler.stderr.read()
        _, status, used = os.wait4(compiler.pid, 0)
        compiler.returncode = os.waitstatus_to_exitcode(status)
        if errors:
            print(errors, flush=True)
        if compiler.returncode:
            raise SystemExit(f"compiling {self.source} failed: {shlex.join(self.command)}")
        self.path.with_suffix(".cmd").write_text(shlex.join(self.command))
        return used.ru_utime + used.ru_stime, used.ru_maxrss >> (20 if sys.platform == "darwin" else 10)


def here(path):
    """`path` as seen from ROOT, where compilers run: commands are the same wherever the tree lies,
    and so can be kept by ccache."""
    return Path(os.path.relpath(path, ROOT))


def optimisation(isa, tag, source):
    """The flags in place of -O3, if any."""
    # thirteen types of each kernel: what else -O3 adds would make them twice as large
    vectors = source.name in ("vector_whole.cpp", "vector_folds.cpp", "vector_numbers.cpp")
    family = source.parent.name
    rare = family in RARE or f"{family}/{source.name}" in RARE_SOURCES or (family, tag) == ("convolution", "f64")
    if isa == "scalar" and (vectors or rare) or tag == "f64" and family in RARE:
        return SMALLEST
    if vectors or source.name.startswith("typed"):
        return TYPED
    kinds, (keep, _) = {isa, tag} & {"scalar", "f64"}, LARGE.get(f"{source.parent.name}/{source.name}",
                                                                 (set(), ""))
    return SMALL if kinds and not kinds & keep else ()


def kernel_objects(isa, isas):
    """Every kernel of every family, and the table of them, for each element type; what only
    programs call, and kernels of any element type, for float. The last set's typed*.cpp are for
    all: they gain too little by wider vectors to be there three times."""
    sources = [here(p) for p in sorted(KERNELS.glob("*/*.cpp"))]
    for tag, ctype in REALS.items():
        which = (f"-DISA={isa}", f"-DREAL_NAME={tag}", f"-DREAL={ctype}", f"-DREAL_{tag}", "-Icsrc",
                 f"-I{here(KERNELS)}")
        folder = BUILD / "kernels" / f"{isa}-{tag}"
        memory = BORROWED.get((isa, tag), isa)
        memory = memory if memory in isas else isa
        for source in sources:
            if source.name.startswith("typed") and isa != isas[-1]:
                continue
            if memory != isa and source.parent.name not in COMPUTE:
                continue
            if tag == "f32" or not source.name.startswith(("blocked", "typed", "vector")):
                yield Object(folder / f"{source.parent.name}-{source.stem}.o", source,
                             (*KERNEL, *optimisation(isa, tag, source), *ISA_FLAGS[isa],
                              *which, f"-I{source.parent}"),
                             f"{source} {isa} {tag}")
        yield Object(BUILD / "rows" / f"{isa}-{tag}.o", Path("csrc/rows.cpp"),
                     ("-O1", *which, f"-DTYPED_ISA={isas[-1]}", f"-DMEMORY_ISA={memory}",
                      f"-I{BUILD / 'tables'}"), f"csrc/rows.cpp {isa} {tag}")


def binding_objects(isas):
    """What csrc/ holds besides: Python's side, once for each Python."""
    folder = BUILD / f"csrc-{sys.implementation.cache_tag}{sysconfig.get_config_var('ABIFLAGS') or ''}"
    includes = [f"-I{path}" for path in dict.fromkeys(
        [sysconfig.get_path("include"), sysconfig.get_path("platinclude"), pybind11.get_include()])]
    for source in (here(p) for p in sorted((ROOT / "csrc").glob("*.cpp"))):
        if source.name != "rows.cpp":
            sets = (["-DFOR_BUILT_ISAS(X)=" + " ".join(f"X({isa})" for isa in isas)]
                    if source.name == "isas.cpp" else [])
            yield Object(folder / f"{source.stem}.o", source, ("-O2", *includes, *sets), str(source))


def write_tables():
    """Lists of the families' tables, for csrc/rows.cpp."""
    (BUILD / "tables").mkdir(parents=True, exist_ok=True)
    kernels = tables("kernels.inc")
    for name, some in (("compute_kernels.inc", [t for t in kernels if t.parent.name in COMPUTE]),
                       ("memory_kernels.inc", [t for t in kernels if t.parent.name not in COMPUTE]),
                       ("all_programs.inc", tables("program.inc")), ("all_typed.inc", tables("typed.inc"))):
        path = BUILD / "tables" / name
        text = "".join(f'#include "{table.parent.name}/{table.name}"\n' for table in some)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def compile_all(objects):
    """Compiles what is out of date, as many at a time as there are CPUs, with a line for
    each that is done."""
    stale = [o for o in objects if not o.up_to_date()]
    if not stale:
        return
    compiler = shlex.split(os.environ.get("CXX", "g++"))[0]
    if not shutil.which(compiler):
        raise SystemExit(
            f"pyops is compiled from C++, and there is no {compiler} here. Install one (apt install g++, dnf "
            "install gcc-c++, xcode-select --install), or set CXX to a compiler that is here.")
    start, digits = time.monotonic(), len(str(len(stale)))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(o.compile): o for o in stale}
        try:
            for done, future in enumerate(as_completed(running), 1):
                seconds, megabytes = future.result()
                print(f"[{done:{digits}}/{len(stale)}] {running[future].name}  {seconds:.1f} s, {megabytes} "
                      "MB", flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print(f"compiled {len(stale)} of {len(objects)} objects in {time.monotonic() - start:.0f} s", flush=True)


class BuildKernels(build_ext):
    """Compiles all objects in parallel; setuptools links them."""

    def build_extension(self, ext):
        isas = os.environ.get("PYOPS_BUILD_ISAS", ",".join(ISA_FLAGS)).split(",")
        unknown = [isa for isa in isas if isa not in ISA_FLAGS]
        if unknown:
            raise SystemExit(
                f"PYOPS_BUILD_ISAS: {', '.join(unknown)} is not one of this machine's {', '.join(ISA_FLAGS)}")
        write_tables()
        objects = [*binding_objects(isas), *(o for isa in isas for o in kernel_objects(isa, isas))]
        compile_all(objects)
        ext.extra_objects = [str(o.path) for o in objects]
        ext.depends = [str(ROOT / "setup.py"), *ext.extra_objects]
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
    """Starts from an empty folder: files that the repository no longer has would go into the wheel,
    and the emulator compiles all it finds."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "pyops", ignore_errors=True)
        super().run()


write_stub()   # before setuptools collects the files of the package
# `make links`
setup(
    packages=["pyops", *(f"pyops.{p.parent.relative_to(ROOT / 'pyops').as_posix().replace('/', '.')}"
                         for p in sorted((ROOT / "pyops").glob("*/**/__init__.py"))
                         if p.parent.name not in ("kernels", "bench")),
              "pyops.kernels", *(f"pyops.kernels.{p.name}" for p in sorted((ROOT / "kernels").iterdir())
                                 if any(p.glob("*.py"))),
              "pyops.bench", "pyops.bench.gpu", "pyops.bench.experiments", "pyops.bench.experiments.detecting",
              "pyops.csrc.cuda", "pyops.csrc.emulator"],
    package_dir={"pyops": "pyops", "pyops.kernels": "kernels", "pyops.bench": "bench", "pyops.csrc": "csrc"},
    package_data={"pyops": ["py.typed", "*.pyi"], "": ["*.cu", "*.cuh"], "pyops.kernels": ["cuda_budget.txt"],
                  "pyops.bench.gpu": ["estimates.txt"],
                  "pyops.inspect": ["page.html"],
                  "pyops.csrc.emulator": ["*.cpp", "*.h", "include/*.h"]},
    ext_modules=[Extension("pyops._C", [], language="c++", extra_link_args=["-pthread", *STRIPPED, *MORE_FLAGS])],
    cmdclass={"build_py": BuildPackage, "build_ext": BuildKernels, "bdist_wheel": SmallWheel},
)
