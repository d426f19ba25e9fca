"""The tables of kernels: what is compiled again after a change, kernels of one instruction set
only, what the binding refuses.

A throw-away family is compiled with setup.py's own means and linked with the objects of
the build that is here.
"""
import importlib.util
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import setuptools

from pyops import _C
from pyops.core.backends import ISAS, available
from pyops.core.registry import OPS
from pyops.graph import costs
from pyops.graph.activations import NONE, RELU

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
needs_build = pytest.mark.skipif(not (BUILD / "rows").exists(), reason="needs the build folder")
HERE = [isa for isa in ISAS if isa in available()]


@pytest.fixture
def setup_py(monkeypatch):
    """setup.py as a module, without its call of setup()."""
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: None)
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("setup_of_pyops", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


# ---- one list of instruction sets

def test_every_instruction_set_has_costs_and_an_unknown_one_is_refused():
    assert set(costs.DEFAULT) == set(_C.ISAS)
    with pytest.raises(ValueError, match="avx1024"):
        costs.of.__wrapped__("avx1024")


def test_the_build_and_the_extension_read_one_list(setup_py):
    assert set(_C.built) <= set(setup_py.ISA_FLAGS) <= set(_C.ISAS)


def test_activations_are_known_by_name():
    applied = [op.epilogue(*[1.0] * len(inspect.signature(op.epilogue).parameters))
               for op in OPS.values() if op.epilogue]
    named = {found[0] for found in applied if found}
    assert named | {NONE.name, RELU.name} == set(_C.activations)


# ---- what the binding takes

X, Y = np.linspace(-1, 1, 7, dtype=np.float32), np.empty(7, np.float32)


@pytest.mark.parametrize("arguments, error, said", [
    ((X,), TypeError, r"relu takes 2 arguments \(In<real> x, Out<real> y\), got 1"),
    ((X.astype(np.float64), Y), TypeError, "argument 0 .* must be a contiguous float32 array or None"),
    ((X, None), TypeError, "argument 1 .* must be a contiguous writable float32 array"),
    ((X[::2], Y[:4]), TypeError, "argument 0"),
    ((X.astype(">f4"), Y), TypeError, "argument 0"), ((list(X), Y), TypeError, "argument 0"),
])
@pytest.mark.parametrize("isa", HERE)
def test_a_kernel_refuses_what_is_unsafe(isa, arguments, error, said):
    with pytest.raises(error, match=said):
        getattr(_C, isa).f32.relu(*arguments)


def test_a_kernel_does_not_write_what_is_read_only():
    fixed = np.empty(7, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(TypeError, match="argument 1"):
        getattr(_C, HERE[0]).f32.relu(X, fixed)


MAPS = np.zeros((1, 1, 4, 4, 16), np.float32)
WINDOW = ((2, 2), (2, 2), (0, 0), (1, 1))


@pytest.mark.parametrize("window", [(2, 2), ((2, 2),) * 3, ((2, 2), (2, 2), (0, 0), (1,)),
                                    ((2, 2), (2, 2), (0, 0), (1.5, 1)),
                                    ((2, 2), (2, 2), (0, 0), 1), (tuple(range(9)),) * 4, None])
def test_a_window_is_four_tuples_of_as_many_ints(window):
    with pytest.raises(TypeError,
                       match=r"argument 1 .* must be a tuple \(kernel, stride, padding, dilation\)"):
        getattr(_C, HERE[0]).f32.max_pool_blocked(MAPS, window, np.zeros((1, 1, 2, 2, 16), np.float32))


@pytest.mark.parametrize("act", [("relu", 0.0, 0.0), (0, 0.0, 0.0), ("clamp", 0.0), ("clamp", 0.0, "1"),
                                 "clamp", None])
def test_an_activation_is_a_name_and_two_numbers(act):
    with pytest.raises(TypeError, match=r"argument 2 .* must be a tuple \(name, a, b\)"):
        getattr(_C, HERE[0]).f32.add_maps(MAPS, MAPS, act, MAPS.copy())


@pytest.mark.parametrize("place, said", [
    ((0, 0, 0, (2, 1, 4, 4, 16), 2 ** 62, "float32"), "memory can hold"),
    ((0, 0, 0, (1, 2 ** 62, 4, 4, 16), 256, "float32"), "memory can hold"),
    ((0, 0, 4, (1, 1, 4, 4, 16), 256, "float32"), "inside its buffer"),
    ((0, 0, 0, (1, -1, 4, 4, 16), 256, "float32"), "from 0"),
    ((3, 0, 0, (1, 1, 4, 4, 16), 256, "float32"), "a place in"),
    ((1, 5, 0, (1, 1, 4, 4, 16), 256, "float32"), "input or output"),
    ((0, 0, 0, (1, 1, 4, 4, 8), 256, "float32"), "16"), ((0, 0, 0, 7, 256, "float32"), "place"),
    ((0, 0, "0", (1,), 0, "float32"), "ints"),
    ((0, 0, 0, (1, 1, 4, 4, 16), 256, "int64"), "of that type"),
    ((0, 0, 0, (1, 1, 4, 4, 16), 256, "object"), "of that type"),
    ((0, 0, 0, (1, 1, 4, 4, 16)), "place"), ((0, 0, 0, (1, 1, 4, 4, 16), 256, 7), "place"),
])
def test_a_program_refuses_places_outside_its_memory(place, said):
    program = _C.Program(HERE[0], MAPS.nbytes, [MAPS.nbytes], [MAPS.nbytes], 1)
    other = (1, 0, 0, (1, 1, 4, 4, 16), 256)
    with pytest.raises(TypeError, match=said):
        program.add("add_maps", (place, other, ("clamp", 0.0, 1.0), other))


# ---- what is compiled

@needs_build
def test_an_object_reads_the_tables_of_its_own_family_only():
    for record in BUILD.glob("kernels/*/*.d"):
        family = record.stem.split("-")[0]
        read = {word
                for word in record.read_text().split() if word.endswith(("/kernels.inc", "/program.inc"))}
        assert read <= {f"kernels/{family}/kernels.inc", f"kernels/{family}/program.inc"}, record
    tables = {p.relative_to(ROOT).as_posix() for name in ("kernels.inc", "program.inc")
              for p in (ROOT / "kernels").glob(f"*/{name}")}
    for record in BUILD.glob("rows/*-f32.d"):
        assert tables <= {os.path.normpath(word) for word in record.read_text().split()}


CPU = '''#include "kernel.h"
BEGIN_KERNELS
void {name}(In<real> x, Out<real> y) {{
    for (i64 i = 0; i < x.size(); ++i) y.data[i] = {factor} * x.data[i];
}}
{more}
END_KERNELS
'''
ONLY = '''#if defined(__AVX2__)
void doubled_wide(In<real> x, Out<real> y) { doubled(x, y); }
#endif
'''


@pytest.fixture
def thrown(setup_py, tmp_path, monkeypatch):
    """setup.py for two throw-away families, compiled into a folder of their own."""
    for family, name, factor, more in (("first", "doubled", 2, ONLY), ("second", "tripled", 3, "")):
        folder = tmp_path / "kernels" / family
        folder.mkdir(parents=True)
        (folder / "cpu.cpp").write_text(CPU.format(name=name, factor=factor, more=more))
        (folder / "kernels.inc").write_text(f"KERNEL({name}, (In<real> x, Out<real> y))\n" + (
            "ONLY(avx2, doubled_wide, (In<real> x, Out<real> y))\n" if more else ""))
    (tmp_path / "kernels" / "first" / "program.inc").write_text("")
    monkeypatch.setattr(setup_py, "KERNELS", tmp_path / "kernels")
    monkeypatch.setattr(setup_py, "BUILD", tmp_path / "build")
    return setup_py


@pytest.mark.skipif(not {"avx2", "scalar"} <= set(HERE) or not shutil.which("g++"),
                    reason="needs two instruction sets and a compiler")
@needs_build
def test_kernels_of_a_new_family_and_of_one_set_only(thrown, capsys, monkeypatch, tmp_path):
    isas = ["avx2", "scalar"]
    thrown.write_tables()
    objects = [o for isa in isas for o in thrown.kernel_objects(isa, isas)]
    isas_object = next(o for o in thrown.binding_objects(isas) if o.source.name == "isas.cpp")
    thrown.compile_all([*objects, isas_object])
    lines = capsys.readouterr().out.splitlines()
    assert len(objects) == 2 * 2 * 3 and len(lines) == len(objects) + 2
    assert (all(line.startswith(f"[{i:2}/{len(objects) + 1}] ") for i, line in enumerate(lines[:-1], 1))
            and "13 of 13" in lines[-1])
    assert any("first/cpu.cpp avx2 f64  " in line for line in lines)
    thrown.compile_all([*objects, isas_object])
    assert capsys.readouterr().out == "", "nothing is compiled twice"

    monkeypatch.setattr(thrown, "BUILD", thrown.here(BUILD))
    rest = [o.path for o in thrown.binding_objects(list(thrown.ISA_FLAGS)) if o.source.name != "isas.cpp"]
    extension = tmp_path / "_C.so"
    subprocess.run(["g++", "-shared", "-fopenmp",
                    *map(str, [*rest, isas_object.path, *(o.path for o in objects)]), "-o", str(extension)],
                   cwd=ROOT, check=True)
    run = subprocess.run([sys.executable, "-c", f'''
import importlib.util, numpy as np
spec = importlib.util.spec_from_file_location("_C", {str(extension)!r})
C = importlib.util.module_from_spec(spec)
spec.loader.exec_module(C)
x, y = np.arange(5.0), np.empty(5)
for isa in (C.avx2, C.scalar):
    isa.f64.tripled(x, y)
    assert (y == 3 * x).all()
C.avx2.f64.doubled_wide(x, y)
assert (y == 2 * x).all() and C.only == {{"doubled_wide": "avx2"}} and C.built == ("avx2", "scalar")
for refused in (lambda: C.scalar.f64.doubled_wide(x, y),
                lambda: C.Program("scalar", 0, [], [], 1).add("doubled_wide", (x, y))):
    try:
        refused()
    except NotImplementedError as error:
        print(error)
'''], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("only avx2 has") == 2 and run.stdout.count("scalar does not") == 2, run.stdout

    table = tmp_path / "kernels" / "second" / "kernels.inc"   # a line more in one family's table
    table.write_text(table.read_text() + "KERNEL(tripled_again, (In<real> x, Out<real> y))\n")
    stale = {o.name for o in objects if not o.up_to_date()}
    assert stale == {o.name for o in objects if "second" in o.name or "rows.cpp" in o.name}


def test_without_a_compiler_it_says_what_to_install(thrown, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler -flag")
    with pytest.raises(SystemExit, match="no no-such-compiler here.*apt install g[+][+].*CXX"):
        thrown.compile_all(list(thrown.kernel_objects("scalar", ["scalar"])))


def test_the_stub_is_made_from_the_tables(thrown):
    text = thrown.stub()
    assert ("def doubled_wide(self, x: NDArray[Real] | None, y: NDArray[Real], /) -> None" in text
            and "scalar: _Set" in text)
