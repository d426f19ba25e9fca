"""The CUDA emulator's driver: an unmodified .cu file compiled by g++ and run on NumPy arrays, one
fiber a thread, every access checked.

    module = Module.of(kernel_source("softmax/cuda.cu", "f32"), checked=True)
    report = module.function("softmax_rows")((rows,), (256,), [x, y, np.int32(cols)])
    assert not report.errors, report

The checked build is instrumented as for ThreadSanitizer, whose hooks csrc/emulator/checker.cpp
defines; the fast build is plain -O2. Objects are kept in the user's cache folder (PYOPS_CACHE names
another), under a digest of all that went into them.
"""
from __future__ import annotations

import ctypes as C
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..files import cache
from .kernel_names import kernels_of, with_dynamic_shared
from .source import PACKAGE, ROOT, Source

FOLDER = next(p for p in (PACKAGE / "csrc" / "emulator", ROOT / "csrc" / "emulator") if p.is_dir())
BASE = ["-std=c++20", "-gdwarf-4", "-g1",   # lines alone; binutils misreads the first file name of version 5
        "-fPIC", "-fno-strict-aliasing", "-fno-gnu-unique", "-fvisibility=hidden", "-fno-threadsafe-statics",
        "-Wno-unknown-pragmas", "-Wno-attributes", "-ffp-contract=fast", "-fno-math-errno", "-x", "c++", "-c"]
FAST = ["-O2", "-march=native"]
CHECKED = ["-O1", "-march=native", "-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0",
           "-fsanitize=bounds-strict,alignment,shift,integer-divide-by-zero,signed-integer-overflow",
           # what would merge, move or widen accesses and so hide what a kernel does
           "-fno-tree-vectorize", "-fno-tree-loop-im", "-fno-if-conversion", "-fno-store-merging",
           "-fno-tree-sra",
           "-fno-tree-loop-distribute-patterns", "-fno-hoist-adjacent-loads"]
SONAME = "libcuemu.so"   # the same of every runtime: one that changes leaves compiled kernels as they are
STACK = 128 << 10   # bytes a thread
# the library has one block, and a call to it lets other Python threads run
_building, _one_at_a_time = threading.Lock(), threading.Lock()
SHARED_MOST = 232448   # of dynamic shared memory: more than any GPU has


def compiler() -> list[str]:
    """CXX, which may be of several words: "ccache g++"."""
    return shlex.split(os.environ.get("CXX", "g++"))


def more_flags(checked=False) -> list[str]:
    """What PYOPS_EMULATOR_CXXFLAGS adds: sanitizers, another -march (`make sanitize-emulator`). No
    sanitizers to `checked` kernels, whose hooks are ours."""
    return [flag for flag in os.environ.get("PYOPS_EMULATOR_CXXFLAGS", "").split()
            if not (checked and "sanitize" in flag)]


def missing() -> str:
    """Why kernels cannot be emulated here; empty if they can."""
    tools = [t for t in (compiler()[0], "nm", "readelf", "addr2line") if not shutil.which(t)]
    return (f"the CUDA emulator compiles kernels and needs {', '.join(tools)}: install g++ and binutils"
            if tools else "")


def cache_folder() -> Path:
    return cache.folder("emulator")


def command(arguments) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"{' '.join(map(str, arguments))}\n{done.stderr[:6000]}")
    return done.stdout


class CompileError(RuntimeError):
    """A .cu file that g++ refuses; the message is the compiler's."""


@lru_cache(1)
def runtime() -> Path:
    """The scheduler and checker, compiled once a machine."""
    files = sorted(p for p in FOLDER.iterdir() if p.suffix in (".cpp", ".h"))
    flags = ["-O2", "-g", "-std=c++17", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden", *more_flags()]
    key = digest(*(p.read_bytes() for p in files), *flags, *compiler())
    library = cache_folder() / f"runtime-{key[:16]}.so"
    with _building:   # kernels are compiled from several threads
        if not cache.is_whole(library):
            with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
                made = Path(folder) / "runtime.so"
                command([*compiler(), *flags, "-shared", *(str(p) for p in files if p.suffix == ".cpp"), "-o",
                         str(made), f"-Wl,-soname,{SONAME}"])
                cache.keep(library, made.read_bytes())
    return library


@lru_cache(1)
def runtime_library():
    lib = C.CDLL(str(runtime()), mode=C.RTLD_GLOBAL)
    lib.cuemu_report.restype = lib.cuemu_profile.restype = C.c_char_p
    lib.cuemu_dyn_smem.restype = C.c_void_p
    return lib


@lru_cache(1)
def headers_digest() -> str:
    return digest(*(p.read_bytes() for p in sorted((FOLDER / "include").iterdir())))


def digest(*parts: str | bytes) -> str:
    return hashlib.sha256(b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)).hexdigest()


