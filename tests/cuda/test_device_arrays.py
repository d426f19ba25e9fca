"""Every row takes arrays that lie on a GPU, also those without CUDA kernels, and gives such arrays back.
With the stand-in for CuPy, in processes of its own."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyops.core.backends import BACKENDS
from pyops.cuda import emulator

pytestmark = [pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run"),
              pytest.mark.skipif(not BACKENDS["cuda"].missing, reason="a GPU is here")]
pytest.importorskip("ml_dtypes")
FAKE = Path(__file__).parent / "fake"
EVERY_ROW = """
import sys, warnings
import cupy, numpy as np
from pyops import functional as F, validate
from pyops.core.backends import use_backend
from pyops.core.registry import OPS
warnings.simplefilter("ignore")


def moved(value):
    if isinstance(value, dict):
        return {k: moved(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(moved, value))
    return cupy.asarray(value) if isinstance(value, np.ndarray) else value


for op in OPS.values():
    for case in op.cases[int(sys.argv[1]):int(sys.argv[2])]:
        args, kwargs = case.arguments(np.dtype(np.float32))
        with use_backend("reference"):
            want = validate.flat(validate.call(case, args, kwargs))
        try:
            got = validate.flat(validate.call(case, moved(args), moved(kwargs)))
            for i, (g, w) in enumerate(zip(got, want, strict=True)):
                if w is not None:
                    assert isinstance(g, cupy.ndarray) and g.dtype == w.dtype, f"{type(g)}, {g.dtype} for {w.dtype}"
                    validate.assert_close(g.get(), w, max(case.tolerance or op.tolerance, 64), f"result {i}")
        except Exception as why:
            print(f"{op.name} {case.why}: {type(why).__name__}: {str(why)[:200]}")
"""


def with_stand_ins(script, *arguments, **variables):
    path = os.pathsep.join(filter(None, (str(FAKE), os.getcwd(), os.environ.get("PYTHONPATH"))))
    return subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": path, "PYOPS_CUDA_TOOLKIT": "/nowhere", **variables})


@pytest.mark.parametrize("first, end", [(0, 1), pytest.param(1, 4, marks=pytest.mark.slow),
                                        pytest.param(4, 1000, marks=pytest.mark.full)])
def test_every_row_takes_device_arrays(first, end):
    done = with_stand_ins(EVERY_ROW, first, end)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize("call, want", [
    ("F.floor(x)", "[-2.0, 0.0, 1.0]"), ("F.add(i, i)", "[-4, 0, 6]"), ("F.gt(x, 0.0)", "[False, True, True]"),
    ("F.cumsum(x, 0)", "[-1.5, -1.25, 0.25]"), ("F.cat([i, i], 0)", "[-2, 0, 3, -2, 0, 3]"),
    ("F.where(F.gt(x, 0.0), x, 0.0)", "[0.0, 0.25, 1.5]"), ("F.floor(F.mul(h, 2.0))", "[-3.0, 0.0, 3.0]"),
    ("F.add(x, i)", "[-3.5, 0.25, 4.5]"), ("F.mul(i, 0.5)", "[-1.0, 0.0, 1.5]"), ("F.topk(x, 2)[1]", "[2, 1]"),
])
def test_calls_on_device_arrays(call, want):
    done = with_stand_ins("import sys, warnings; warnings.simplefilter('ignore')\n"
                          "import cupy, numpy as np, ml_dtypes\nfrom pyops import functional as F\n"
                          "x = cupy.asarray(np.array([-1.5, 0.25, 1.5], np.float32))\n"
                          "i = cupy.asarray(np.array([-2, 0, 3]))\n"
                          "h = cupy.asarray(x.get().astype(ml_dtypes.bfloat16))\n"
                          f"y = {call}\nassert isinstance(y, cupy.ndarray), type(y)\nprint(y.get().tolist())")
    assert done.stdout.strip() == want, done.stdout + done.stderr[-2000:]


def test_what_the_host_computes_is_said_once():
    done = with_stand_ins("import cupy, numpy as np, warnings\nfrom pyops import functional as F\n"
                          "x = cupy.asarray(np.ones((3, 4), np.float32))\n"
                          "with warnings.catch_warnings(record=True) as told:\n    warnings.simplefilter('always')\n"
                          "    F.cumsum(x, 1), F.cumsum(x, 0), F.relu(x)\n"
                          "print(*(w.category.__name__ + ': ' + str(w.message) for w in told))")
    assert done.stdout.strip() == ("HostWarning: cumsum has no CUDA kernel: computed in the host's memory, which waits "
                                   "for the device"), done.stdout + done.stderr[-2000:]


def test_a_tensor_of_torch_that_requires_a_gradient_is_refused():
    """torch raises where it is asked for its interface, of which nobody should hear."""
    done = with_stand_ins("import torch, numpy as np\nfrom pyops import functional as F\n"
                          "x = torch.Tensor(np.ones(3, np.float32))\nprint(F.relu(x).host.tolist())\n"
                          "try: F.relu(x.requires_grad_())\nexcept TypeError as why: print(why)")
    assert done.stdout.splitlines()[0] == "[1.0, 1.0, 1.0]", done.stderr[-2000:]
    assert "relu: input 0 requires a gradient in torch" in done.stdout


def test_tensor_maps_have_the_numbers_of_cudas_headers():
    names = pytest.importorskip("cuda.bindings.driver")
    from pyops.cuda import tensor_map
    kinds, found = names.CUtensorMapDataType, tensor_map.TYPES
    assert found == {"float16": int(kinds.CU_TENSOR_MAP_DATA_TYPE_FLOAT16),
                     "bfloat16": int(kinds.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16)}
    assert tensor_map.MODES == tuple(map(int, (
        names.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE, names.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
        names.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        names.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)))
