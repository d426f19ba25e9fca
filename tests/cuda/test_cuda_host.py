"""The host side of CUDA without a GPU: importing and degrading, what is said where a device cannot
be used, arguments, device arrays."""
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyops
from pyops import functional as F
from pyops.core.backends import BACKENDS
from pyops.cuda import arguments, device, emulator
from pyops.cuda.backend import CudaBackend
from pyops.cuda.emulated import EmulatedDevice, KernelFault, fast, profiled
from pyops.cuda.source import KERNELS, Source, cuda_files, kernel_source, read_files


def python(code, **variables):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, **variables})


def test_import_asks_nothing_of_cupy_or_a_driver():
    run = python(
        "import sys, pyops, pyops.cuda.backend, pyops.cuda.arrays, pyops.functional as F, numpy as np; "
        "F.relu(np.ones(3, np.float32)); print([m for m in ('cupy', 'numba', 'cuda') if m in sys.modules])")
    assert run.stdout.strip() == "[]", run.stderr


def missing_with(monkeypatch, cupy):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return device.missing.__wrapped__()


def test_without_cupy_it_says_what_to_install(monkeypatch):
    assert "pip install pyops-kernels[cuda]" in missing_with(monkeypatch, None)


def test_a_cache_folder_that_cannot_be_made_is_no_crash():
    run = python("from pyops.core.backends import BACKENDS; import numpy as np, pyops.functional as F; "
                 "print(BACKENDS['cuda'].missing); print(F.relu(-np.ones(1, np.float32)))",
                 CUPY_CACHE_DIR="/proc/none/such")
    assert run.returncode == 0, run.stderr
    assert "CuPy cannot be imported" in run.stdout and "[" in run.stdout


def fake_cupy(driver=13000, count=1, capability=(9, 0)):
    runtime = SimpleNamespace(driverGetVersion=lambda: driver, getDeviceCount=lambda: count,
                              getDevice=lambda: 0, CUDARuntimeError=RuntimeError,
                              getDeviceProperties=lambda i: {"major": capability[0], "minor": capability[1],
                                                             "name": b"Some GPU"})
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


@pytest.mark.parametrize("cupy, said", [
    (fake_cupy(driver=0), "no NVIDIA driver"),
    (fake_cupy(driver=12040), "supports CUDA 12.4, kernels need 13.0; update the driver"),
    (fake_cupy(count=0), "CUDA_VISIBLE_DEVICES"),
    (fake_cupy(capability=(6, 1)), "Some GPU has compute capability 6.1"), (fake_cupy(), ""),
])
def test_what_is_said_of_a_device_that_cannot_be_used(monkeypatch, cupy, said):
    message = missing_with(monkeypatch, cupy)
    assert said in message if said else message == ""


@pytest.mark.skipif(not BACKENDS["cuda"].missing, reason="a GPU is here")
def test_cuda_asked_for_by_name_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="backend 'cuda': "):
        pyops.get_backend("cuda")
    assert F.relu(np.array([-1.0, 2.0])).tolist() == [0, 2]


def test_out_of_memory_says_what_is_free(monkeypatch):
    class OutOfMemoryError(Exception):
        pass
    cupy = fake_cupy()
    cupy.cuda.memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
    cupy.cuda.runtime.memGetInfo = lambda: (1 << 30, 80 << 30)

    def full(shape, dtype):
        raise OutOfMemoryError
    cupy.empty = full
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(MemoryError, match="1024 of 81920 MiB are free; cupy.get_default_memory_pool"):
        device.CupyDevice("f32").empty((1 << 40,))


@pytest.fixture
def compiled_by_cupy(monkeypatch):
    """A device of capability 9.0 and no NVRTC of ours."""
    monkeypatch.setattr(device, "machine_code", lambda *_: None)
    monkeypatch.setattr(device, "_capability", lambda _: (9, 0))
    monkeypatch.setattr(device, "_attributes", lambda _: {"MaxSharedMemoryPerBlockOptin": 227 << 10})
    monkeypatch.setattr(device, "module", device.module.__wrapped__)
    monkeypatch.setattr(device, "function", device.function.__wrapped__)


