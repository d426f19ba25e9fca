"""Builds pyops for every Python that is here and tries it: exit codes of whole processes,
then the quick tests.

    python tests/checks/matrix.py [--isas scalar] [--no-tests] [PYTHON ...]      (make matrix)

Without names: 3.10 to 3.14, also without the GIL, on PATH or under pyenv. Each gets an environment
in build/matrix/ with NumPy, pybind11, setuptools and pytest; objects of kernels, which know no
Python, are compiled once for all.
"""
import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t")
NEEDS = ("numpy>=2.0", "setuptools>=80", "wheel", "pybind11>=3.0", "pytest>=8", "hypothesis>=6",
         "threadpoolctl>=3")
# What a user's process does, from its first import to its end: the exit code is part of the answer.
PROCESSES = {
    "an op": "import numpy as np, pyops.functional as F; assert F.relu(np.array([-1, 2], 'f4')).tolist() == [0, 2]",
    "a gradient": ("import numpy as np, pyops; x = pyops.Tensor(np.ones(3, 'f4'), requires_grad=True); (x * "
                   "x).sum().backward(); assert x.grad.tolist() == [2, 2, 2]"),
    "a program": ("import numpy as np, pyops; from pyops import nn; m = nn.Sequential(nn.Conv2d(3, 16, 3), "
                  "nn.ReLU()).eval(); x = np.ones((1, 3, 8, 8), 'f4'); assert np.allclose(pyops.compile(m, "
                  "x)(x), m(x), atol=1e-5)"),
    "a refusal": ("import numpy as np, pyops.functional as F\ntry: F.conv2d(np.ones(3), np.ones(3))\nexcept "
                  "ValueError: pass\nelse: raise SystemExit(9)"),
}


def found() -> dict[str, str]:
    """Version: program, of the Pythons of VERSIONS that are on this machine."""
    here = {}
    for version in VERSIONS:
        on_path = shutil.which(f"python{version}")
        pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version.rstrip('t')}.*"))
        pyenv = [p / "bin" / "python" for p in pyenv if p.name.endswith("t") == version.endswith("t")]
        # a shim of pyenv's is on PATH whether or not that version may be used
        for program in [*pyenv, *([on_path] if on_path else [])]:
            if subprocess.run([program, "-c", ""], capture_output=True).returncode == 0:
                here[version] = str(program)
                break
    return here


def run(command, **variables) -> int:
    environment = {k: v
                   for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return subprocess.run(list(map(str, command)), cwd=ROOT, env={**environment, **variables}).returncode


def attempt(name: str, program: str, isas: str, tests: bool) -> list[str]:
    """What went wrong with one Python."""
    folder = ROOT / "build" / "matrix" / name.replace("/", "_")
    python = folder / "bin" / "python"
    if not python.exists() and run([program, "-m", "venv", folder]):
        return ["no environment"]
    if run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *NEEDS]):
        return ["its packages cannot be installed"]
    if run([python, "setup.py", "--quiet", "build_ext", "--inplace"],
           **({"PYOPS_BUILD_ISAS": isas} if isas else {})):
        return ["does not build"]
    wrong = [f"{what}: exit code {code}"
             for what, text in PROCESSES.items() if (code := run([python, "-c", text]))]
    if (code := run([python, "-m", "pyops", "validate", "--op", "softsign"])):
        wrong.append(f"pyops validate: exit code {code}")
    if tests and (code := run([python, "-m", "pytest", "-q", "-m", "quick", "-p", "no:cacheprovider",
                               "tests/rows", "tests/compiled", "tests/package"])):
        wrong.append(f"quick tests: exit code {code}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--isas", default="", help="instruction sets to build, as PYOPS_BUILD_ISAS")
    parser.add_argument("--no-tests", action="store_true", help="the build and the exit codes only")
    parser.add_argument("--which", metavar="VERSION", choices=VERSIONS,
                        help="print the program of a Python that works, and do nothing else")
    parser.add_argument("pythons", nargs="*", help="programs; otherwise every Python that is found")
    args = parser.parse_args()
    here = found()
    if args.which:
        print(here.get(args.which, f"python{args.which}"))
        return args.which not in here
    # python3.12 is the one that works of that version: on PATH there may be a shim that does not
    programs = {name: here.get(name.removeprefix("python"), name) for name in args.pythons} or here
    if not args.pythons:
        print("not on this machine:", ", ".join(v for v in VERSIONS if v not in programs) or "none",
              flush=True)
    results = {}
    for name, program in programs.items():
        print(f"== {name}: {program}", flush=True)
        results[name] = attempt(name, program, args.isas, not args.no_tests)
    for name, wrong in results.items():
        print(f"{name:8} {'; '.join(wrong) or 'good'}")
    return any(results.values())


if __name__ == "__main__":
    sys.exit(main())
