"""Type checkers take right.py whole, and find every mistake of wrong.py and nothing else; the stub
is what the functions say."""
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyops.functional as F

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def by_mypy(*files):
    """{(file, line)} of the errors that mypy --strict finds."""
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy", "--config-file", HERE / "mypy.ini",
                           "--no-error-summary", *files],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {(Path(m[1]).name, int(m[2]))
            for m in re.finditer(r"^([^:\n]+):(\d+): error:", done.stdout, re.M)}, done.stdout


def by_pyright():
    pytest.importorskip("pyright")
    done = subprocess.run([sys.executable, "-m", "pyright", "-p", HERE, "--pythonpath", sys.executable,
                           "--outputjson"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {(Path(d["file"]).name, d["range"]["start"]["line"] + 1)
            for d in found if d["severity"] == "error"}, done.stdout


def snippets(page):
    """The Python of a page's fences, as one program: prompts gone, results gone."""
    lines = []
    for fence in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        if ">>> " not in fence:
            lines += fence.splitlines()
            continue
        wanted = "Traceback" in fence
        for line in fence.splitlines():
            if line.startswith((">>> ", "... ", "...")):
                lines.append(line[4:])
            elif line.startswith("Traceback") and wanted:
                lines.pop()   # what the page shows to be wrong
    return "\n".join(lines) + "\n"


def test_snippets_of_the_pages_are_taken(tmp_path):
    """By pyright, in its basic mode: names, attributes and arguments are there."""
    pytest.importorskip("pyright")
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        (tmp_path / f"{page.stem}_page.py").write_text(snippets(page))
    (tmp_path / "pyrightconfig.json").write_text(
        json.dumps({"extraPaths": [str(ROOT)], "typeCheckingMode": "basic", "reportUnusedExpression": False,
                    "reportMissingImports": False, "reportMissingModuleSource": False}))
    done = subprocess.run([sys.executable, "-m", "pyright", "-p", tmp_path, "--pythonpath", sys.executable,
                           "--outputjson"],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    found = [f"{Path(d['file']).name}:{d['range']['start']['line'] + 1} {d['message']}"
             for d in json.loads(done.stdout)["generalDiagnostics"] if d["severity"] == "error"]
    assert not found, "\n".join(found)


def wanted():
    lines = (HERE / "wrong.py").read_text().splitlines()
    return {("wrong.py", n) for n, line in enumerate(lines, 1) if line.endswith("# error")}


@pytest.mark.parametrize("check",
                         [lambda: by_mypy("tests/typing/right.py", "tests/typing/wrong.py"), by_pyright],
                         ids=["mypy", "pyright"])
def test_right_programs_are_taken_and_wrong_ones_refused(check):
    found, said = check()
    assert len(wanted()) >= 15
    assert not wanted() - found, f"not found: {sorted(wanted() - found)}"
    assert not found - wanted(), f"found where nothing is wrong: {sorted(found - wanted())}\n{said[-3000:]}"


def test_the_public_face_is_strict():
    face = ["__init__.py", "functional.pyi",
            *(f"core/{name}.py" for name in ("tensor", "tape", "types", "numpy_functions", "late")),
            "nn", "optim", "graph/compile.py", "graph/program.py", "models/create.py"]
    found, said = by_mypy(*(f"pyops/{name}" for name in face))
    assert not found, said[-3000:]


def test_the_stub_is_what_the_functions_say():
    make = module("make_stub")
    assert make.STUB.read_text() == make.text(), "run tests/typing/make_stub.py"


def test_every_public_function_is_annotated():
    import inspect
    for name in F.__all__:
        signature = inspect.signature(getattr(F, name))
        assert signature.return_annotation is not inspect.Signature.empty, name
        assert all(p.annotation is not p.empty for p in signature.parameters.values()), name
