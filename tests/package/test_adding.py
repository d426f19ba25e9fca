"""How many places an activation takes: one is added to a copy of the package and used, and no place
can be left out unnoticed."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyops import _C
from pyops.cuda.kernel_names import kernels_of

ROOT = Path(__file__).parents[2]
TABLE = next(f for f in ("kernels/activation/kernels.inc", "csrc/kernels.inc") if (ROOT / f).exists())
# torch.nn.functional.hardshrink under a name that nobody has: (file, what the new lines stand in
# front of, the lines). The registers of its CUDA kernels are measured (python -m pyops.cuda.budget)
# and the stub of pyops.functional is made (tests/typing/make_stub.py), not written.
PLACES = [
    ("kernels/activation/reference.py", "def softsign(x):", """\
def shrunk(x, width): return np.where(np.abs(x) <= width, 0, x)
def shrunk_slope(x, width): return np.where(np.abs(x) <= width, 0.0, 1.0)
"""),
    ("kernels/activation/cpu.cpp", "void softsign(", """\
void shrunk(In<real> x, double width, Out<real> y) {
    map(x, y, CHEAP, [=](V x) { return vabs(x) <= (real)width ? V{} : x; });
}
void shrunk_backward(In<real> g, In<real> x, double width, Out<real> dx) {
    gate(g, x, dx, [=](V x) { return ~(vabs(x) <= (real)width); });
}

"""),
    ("kernels/activation/cuda.cu", "struct Softsign {", """\
struct Shrunk {
    acc width;
    __device__ acc operator()(acc x) const { return fabs(x) <= width ? acc(0) : x; }
    __device__ bool open(acc x) const { return !(fabs(x) <= width); }
};
__global__ void map_shrunk(const real* x, acc width, real* y, i64 n) { map(x, y, n, Shrunk{width}); }
__global__ void map_shrunk_backward(const real* g, const real* x, acc width, real* dx, i64 n) {
    map(g, x, dx, n, Gate<Shrunk>(Shrunk{width}));
}

"""),
    (TABLE, "KERNEL(softsign,", """\
KERNEL(shrunk, (In<real> x, double width, Out<real> y))
KERNEL(shrunk_backward, (In<real> g, In<real> x, double width, Out<real> dx))
"""),
    ("pyops/ops/activation.py", '"softsign", ', '"shrunk", '),
    ("pyops/ops/activation.py", "def softsign(", '''\
SHRUNK = row("shrunk", layer="Shrunk", names={"aten": "shrunk", "module": "Shrunk"})


def shrunk(input, width=0.5, *, out=None):
    """x where |x| > width, else 0. Any shape; returns an array like input."""
    return SHRUNK(input, width=float(width), out=out)


'''),
]
# What follows from them.
USE = """
import numpy as np, pyops
from pyops import functional as F, nn, validate
from pyops.core.registry import OPS
from pyops.core.tensor import Tensor
from pyops.graph import samples
from pyops.graph.compile import Options, simplified
from pyops.graph.lowering import lower
from pyops.kernels.activation.launch import __all__ as launched
from pyops.names import NAMES, ours
x = np.linspace(-2, 2, 9, dtype=np.float32)
want = np.where(np.abs(x) <= 0.5, 0, x)
with pyops.use_backend("reference"):
    assert np.array_equal(F.shrunk(x), want) and np.array_equal(nn.Shrunk(0.5)(x), want) and "Shrunk" in nn.__all__
    t = Tensor(x, requires_grad=True)
    F.shrunk(t, 1.2).sum().backward()
    assert np.array_equal(t.grad, np.abs(x) > 1.2)
op, back = OPS["shrunk"], OPS["shrunk_backward"]
assert op.pointwise and op.activation and op.per_sample and op.todo["epilogue"] and len(op.cases) >= 10
assert {case.call for case in op.cases} == {"shrunk"} and sum(validate.applies("gradient", c) for c in op.cases) >= 10
assert {"shrunk", "shrunk_backward"} <= set(launched)
assert NAMES.keys() == set(F.__all__) and ours("module")["Shrunk"] == "shrunk"
w = np.ones((20, 20, 3, 3), np.float32)
graph, _ = simplified(lambda x: F.conv2d(F.shrunk(F.conv2d(x, w)), w), (np.zeros((2, 20, 9, 9), np.float32),))
assert samples.apart(graph)
kernels = [step.kernel for step in lower(graph, Options("strict", 1, "scalar")).steps]
assert kernels == ["to_blocked", "direct_conv", "shrunk", "direct_conv", "from_blocked"], kernels
print(*(k for o in (op, back) for k in o.kernels))
"""


def copied(folder: Path, places) -> dict[str, str]:
    """The package in `folder`, with these places filled in; the environment to run it in."""
    for name in ("pyops", "kernels", "csrc"):
        shutil.copytree(ROOT / name, folder / name,
                        ignore=shutil.ignore_patterns("__pycache__", "*.so", "kernels", "bench"))
    (folder / "pyops" / "kernels").symlink_to(folder / "kernels")
    (folder / "pyops" / Path(_C.__file__).name).symlink_to(_C.__file__)
    for file, before, lines in places:
        text = (folder / file).read_text()
        assert text.count(before) == 1, f"{file}: {before!r} is not there once"
        (folder / file).write_text(text.replace(before, lines + before))
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def fault(folder: Path, environment) -> str:
    """What is wrong with the activation in `folder`: a use that fails, or a row without its
    kernels. Empty if nothing is."""
    run = subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True,
                         cwd=folder)
    if run.returncode:
        return run.stderr.strip().splitlines()[-1]
    for kernel in run.stdout.split():
        if f"KERNEL({kernel}," not in (folder / TABLE).read_text():
            return f"{kernel} is in no table"
        if not re.search(rf"^void {kernel}\(", (folder / "kernels/activation/cpu.cpp").read_text(),
                         flags=re.M):
            return f"{kernel} is not defined"
        if f"map_{kernel}" not in kernels_of((folder / "kernels/activation/cuda.cu").read_text()):
            return f"map_{kernel} is no CUDA kernel"
    return ""


def test_an_activation_takes_few_places(tmp_path):
    files = {file for file, _, _ in PLACES}
    assert len(PLACES) <= 8 and len(files) <= 5
    assert len({file.split("/")[1]
                for file in files if file.startswith("kernels/")}) == 1, "one family folder"
    assert fault(tmp_path, copied(tmp_path, PLACES)) == ""


@pytest.mark.parametrize("left_out", range(len(PLACES)),
                         ids=[f"{i}-{Path(p[0]).name}" for i, p in enumerate(PLACES)])
def test_none_can_be_left_out_in_silence(left_out, tmp_path):
    assert fault(tmp_path, copied(tmp_path, [p for i, p in enumerate(PLACES) if i != left_out]))


def test_the_kernels_compile(tmp_path):
    """cpu.cpp with the new functions, for the scalar instruction set; the table's
    declarations agree with them."""
    copied(tmp_path, PLACES)
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    folders = [f"-I{tmp_path / folder}" for folder in ("csrc", "kernels/activation", "kernels")]
    flags = ["-std=c++17", "-fsyntax-only", "-fopenmp", "-DISA=scalar", "-DREAL=float", "-DREAL_NAME=f32",
             "-DREAL_f32"]
    made = subprocess.run([compiler, *flags, *folders, str(tmp_path / "kernels/activation/cpu.cpp")],
                          capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