@pytest.mark.usefixtures("compiled_by_cupy")
def test_a_kernel_the_device_compiler_refuses_is_named(monkeypatch):
    class CompileException(Exception):
        pass

    class Module:
        def __init__(self, **_): pass
        def get_function(self, name): raise CompileException("line 3: no such thing")
    cupy = fake_cupy()
    cupy.cuda.compiler, cupy.RawModule = SimpleNamespace(CompileException=CompileException), Module
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(device.KernelCompileError,
                       match="cuda.cu .f32. does not compile for this device(?s:.*)line 3"):
        device.function(kernel_source("softmax/cuda.cu", "f32"), 0.0, 0, "softmax_warp", False)


@pytest.mark.usefixtures("compiled_by_cupy")
def test_launch_packs_structs_uploads_tables_and_asks_for_shared_memory(monkeypatch):
    launched = []

    class Kernel:
        shared_size_bytes = 3000

        def __call__(self, grid, block, args, shared_mem): launched.append((grid, block, args, shared_mem))
    kernel = Kernel()
    cupy = fake_cupy()
    cupy.asarray = lambda a: ("on device", a.tolist())
    cupy.RawModule = lambda **_: SimpleNamespace(get_function=lambda name: kernel)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    device.CupyDevice("f32").launch("softmax/cuda.cu", "any", (2,), (32,), ((3, 4), np.arange(2), 1.5, None),
                                    shared=50 << 10)
    (grid, block, args, shared), = launched
    assert (grid == (2,) and block == (32,) and shared == 50 << 10
            and kernel.max_dynamic_shared_size_bytes == (227 << 10) - 3000)
    assert args[0].dtype == arguments.DIMS and args[0]["v"][0, :2].tolist() == [3, 4] and args[0]["n"][0] == 2
    assert (args[1] == ("on device", [0, 1]) and args[2] == np.float32(1.5) and args[2].dtype == np.float32
            and args[3] is None)


def test_a_launch_does_not_ask_the_file_system(monkeypatch):
    """The first launch of a file may; PYOPS_CUDA_RELOAD is for who edits kernels while they run."""
    looked = []
    plain = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **how: looked.append(self.name) or plain(self, **how))
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    monkeypatch.setattr(device, "function", lambda *_: lambda *_, **__: None)
    on_device = device.CupyDevice("f32")
    on_device.launch("softmax/cuda.cu", "any", (2,), (32,), ())
    looked.clear()
    for _ in range(3):
        on_device.launch("softmax/cuda.cu", "any", (2,), (32,), (1.5, None))
    assert looked == []


def test_an_empty_grid_launches_nothing(monkeypatch):
    monkeypatch.setattr(device, "function", None)
    device.CupyDevice("f32").launch("softmax/cuda.cu", "any", (0, 3), (32,), ())


@pytest.mark.parametrize("value, error, said", [
    (2 ** 31, OverflowError, "2147483648 does not fit"), (tuple(range(9)), ValueError, "at most 8"),
    ("text", TypeError, "cannot pass a str"),
])
def test_arguments_that_cannot_be_passed(value, error, said):
    with pytest.raises(error, match=said):
        arguments.argument(value, "f32")


def test_a_digest_sees_headers_types_and_macros():
    source = kernel_source("softmax/cuda.cu", "f32")
    assert {p.name for p in read_files(source.path)} >= {"cuda.cu", "reduce.cuh", "real.cuh", "index.cuh"}
    assert len({source.digest, kernel_source("softmax/cuda.cu", "f64").digest,
                kernel_source("softmax/cuda.cu", "f32", BM=1).digest}) == 3