class _Launch(C.Structure):
    """cuemu::Launch in csrc/emulator/block.h, field by field."""
    _fields_ = [("kernel", C.c_void_p), ("arguments", C.POINTER(C.c_void_p)), ("grid", C.c_uint * 3),
                ("block", C.c_uint * 3), ("dynamic_shared", C.c_size_t), ("stack", C.c_size_t),
                *((n, C.c_int) for n in ("order", "checked", "profile", "strict_exit", "flush_denormals")),
                ("access_limit", C.c_uint64), ("base", C.c_size_t)]


class _Counts(C.Structure):
    """cuemu::Counts there."""
    _fields_ = [
        *((n, C.c_uint64) for n in ("barriers", "switches", "accesses", "collectives", "global_loaded",
                                    "global_stored", "shared_loaded", "shared_stored", "atomics")),
        ("faults", C.c_int), ("stopped", C.c_int)]


@dataclass(frozen=True)
class Fault:
    kind: str      # out-of-bounds, race-raw, barrier-divergence ...
    where: str     # file:line
    who: str       # block and thread
    message: str


@dataclass(frozen=True)
class Traffic:
    """What one source line moved: transactions (32-byte sectors; in shared memory bank wavefronts)
    a warp's request, and the fewest."""
    where: str
    space: str
    op: str
    size: int      # bytes a thread
    requests: int
    transactions: int
    ideal: int


@dataclass
class Report:
    counts: _Counts
    errors: list[Fault]
    traffic: list[Traffic] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return sorted({e.kind for e in self.errors})

    def __str__(self):
        lines = [f"[{e.kind}] {e.message}\n      at {e.where}, {e.who}" for e in self.errors]
        lines += [f"{t.where:<26} {t.space:<6} {t.op:<5} {t.size:2d} B: {t.requests} requests, "
                  f"{t.transactions / t.requests:.2f} transactions each, at best {t.ideal / t.requests:.2f}"
                  for t in self.traffic]
        return "\n  ".join(["", *lines]) if lines else "no faults"


class Module:
    """A .cu file, compiled and loaded."""

    _loaded: dict = {}

    @classmethod
    def of(cls, source: Source, checked: bool) -> Module:
        """The module of `source`, compiled only if nothing that it is made from has
        been compiled before."""
        key = (source, source.path.stat().st_mtime, checked)
        if key not in cls._loaded:
            cls._loaded[key] = cls(source, checked)
        return cls._loaded[key]

    def __init__(self, source: Source, checked: bool):
        self.source, self.checked = source, checked
        self.kernels = kernels_of(source.text)
        self.library = build(source, checked)
        runtime_library()
        self.handle = C.CDLL(str(self.library))
        self._read_symbols()
        self._lines: dict[int, str] = {}

    def function(self, name: str) -> Function:
        if name not in self.kernels:
            raise ValueError(f"{self.source.path.name} has no kernel {name!r}; there are "
                             f"{', '.join(self.kernels) or 'none'}")
        return Function(self, name)

    def _read_symbols(self):
        """Where the kernels' static shared variables lie, and what else of the library may
        be read unchecked."""
        address, statics = {}, []
        for line in command(["nm", "-S", "--defined-only", str(self.library)]).splitlines():
            parts = line.split()
            if len(parts) == 4:
                address[parts[3]] = int(parts[0], 16)
                if parts[2] in "bBdDuVv":
                    statics.append((int(parts[0], 16), int(parts[1], 16), parts[3]))
        entry = f"cuemu_call_{self.kernels[0]}"
        self.base = C.cast(getattr(self.handle, entry), C.c_void_p).value - address[entry]
        # a static inside a function is a __shared__ variable: its mangled name is _ZZ<function>E<name>
        self.shared = [(re.sub(r"^.*?E\d+(?=[A-Za-z_])", "", s), a + self.base, n) for a, n, s in statics
                       if s.startswith("_ZZ") and "CUEMU" not in s and "5cuemu" not in s]
        segments = (line.split() for line in command(["readelf", "-lW", str(self.library)]).splitlines())
        loaded = [(int(p[2], 16) + self.base, int(p[5], 16)) for p in segments if p and p[0] == "LOAD"]
        self.module_regions = list(_between(loaded, sorted((a, a + n) for _, a, n in self.shared)))

    def where(self, pc: int) -> str:
        """file:line of an address in this library."""
        if not pc:
            return "?"
        if pc not in self._lines:
            lines = command(["addr2line", "-e", str(self.library), "-i", hex(pc - 1)]).split("\n")
            ours = [re.sub(r" \(discriminator.*", "", x)
                    for x in lines if x and str(FOLDER) not in x and "kernel.cpp" not in x]
            self._lines[pc] = "/".join(Path(ours[0]).parts[-2:]) if ours else "?"
        return self._lines[pc]


