"""The code base looks at itself: what is set is documented, modules import, references stand
alone, the checks hold."""
import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [p for folder in ("pyops", "kernels", "csrc", "bench") for p in (ROOT / folder).rglob("*")
           if p.suffix in (".py", ".cpp", ".h", ".cuh", ".cu", ".sh", ".inc")] + [ROOT / "setup.py",
                                                                                  ROOT / "Makefile"]
# An extra's libraries, where one is missing, hide the module that needs them.
EXTRAS = {"torch", "onnx", "h5py", "matplotlib", "optuna", "PIL", "rich", "safetensors", "sklearn", "cupy",
          "numba", "cuda", "ml_dtypes",
          "onnxruntime", "openvino", "ncnn", "pytest_benchmark", "torchvision", "timm", "google", "keras"}
SCRIPTS = {"pyops.__main__", "pyops.bench.experiments.__main__"}


def test_every_variable_is_on_the_page_of_settings():
    page = set(re.findall(r"PYOPS_[A-Z][A-Z_]+", (ROOT / "docs" / "settings.md").read_text()))
    # what is read: a name in quotes, or in the Makefile; HAVE_... of the compiler are no settings
    read = {name for p in SOURCES
            for name in re.findall(r"""["'](PYOPS_[A-Z][A-Z_]+)["']""", p.read_text(errors="replace"))}
    assert read == page


def modules():
    """(name in the package, file) of every module."""
    for folder, package in (("pyops", "pyops"), ("kernels", "pyops.kernels"), ("bench", "pyops.bench")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = path.relative_to(ROOT / folder).with_suffix("")
            if place.parts[0] in ("kernels", "bench") and folder == "pyops":   # `make links`
                continue
            name = ".".join([package, *place.parts]).removesuffix(".__init__")
            if name not in SCRIPTS:
                yield name


@pytest.mark.parametrize("name", list(modules()))
def test_a_module_imports(name):
    try:
        import_module(name)
    except ImportError as error:
        if (error.name or "").split(".")[0] not in EXTRAS and not any(extra in str(error)
                                                                      for extra in EXTRAS):
            raise
        pytest.skip(f"needs an extra: {error.name}")


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").glob("*/reference.py")),
                         ids=lambda p: p.parent.name)
def test_a_definition_stands_on_numpy_alone(path):
    allowed = {"numpy", "math", "itertools", "functools", "__future__", "pyops.kernels", "collections",
               "typing"}
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = ["pyops.kernels" if node.level in (1, 2) else node.module or ""]
            assert node.level < 3, f"line {node.lineno} reaches out of kernels/"
        for name in names:
            assert any(name == a or name.startswith(a + ".")
                       for a in allowed), f"line {node.lineno} imports {name}"


@pytest.mark.parametrize("folder", ["rows", "compiled", "package"])
def test_quick_tests_can_be_collected_without_extras(folder):
    """What `make matrix` runs beside NumPy and pytest alone: a library that is not there skips a
    file, and is no error."""
    for path in (ROOT / "tests" / folder).glob("*.py"):
        asked: set[str] = set()
        for node in ast.parse(path.read_text()).body:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and isinstance(
                        call.func, ast.Attribute) and call.func.attr == "importorskip":
                    asked |= {a.value.split(".")[0] for a in call.args if isinstance(a, ast.Constant)}
            names = ([a.name for a in node.names] if isinstance(node, ast.Import)
                     else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            missing = {name.split(".")[0] for name in names} & EXTRAS - asked
            assert not missing, (f"{path.name}:{node.lineno} imports {missing} before pytest.importorskip "
                                 "has asked for it")


def test_prose_is_a_hundred_columns_wide():
    run = subprocess.run([sys.executable, ROOT / "tests" / "checks" / "prose.py"], capture_output=True,
                         text=True)
    assert run.returncode == 0, run.stdout