def test_every_file_includes_only_what_a_device_compiler_has():
    for path in cuda_files():
        for line in (line for file in read_files(path)
                     for line in file.read_text().splitlines() if line.startswith("#include <")):
            assert line.split("<")[1].split(">")[0] in ("cuda_fp16.h",
                                                        "cuda_bf16.h"), f"{path.relative_to(KERNELS)}: {line}"


def test_dynamic_shared_memory_is_declared_as_aligned_as_it_is_used():
    """16-byte packets and copies go to it, behind static arrays of any size."""
    declared = [line for path in (*cuda_files(), *KERNELS.glob("*/*.cuh")) for line in path.read_text().splitlines()
                if "extern __shared__" in line]
    assert declared and [line for line in declared if "extern __shared__ __align__(16) " not in line] == []


# ---- arrays on a device, with NumPy arrays and the emulator in its place

class FakeArray(np.ndarray):
    """A NumPy array that says it lies on a GPU."""
    on = 0

    @property
    def __cuda_array_interface__(self):
        return {"version": 3, "data": self.__array_interface__["data"]}

    @property
    def device(self):
        return Place(self.on)


class Place:
    def __init__(self, id): self.id = id
    def __enter__(self): return self
    def __exit__(self, *_): return False


def fake(array, on=0):
    array = np.asarray(array).view(FakeArray)
    array.on = on
    return array


@pytest.fixture
def on_gpu(monkeypatch):
    cupy = fake_cupy()
    cupy.ndarray, cupy.ascontiguousarray, cupy.asarray = FakeArray, np.ascontiguousarray, fake
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(BACKENDS, "cuda", CudaBackend("cuda", EmulatedDevice, lambda: ""))


EMULATED = pytest.mark.skipif(bool(emulator.missing()), reason=emulator.missing() or "can run")


@EMULATED
def test_device_arrays_run_on_the_cuda_kernels(on_gpu):
    x = np.random.default_rng(0).standard_normal((3, 5))
    assert np.allclose(F.softmax(fake(x), 1), F.softmax(x, 1), atol=1e-12)
    turned = fake(np.asfortranarray(x))
    assert np.allclose(F.softmax(turned, 0), F.softmax(x, 0), atol=1e-12)


@EMULATED
def test_numbers_and_indices_of_the_host_join_device_arrays(on_gpu):
    x = np.random.default_rng(0).standard_normal((3, 5))
    assert (np.array_equal(F.add(fake(x), 2.0), x + 2) and np.array_equal(F.sub(2.0, fake(x)), 2 - x)
            and np.array_equal(F.mul(fake(x), np.array(3.0)), x * 3))
    assert np.array_equal(F.embedding(np.array([2, 0]), fake(x)), x[[2, 0]])


class Exporter:
    """Not NumPy's, as a torch tensor is not."""
    __cuda_array_interface__ = {"version": 3}

    def __array__(self, dtype=None, copy=None):
        return np.ones(3, np.float32)


def test_a_number_takes_the_type_of_a_device_array(on_gpu):
    from pyops.ops.elementwise import number
    assert number(2, Exporter()).dtype == np.float32 and number(2, Exporter()).ndim == 0