def _between(segments, holes):
    """The parts of `segments` (start, size) outside `holes` (start, end), as (start, size)."""
    for start, size in segments:
        end = start + size
        for low, high in holes:
            if start <= low < end:
                if low > start:
                    yield start, low - start
                start = high
        if end > start:
            yield start, end - start


def build(source: Source, checked: bool) -> Path:
    """The library of `source`, from the cache or compiled into it."""
    flags = [*BASE, *(CHECKED if checked else FAST), *more_flags(checked), f"-I{FOLDER / 'include'}",
             *(o for o in source.options if o[:2] in ("-D", "-I")),
             "-include", str(FOLDER / "include" / "cuemu.h")]
    key = digest(headers_digest(), source.digest, *compiler(), *flags)
    library = cache_folder() / f"{source.path.parent.name}-{source.path.stem}-{source.real}-{key[:24]}.so"
    if cache.is_whole(library):
        return library
    names = kernels_of(source.text)
    if not names:
        raise ValueError(f"{source.path} has no __global__ function")
    text = (f'#line 1 "{source.path}"\n{with_dynamic_shared(source.text)}\n#line 1 "exports"\n'
            + "".join(f"CUEMU_EXPORT({k}, {k})\n" for k in names))
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        cpp, obj, made = (Path(folder) / f"kernel.{e}" for e in ("cpp", "o", "so"))
        cpp.write_text(text)
        command([*compiler(), *flags, str(cpp), "-o", str(obj)])
        command([*compiler(), "-shared", *more_flags(checked), str(obj), "-o", str(made), str(runtime()),
                 "-Wl,-z,defs"])
        cache.keep(library, made.read_bytes())
    return library


KIND = {"f": "f", "i": "i", "u": "u", "b": "b"}


def code_of(dtype) -> str:
    """A type's letter and size, as the kernel's own signature has them; V for what is only bytes to
    it (structs, half types)."""
    kind = KIND.get(dtype.kind, "V") if dtype.name not in ("float16", "bfloat16") else "V"
    return f"{kind}{dtype.itemsize}"


