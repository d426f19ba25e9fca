"""What a user installs: import time and what it pulls in, the wheel, the stub, and the variables
that limit instruction sets."""
import ast
import os
import re
import shlex
import subprocess
import sys
import zipfile
from itertools import takewhile
from pathlib import Path

import pytest

from pyops import _C
from pyops.core.backends import BACKENDS, ISAS, available

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "cupy", "numba", "onnx", "onnxruntime", "openvino", "matplotlib", "PIL", "sklearn", "scipy",
         "rich", "safetensors")


def python(code, **variables):
    # Compiled modules are kept, as for any user: without them every start would compile all of pyops again.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYOPS_")
                   and k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**environment, **variables}, cwd="/")


def test_import_is_light():
    """Processor time, which a busy machine does not stretch as it does the clock's. NumPy
    itself takes most of it."""
    seconds = min(float(
        python("import time; t = time.process_time(); import pyops; print(time.process_time() - t)").stdout)
                  for _ in range(5))
    numpy = min(float(
        python("import time; t = time.process_time(); import numpy; print(time.process_time() - t)").stdout)
                for _ in range(3))
    assert (seconds < 0.2
            or seconds < numpy + 0.1), f"import pyops takes {seconds:.3f} s, numpy alone {numpy:.3f} s"


def test_import_pulls_in_nothing_heavy():
    run = python(
        f"import sys, pyops, pyops.cli, pyops.cli.info; print([m for m in {HEAVY} if m in sys.modules])")
    assert run.stdout.strip() == "[]", run.stderr


def built_with() -> dict[str, str]:
    """CXX as the objects of the checkout were compiled with: with another, the wheel would
    compile all of them anew."""
    record = next((ROOT / "build" / "kernels").glob("*/*.cmd"), None)
    words = shlex.split(record.read_text()) if record else []
    return {"CXX": " ".join(takewhile(lambda word: not word.startswith("-"), words))} if words else {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    if "PYOPS_BUILD_ISAS" in os.environ:
        pytest.skip("a partial build has no wheel")
    folder = tmp_path_factory.mktemp("wheel")
    run = subprocess.run([sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", folder,
                          "--bdist-dir", folder / "unpacked"],
                         cwd=ROOT, capture_output=True, text=True, env={**os.environ, **built_with()})
    assert run.returncode == 0, run.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_is_small_and_whole(wheel):
    assert wheel.stat().st_size < 8 << 20
    names = set(zipfile.ZipFile(wheel).namelist())
    families = [p.parent.name for p in (ROOT / "kernels").glob("*/reference.py")]
    assert {"pyops/py.typed", "pyops/_C.pyi", "pyops/bench/shapes.py"} <= names
    assert {f"pyops/kernels/{family}/reference.py" for family in families} <= names
    assert {p.relative_to(ROOT).as_posix() for p in (ROOT / "pyops").rglob("*.py")} <= names
    assert {f"pyops/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "kernels").rglob("*.py")} <= names
    assert {f"pyops/{p.relative_to(ROOT).as_posix()}" for p in (ROOT / "bench").rglob("*.py")} <= names
    cuda = [*(ROOT / "kernels").glob("*/*.cu*"),
            *(ROOT / "kernels").glob("*/launch.py"), *(ROOT / "csrc" / "cuda").glob("*.cuh"),
            *(p for p in (ROOT / "csrc" / "emulator").rglob("*.*") if p.suffix in (".h", ".cpp"))]
    assert len(cuda) > 60 and {f"pyops/{p.relative_to(ROOT).as_posix()}" for p in cuda} <= names
    strangers = {n.split("/")[0] for n in names} - {"pyops"}
    assert all(n.endswith(".dist-info")
               for n in strangers), f"the wheel would install {strangers} beside pyops"


def test_the_wheel_works_from_where_it_is_unpacked(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    run = python("import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f)]; "
                 f"sys.path.insert(0, {str(tmp_path)!r})\n"
                 "import numpy as np, pyops, pyops.functional as F\n"
                 "with pyops.use_backend('reference'): want = F.layer_norm(np.eye(3), (3,))\n"
                 "assert np.allclose(F.layer_norm(np.eye(3), (3,)), want); print(pyops.__file__)\n"
                 "if not pyops.core.backends.BACKENDS['cuda-emulated'].missing:\n"
                 "    with pyops.use_backend('cuda-emulated'): assert np.allclose(F.layer_norm(np.eye(3), "
                 "(3,)), want)")
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(str(tmp_path)), run.stdout + run.stderr


@pytest.mark.parametrize("isa", ISAS)
def test_max_isa_is_honoured_or_refused(isa):
    run = python("import pyops; print(pyops.get_backend().name)", PYOPS_MAX_ISA=isa)
    allowed = [name for name in available() if name in ISAS and ISAS.index(name) >= ISAS.index(isa)]
    assert run.stdout.strip() == allowed[0]


@pytest.mark.parametrize("variable, value, said", [("PYOPS_MAX_ISA", "avx1024", "is not one of"),
                                                   ("PYOPS_BACKEND", "fastest", "is not one of"),
                                                   ("PYOPS_NUM_THREADS", "-2", "positive integer")])
def test_a_variable_that_cannot_be_honoured_is_refused(variable, value, said):
    run = python("import pyops", **{variable: value})
    assert run.returncode and said in run.stderr and value in run.stderr


def test_a_backend_that_is_not_here_is_refused():
    absent = next(name for name, b in BACKENDS.items() if b.missing)
    run = python("import pyops", PYOPS_BACKEND=absent)
    assert run.returncode and absent in run.stderr


def test_the_extension_says_what_it_has():
    assert set(_C.built) <= set(ISAS) and set(_C.cpu) == set(ISAS)
    for name in ISAS:
        assert hasattr(_C, name) == (name in _C.built and _C.cpu[name])


@pytest.mark.parametrize("real, classes", [("f64", ["_Kernels"]), ("f32", ["_Kernels", "_ProgramKernels"])])
def test_the_stub_is_in_step_with_the_extension(real, classes):
    """Every kernel that is bound, with as many parameters, and no other. Programs' kernels
    are of floats only."""
    tree = ast.parse((ROOT / "pyops" / "_C.pyi").read_text())
    kernels = [f for node in tree.body if isinstance(node, ast.ClassDef) and node.name in classes
               for f in node.body if isinstance(f, ast.FunctionDef)]
    stub = {f.name: len(f.args.posonlyargs) - 1 for f in kernels}
    module = getattr(getattr(_C, available()[0]), real)
    bound = {k: len(re.findall(r"\w+[,)]", f.__doc__))
             for k, f in vars(module).items() if not k.startswith("_")}
    assert stub == bound