@EMULATED
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_computed_in_float(on_gpu, dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x = np.random.default_rng(0).standard_normal((3, 40)).astype(dtype)
    y = F.softmax(fake(x), 1)
    want = F.softmax(x.astype(np.float64), 1)
    assert (y.dtype == x.dtype
            and np.array_equal(y.astype(np.float64), want.astype(np.float32).astype(dtype).astype(np.float64))
            or np.abs(y.astype(np.float64) - want).max()
            <= float(np.finfo(np.float16).eps if dtype == "float16" else 2.0 ** -8) * want.max())


def torch_of_the_host():
    return pytest.importorskip("torch").ones(3, dtype=pytest.importorskip("torch").float64)


@EMULATED
def test_arrays_of_the_host_are_copied_to_those_of_a_device_and_it_is_said_once(on_gpu, monkeypatch):
    from pyops.cuda import on_host
    monkeypatch.setattr(on_host, "_told", set())
    with pytest.warns(on_host.HostWarning, match="add: input 1 lies in the host's memory") as told:
        y, _ = F.add(fake(np.ones(3)), np.ones(3)), F.add(fake(np.ones(3)), np.ones(3))
    assert y.tolist() == [2, 2, 2] and len(told) == 1


@EMULATED
@pytest.mark.parametrize("call, error, said", [
    (lambda: F.add(fake(np.ones(3)), torch_of_the_host()), TypeError, "input 1 is a Tensor in the host's memory"),
    (lambda: F.add(fake(np.ones(3)), fake(np.ones(3), on=1)), ValueError,
     "input 1 lies on GPU 1, the first input on GPU 0"),
    (lambda: F.add(fake(np.ones(3)), fake(np.ones(3, np.float32))), TypeError, "share one of float32"),
    (lambda: F.relu(fake(np.ones(3, np.int32))), TypeError, "share one of float32"),
    (lambda: F.relu(fake(np.ones(3)), out=np.ones(3)), TypeError, "out= is for arrays in the host's memory"),
])
def test_device_arrays_that_are_refused(on_gpu, call, error, said):
    with pytest.raises(error, match=said):
        call()


@pytest.mark.skipif(not BACKENDS["cuda"].missing, reason="a GPU is here")
def test_a_device_array_without_a_driver_says_so():
    with pytest.raises(ValueError, match="backend 'cuda'"):
        F.relu(fake(np.ones(3)))


# ---- the emulator's own refusals

def user_kernel(tmp_path, text, name="k.cu"):
    path = tmp_path / name
    path.write_text(text)
    return Source(path, "f32")


@EMULATED
@pytest.mark.parametrize("args, said", [
    ([np.zeros(4), np.int32(4)], "pointer to f4 in the kernel and an array of float64"),
    ([np.zeros(4, np.float32), np.int64(4)], "is i4 in the kernel and i8"),
    ([np.zeros(4, np.float32), 4], "must have a width"),
    ([np.zeros(4, np.float32)], "2 parameters, 1 arguments"),
    ([np.zeros(8, np.float32)[::2], np.int32(4)], "C-contiguous"),
])
def test_arguments_of_other_types_are_refused(tmp_path, args, said):
    source = user_kernel(
        tmp_path,
        'extern "C" __global__ void k(float* x, int n) { if (threadIdx.x < n) x[threadIdx.x] = 1; }')
    with pytest.raises(TypeError, match=said):
        emulator.Module.of(source, True).function("k")((1,), (4,), args)


@EMULATED
@pytest.mark.parametrize("grid, block, shared, said",
                         [((1,), (2048,), 0, "at most 1024"), ((1, 70000), (32,), 0, "at most 2.31"),
                          ((1,), (32,), 1 << 20, "shared memory")])
def test_launches_that_no_gpu_takes_are_refused(tmp_path, grid, block, shared, said):
    source = user_kernel(tmp_path, 'extern "C" __global__ void k(float* x) { x[0] = 1; }')
    with pytest.raises(ValueError, match=said):
        emulator.Module.of(source, True).function("k")(grid, block, [np.zeros(1, np.float32)], shared)


@EMULATED
def test_a_compiler_of_several_words(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "env g++")
    source = user_kernel(tmp_path, 'extern "C" __global__ void k(float* x) { x[0] = 3; }')
    x = np.zeros(1, np.float32)
    emulator.Module.of(source, True).function("k")((1,), (1,), [x])
    assert x[0] == 3


@EMULATED
def test_a_file_that_does_not_compile_shows_the_compilers_words(tmp_path):
    with pytest.raises(emulator.CompileError, match="nowhere"):
        emulator.Module.of(
            user_kernel(tmp_path, 'extern "C" __global__ void k(float* x) { x[0] = nowhere; }'), True)
    with pytest.raises(ValueError, match="no __global__ function"):
        emulator.Module.of(user_kernel(tmp_path, "int x;", "none.cu"), True)


@EMULATED
def test_a_fault_names_kernel_place_and_thread(monkeypatch, tmp_path):
    source = user_kernel(tmp_path, '\nextern "C" __global__ void k(float* x) { x[threadIdx.x] = 1; }')
    monkeypatch.setattr("pyops.cuda.emulated.kernel_source", lambda *_, **__: source)
    with pytest.raises(
            KernelFault,
            match=r"k<<<\(1,\), \(32,\)>>>(?s:.*)out-of-bounds(?s:.*)k.cu:2(?s:.*)thread\(20,0,0\)"):
        EmulatedDevice("f32").launch("k.cu", "k", (1,), (32,), [np.zeros(20, np.float32)])


@EMULATED
def test_modes_of_the_emulator_end_with_their_block():
    x = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32)
    with pyops.use_backend("cuda-emulated"):
        with fast(1), profiled() as seen:
            F.softmax(x, 1)
        count = len(seen)
        F.softmax(x, 1)
    assert count == len(seen) == 1


