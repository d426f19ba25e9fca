"""Numba CUDA kernels: on Numba's simulator, which must be chosen before numba is imported and so
has a process of its own; and compiled to PTX for named architectures, which needs no driver."""
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")
MODULES = ("detection.numba_cuda", "detection.numba_suppression", "detection.numba_regions", "embedding.numba_cuda",
           "pooling.numba_cuda")


def test_kernels_agree_with_their_definitions_on_the_simulator():
    run = subprocess.run([sys.executable, str(Path(__file__).with_name("numba_simulated.py"))],
                         capture_output=True, text=True, env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"})
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("agrees") == 12


@pytest.mark.parametrize("real", ["float32", "float64"])
@pytest.mark.parametrize("name", MODULES)
def test_every_signature_compiles(name, real):
    from numba import cuda, types
    from numba.core import sigutils
    module = importlib.import_module(f"pyops.kernels.{name}")
    for kernel, signature in module.signatures(real):
        arguments, _ = sigutils.normalize_signature(f"({', '.join(signature)})")
        for capability in ((7, 5), (9, 0)):
            ptx, result = cuda.compile_ptx(kernel.py_func, arguments, cc=capability)
            assert result == types.void and f"sm_{capability[0]}{capability[1]}" in ptx


def test_nothing_is_compiled_or_asked_of_a_driver_at_import():
    code = ("import importlib; [importlib.import_module('pyops.kernels.' + name) for name in "
            f"{MODULES!r}]; print('fine')")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "fine", run.stderr