class Function:
    """One kernel: call it with a grid, a block and arguments whose types are those of its
    signature."""

    def __init__(self, module: Module, name: str):
        self.module, self.name = module, name
        self._entry = getattr(module.handle, f"cuemu_call_{name}")
        signature = getattr(module.handle, f"cuemu_sig_{name}")
        signature.restype = C.c_char_p
        self.signature = [p for p in signature().decode().split(";") if p]

    def __call__(self, grid, block, args, shared=0, *, order=0, profile=False, strict_exit=False, ftz=True,
                 limit=0) -> Report:
        grid, block = ((*map(int, sizes), 1, 1)[:3] for sizes in (grid, block))
        check_launch(self.name, grid, block, shared)
        if len(args) != len(self.signature):
            raise TypeError(f"{self.name}: {len(self.signature)} parameters, {len(args)} arguments")
        values, regions = self._marshal(args)
        with _one_at_a_time:
            return self._launch(grid, block, values, regions, shared, order, profile, strict_exit, ftz, limit)

    def _launch(self, grid, block, values, regions, shared, order, profile, strict_exit, ftz,
                limit) -> Report:
        lib, module = runtime_library(), self.module
        lib.cuemu_reset()
        for name, address, size, readonly in regions:
            self._region(name, address, size, 0, readonly)
        if shared:
            self._region("dynamic shared", lib.cuemu_dyn_smem(), shared, 1)
        for name, address, size in module.shared:
            self._region(name, address, size, 1)
        for address, size in module.module_regions:
            self._region("module", address, size, 2)
        pointers = (C.c_void_p * max(1, len(values)))(*(C.addressof(v) for v in values))
        launch = _Launch(C.cast(self._entry, C.c_void_p), pointers, grid, block, shared, STACK, order,
                         module.checked, profile, strict_exit, ftz, limit, module.base)
        counts = _Counts()
        lib.cuemu_launch(C.byref(launch), C.byref(counts))
        return Report(counts, self._faults(), self._traffic() if profile else [])

    @staticmethod
    def _region(name, address, size, space, readonly=False):
        runtime_library().cuemu_add_region(name.encode(), C.c_void_p(address), C.c_size_t(size), space,
                                           int(readonly))

    def _marshal(self, args):
        """C values of the arguments, and the memory that they let the kernel use: (name, address,
        bytes, read-only)."""
        values, seen = [], {}
        for i, (value, code) in enumerate(zip(args, self.signature)):
            if code[0] == "P":
                pointer = self._pointer(i, value, code)
                if pointer and value.nbytes:
                    held = seen.setdefault(pointer, [f"argument {i}", pointer, value.nbytes, True])
                    held[2], held[3] = max(held[2], value.nbytes), held[3] and code[1] == "c"
                values.append(C.c_void_p(pointer))
            else:
                values.append(self._by_value(i, value, code))
        return values, seen.values()

    def _pointer(self, i, value, code):
        if value is None:
            return 0
        if not isinstance(value, np.ndarray) or not value.flags.c_contiguous:
            raise TypeError(
                f"{self.name}: argument {i} must be a C-contiguous array, got {type(value).__name__}")
        want, have = code[2:], code_of(value.dtype)
        if want[0] in "fiub" and want != have or want[0] == "V" and want[1:] != have[1:]:
            raise TypeError(f"{self.name}: argument {i} is a pointer to {want} in the kernel and an array of "
                            f"{value.dtype} here")
        return value.ctypes.data

    def _by_value(self, i, value, code):
        if not isinstance(value, np.generic):
            raise TypeError(f"{self.name}: argument {i} must have a width ({code}): pass a NumPy scalar, not "
                            f"{type(value).__name__}")
        have = code_of(value.dtype)
        if have != code:
            raise TypeError(f"{self.name}: argument {i} is {code} in the kernel and {have} here")
        return (C.c_char * value.dtype.itemsize).from_buffer_copy(value.tobytes())

    def _faults(self):
        faults = []
        for line in runtime_library().cuemu_report().decode().splitlines():
            kind, pc, who, message = line.split("\t", 3)
            message = re.sub(r"the other access is at 0x([0-9a-f]+)",
                             lambda m: f"the other access: {self.module.where(int(m.group(1), 16))}", message)
            faults.append(Fault(kind, self.module.where(int(pc, 16)), who, message))
        return faults

    def _traffic(self):
        lines: dict = {}
        for line in runtime_library().cuemu_profile().decode().splitlines():
            pc, space, op, size, requests, _, _, transactions, ideal = line.split("\t")
            total = lines.setdefault((self.module.where(int(pc, 16)), space, op, int(size)), [0, 0, 0])
            for k, n in enumerate((requests, transactions, ideal)):
                total[k] += int(n)
        return [Traffic(*key, *total)
                for key, total in sorted(lines.items()) if key[1] != "module" and total[0]]


def check_launch(name, grid, block, shared):
    """ValueError for a launch that no GPU would take."""
    if block[0] * block[1] * block[2] > 1024 or block[2] > 64 or min(block) < 1:
        raise ValueError(f"{name}: a block of {block} threads; at most 1024 in all and 64 along z")
    if not (0 < grid[0] < 2 ** 31 and 0 < grid[1] < 65536 and 0 < grid[2] < 65536):
        raise ValueError(f"{name}: a grid of {grid} blocks; at most 2^31 - 1, 65535, 65535")
    if shared > SHARED_MOST:
        raise ValueError(f"{name}: {shared} bytes of shared memory; no GPU has more than {SHARED_MOST}")