@contextmanager
def folder(path):
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


SAXPY = ('extern "C" __global__ void saxpy(float a, const float* x, float* y, int n) {\n' "    const int i = "
         "blockIdx.x * blockDim.x + threadIdx.x;\n    if (i < n) y[i] = a * x[i] + y[i];\n}\n")
CASES = """import numpy as np
from pyops.cuda.user_kernel import KernelCase


def cases():
    x, y = np.random.default_rng(0).standard_normal((2, 1000)).astype(np.float32)
    yield KernelCase("n1000", "saxpy", grid=(4,), block=(256,), args=[np.float32(2), x, y, np.int32(1000)],
                     expected={2: 2 * x + y}, updates={2})
"""


@EMULATED
@pytest.mark.parametrize("text, code, said", [
    (SAXPY, 0, "4 runs passed, 0 failed"),
    (SAXPY.replace("i < n", "i <= n"), 1, "past the end of 'argument 1'"),
    (SAXPY.replace("a * x[i]", "x[i]"), 1, "argument 2 is"),
    (SAXPY.replace("int n) {", "long long n) {"), 1, "is i8 in the kernel and i4"),
])
def test_validate_takes_anybodys_kernel(tmp_path, capsys, text, code, said):
    from pyops import cli
    (tmp_path / "saxpy.cu").write_text(text)
    (tmp_path / "saxpy.cases.py").write_text(CASES)
    report = tmp_path / "report.xml"
    assert cli.main(["validate", "--kernel", str(tmp_path / "saxpy.cu"), "--junit", str(report)]) == code
    assert said in capsys.readouterr().out and "saxpy" in report.read_text()


@EMULATED
def test_validate_refuses_a_case_that_expects_what_is_no_argument(tmp_path, capsys):
    from pyops import cli
    (tmp_path / "saxpy.cu").write_text(SAXPY)
    (tmp_path / "saxpy.cases.py").write_text(CASES.replace("expected={2:", "expected={7:"))
    assert cli.main(["validate", "--kernel", str(tmp_path / "saxpy.cu")]) == 2
    assert "case n1000: expected or updates names argument 7" in capsys.readouterr().err


@EMULATED
def test_validate_says_what_is_missing(tmp_path, capsys):
    from pyops import cli
    (tmp_path / "saxpy.cu").write_text(SAXPY)
    with folder(tmp_path):
        assert cli.main(["validate", "--kernel", "saxpy.cu"]) == 2
        assert "saxpy.cases.py is not beside" in capsys.readouterr().err
        assert cli.main(["validate", "--kernel", "other.cu"]) == 2
        assert "no file" in capsys.readouterr().err
