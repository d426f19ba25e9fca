"""Every case of every row on the CUDA kernels: on the emulator with every access checked, then
unchecked with threads in three orders; and on the GPU where there is one."""
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from joined import check_each

from pyops import functional as F, validate
from pyops.core.backends import BACKENDS, DTYPES, use_backend
from pyops.core.registry import OPS
from pyops.cuda.backend import launchers
from pyops.cuda.emulated import fast
from pyops.cuda.emulator import build
from pyops.cuda.source import Source, cuda_files

CUDA = BACKENDS["cuda"]
ORDERS = {"ascending": 0, "descending": 1, "random": 7}
pytestmark = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                                reason=BACKENDS["cuda-emulated"].missing or "can run")
CHECKED: dict[tuple[str, str], list] = {}   # (row, check): cases
for _op, _case in validate.rows():
    for _check in ("forward", "gradient"):
        if validate.applies(_check, _case):
            CHECKED.setdefault((_op.name, _check), []).append(_case)
REALS = ("f32", "f64")
every_check = pytest.mark.parametrize("name, check, real", [pytest.param(*key, real, id="-".join((*key, real)))
                                                            for key in CHECKED for real in REALS])
# Where threads exchange values, an order could matter in one type and not in another: tiles differ.
EXCHANGING = {"attention", "batch_norm", "broadcast", "convolution", "gemm", "group_norm", "layer_norm",
              "local_response_norm", "loss", "matmul", "recurrent", "reduction", "softmax"}
ORDERED = [pytest.param(op, real, id=f"{op.name}-{real}", marks=[pytest.mark.full] if real == "f64" else [])
           for op in OPS.values() if op.cases for real in ("f32", "f64")
           if real == "f32" or op.forward.__module__.rsplit(".", 1)[-1] in EXCHANGING]


@pytest.fixture(scope="module", autouse=True)
def compiled(request):
    """All files for the types that are tested, on every core at once; what a launch defines more is
    compiled when it comes."""
    reals = [r for r in REALS if any(i.path == request.path and f"-{r}]" in i.name for i in request.session.items)]
    sources = [Source(path, real) for path in cuda_files() for real in reals]
    # the others are for 16-bit types alone
    jobs = [(s, checked) for s in sources if s.real in s.reals and not s.required.endswith("a")
            for checked in (True, False) if checked or s.real == "f32"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: build(*job), jobs))


def skip_without_kernels(op, backend):
    if backend in op.todo:
        pytest.skip(f"{op.name} has no {backend} kernel: {op.todo[backend]}")


def check_cases(name, check, real, backend):
    op = OPS[name]
    skip_without_kernels(op, backend)
    check_each(((f"{case.call}-{case.why}-{real}", case, real) for case in CHECKED[name, check]),
               lambda case, real: validate.CHECKS[check](op, case, backend, real))


@every_check
def test_checked(name, check, real):
    check_cases(name, check, real, "cuda-emulated")


@pytest.mark.parametrize("op, real", ORDERED)
def test_no_order_of_threads_changes_a_result(op, real):
    skip_without_kernels(op, "cuda-emulated")
    check_each(((f"{case.call}-{case.why}", case, real) for case in op.cases), check_orders)


def check_orders(case, real):
    """Forward and backward: what one order computes every other does, to the last bit."""
    results = {}
    for name, order in ORDERS.items():
        args, kwargs = case.arguments(DTYPES[real])
        with use_backend("cuda-emulated"), fast(order):
            results[name] = [*validate.flat(validate.call(case, args, kwargs)),
                             *(validate.gradients(case, args, kwargs)[2] if case.gradient else [])]
    for name, found in results.items():
        for i, (a, b) in enumerate(zip(results["ascending"], found, strict=True)):
            assert np.array_equal(a, b, equal_nan=True), f"result {i} is another with threads in {name} order"


@pytest.mark.parametrize("call", [
    lambda F, x: F.max_pool2d(x, 3, 2), lambda F, x: F.max_pool2d(x, 7),
    lambda F, x: F.adaptive_max_pool2d(x, 2), lambda F, x: F.maximum(x, np.zeros_like(x)),
    lambda F, x: F.minimum(x, np.zeros_like(x)), lambda F, x: F.amax(x, -1), lambda F, x: F.softmax(x, -1),
    lambda F, x: F.relu(x), lambda F, x: F.clamp(x, -1, 1), lambda F, x: F.avg_pool2d(x, 2),
], ids=["max_pool", "max_pool_wide", "adaptive", "maximum", "minimum", "amax", "softmax", "relu", "clamp",
        "avg_pool"])
def test_nan_and_infinity_go_where_the_definition_has_them(call):
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    x[0, 0, 4, 4], x[0, 1, 0, 0], x[1, 2, 8, 8], x[1, 0, 2, 3] = np.nan, np.inf, -np.inf, np.nan
    with use_backend("reference"):
        want = call(F, x)
    with use_backend("cuda-emulated"):
        validate.assert_close(call(F, x), want, 64, "result")


@pytest.mark.skipif(bool(CUDA.missing), reason=f"no GPU: {CUDA.missing}")
@every_check
def test_on_the_gpu(name, check, real):
    check_cases(name, check, real, "cuda")


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_an_op_has_its_kernels_or_a_reason(op):
    has = all(k in launchers() for k in op.kernels)
    assert has != ("cuda-emulated" in op.todo), f"{op.name}: kernels or a todo, not both, not neither"
