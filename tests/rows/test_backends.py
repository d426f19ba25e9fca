"""What stands in for a backend has what the contract says (pyops/core/kernels_protocol.py)."""
import numpy as np
import pytest

from pyops import validate
from pyops.core.backends import BACKENDS
from pyops.core.kernel_set import Into, KernelSet
from pyops.core.kernels_protocol import Backend, Kernels
from pyops.core.registry import OPS
from pyops.graph.trace import ShapeKernels

WANTED = [name for name in vars(Kernels) if not name.startswith("_")]


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_keeps_its_contract(name):
    backend = BACKENDS[name]
    assert isinstance(backend, Backend) and backend.name == name and len(repr(backend)) < 200
    for real, kernels in ({} if backend.missing else backend.sets).items():
        assert not [n for n in WANTED if not hasattr(kernels, n)] and kernels.real == real
        assert not [n for op in OPS.values() if name not in op.todo and not {"cuda", "cuda-emulated"} & {name}
                    for n in op.kernels if not hasattr(kernels, n)]


def test_stand_ins_keep_the_contract_of_kernels():
    plain = next(b for b in BACKENDS.values() if b.sets).sets["f32"]
    assert {"real", "dtype", "acc", "empty", "host"} == set(WANTED) and isinstance(plain, KernelSet)
    for kernels in (plain, Into(plain, np.empty(3, np.float32), "relu"), validate.GuardedKernels(plain, []),
                    ShapeKernels()):
        assert not [n for n in WANTED if not hasattr(kernels, n)], type(kernels).__name__
        made = kernels.empty((3,))
        assert made.shape == (3,) and made.dtype == kernels.dtype == np.float32
