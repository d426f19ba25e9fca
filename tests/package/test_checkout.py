"""What is in the tree: a checkout imports as it lies or says what to do; the names, the sdist, the
files that a project has."""
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy
import pytest

import pyops

ROOT = Path(__file__).parents[2]
TRACKED = [ROOT / name
           for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
           .stdout.split("\n") if name]
NUMPY = str(Path(numpy.__file__).parents[1])


def in_folder(folder, code):
    """`code` by this Python in `folder`, with NumPy and without any installed pyops."""
    code = f"import sys; sys.path.append({NUMPY!r})\n" + code
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYOPS_", "PYTHON"))}
    return subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True,
                          env=environment)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the checkout, built, and without the links of `make links`."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyops", "kernels", "bench"):
        shutil.copytree(ROOT / name, folder / name,
                        ignore=lambda path, names: [n for n in names if (Path(path) / n).is_symlink()
                                                    or n in ("__pycache__", "results")])
    shutil.copy(ROOT / "setup.py", folder)
    return folder


def test_a_built_checkout_needs_no_install(copy):
    run = in_folder(
        copy, "import numpy as np, pyops, pyops.bench.shapes, pyops.functional as F\n"
        "import pyops.kernels as k; print(F.relu(np.array([-1., 2.])), pyops.__file__, k.__file__)")
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["[0.", "2.]", f"{copy}/pyops/__init__.py", f"{copy}/kernels/__init__.py"]


def test_a_checkout_that_is_not_built_says_what_to_do(copy):
    for extension in (copy / "pyops").glob("_C.*.so"):
        extension.unlink()
    said = in_folder(copy, "import pyops").stderr.splitlines()[-1]
    assert (said.startswith("ImportError: pyops: the checkout")
            and "is not built; run `make build` there" in said)
    (copy / "pyops" / "_C.cpython-39-x86_64-linux-gnu.so").touch()
    said = in_folder(copy, "import pyops").stderr.splitlines()[-1]
    assert ("built for another Python (_C.cpython-39-x86_64-linux-gnu.so)" in said
            and "make build PYTHON=python3." in said)


@pytest.mark.skipif(not TRACKED, reason="needs git's list of files")
def test_nothing_tells_a_user_to_install_the_other_pyops():
    wrong = re.compile(r"""pip install [^\n#&;]*?(?<![/\w])pyops(?!-kernels)['"\[\s`]""")
    texts = [p for p in TRACKED if p.suffix in (".py", ".md", ".toml", ".yml", ".yaml") and p.exists()]
    assert [(str(p), m[0]) for p in texts for m in wrong.finditer(p.read_text())] == []


def test_the_version_is_said_once():
    run = subprocess.run([sys.executable, "-m", "pyops", "--version"], capture_output=True, text=True)
    assert run.stdout.split() == ["pyops", pyops.__version__]
    assert f"version: {pyops.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {pyops.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(not TRACKED, reason="needs git's list of files")
def test_the_source_distribution_is_whole(tmp_path):
    """Every file of git's that a build, a user or a test reads; nothing that was built."""
    run = subprocess.run([sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path, "sdist",
                          "--dist-dir", tmp_path, "--formats", "gztar"],
                         cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    archive = next(tmp_path.glob("pyops_kernels-*.tar.gz"))
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames() if not name.endswith("/")}
    wanted = {p.relative_to(ROOT).as_posix() for p in TRACKED if p.is_file()}
    left_out = {name for name in wanted - names if not name.startswith((".", "bench/results/"))}
    assert left_out == set(), "MANIFEST.in leaves out files"
    assert {"kernels/gemm/cpu.cpp", "csrc/module.cpp", "pyops/_C.pyi", "setup.py", "LICENSE"} <= names
    built = {name for name in names if re.search(r"\.(so|o|d|pyc|whl)$|__pycache__", name)
             or name.startswith(("build/", ".venv"))}
    assert built == set()


def test_tests_lie_on_a_floor():
    assert [p.name for p in (ROOT / "tests").glob("test_*.py")] == []
