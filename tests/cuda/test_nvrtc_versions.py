"""CUDA files are taken by the NVRTC that machine code for other machines is made with (13.0, `make nvrtc`)
as by the one that is installed, with CCCL's headers at hand and without. Each in a process of its own,
for a process has one NVRTC; with hardly any optimisation, for it is the language that versions differ in."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyops.cuda import budget, nvrtc

ROOT = Path(__file__).parents[2]
# PYOPS_TEST_NVRTC: another folder with lib/ and include/
OLDER = Path(os.environ.get("PYOPS_TEST_NVRTC", ROOT / "build/gpu/nvrtc-13.0/nvidia/cu13"))
pytestmark = [pytest.mark.skipif(bool(nvrtc.missing()), reason=nvrtc.missing() or "can run"),
              pytest.mark.skipif(not OLDER.is_dir(), reason="no second NVRTC: make nvrtc")]
COMPILE = """
import sys
from pyops.cuda import nvrtc
from pyops.cuda.source import named_source
nvrtc.FLAGS = (*nvrtc.FLAGS, "--Ofast-compile=max")
for line in sys.stdin.read().splitlines():
    name, arch = line.split("\\t")
    try:
        nvrtc._compile(named_source(name), arch)
    except nvrtc.CompileError as why:
        print("REFUSED", name, str(why)[:300])
print(nvrtc.version(), "cccl" if nvrtc.headers("cccl") else "no cccl")
"""


def without_cccl(toolkit, folder):
    """A folder like the toolkit's, but for CCCL."""
    (folder / "include").mkdir(parents=True)
    (folder / "lib").symlink_to(toolkit / "lib")
    for path in (toolkit / "include").iterdir():
        if path.name != "cccl":
            (folder / "include" / path.name).symlink_to(path)
    return folder


def one_a_file(forms):
    """Of every file its first form in float32 and in bfloat16, or in the types that it is for."""
    chosen = {(source.path, source.real): (source, arch) for source, arch in reversed(forms)}
    return [form for (_, real), form in chosen.items() if real in ("f32", "bf16")]


# machine code is made and looked at by the installed one, with CCCL, in test_cuda_build.py
@pytest.mark.parametrize("chosen, toolkit, cccl", [
    pytest.param(choice, toolkit, cccl, marks=mark, id=f"{choice.__name__}-{toolkit}-{'cccl' if cccl else 'no_cccl'}")
    for choice, mark in ((one_a_file, pytest.mark.slow), (list, pytest.mark.full))
    for toolkit, cccl in (("older", True), ("older", False), ("installed", False))])
def test_forms_compile(chosen, toolkit, cccl, tmp_path):
    installed = Path(nvrtc.headers("cudart")).parent
    folder = OLDER if toolkit == "older" else installed
    folder = folder.resolve() if cccl else without_cccl(folder.resolve(), tmp_path / "toolkit")
    forms = chosen(budget.launched_on_hopper())
    assert len(forms) > 90
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILE], capture_output=True, text=True,
                          input="".join(f"{source.name}\t{arch}\n" for source, arch in forms),
                          env={**os.environ, "PYOPS_CUDA_TOOLKIT": str(folder)})
    *refused, said = done.stdout.splitlines() or [done.stderr]
    assert refused == []
    version, _, headers = said.partition(" ")
    assert headers == ("cccl" if cccl else "no cccl"), said
    assert (version == nvrtc.version()) == (toolkit == "installed"), said
