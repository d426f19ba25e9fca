"""The Hopper path of the matrix products without a Hopper: when it is chosen, what the driver and
the kernel are asked for, what it computes on the emulator, what is compiled."""
import ctypes
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from pyops.core.backends import BACKENDS
from pyops.cuda import budget, device, machine_code, nvrtc, tensor_map
from pyops.cuda.emulated import EmulatedDevice, fast, profiled
from pyops.cuda.source import KERNELS, REALS, kernel_source
from pyops.kernels.gemm import hopper, launch

bf16 = np.dtype(ml_dtypes.bfloat16)


def dense(*shape, dtype=bf16):
    return EmulatedDevice("f32").zeros(shape, dtype)   # aligned as on a device


class FakeDevice:
    """Remembers launches and maps."""
    capability, multiprocessors = (9, 0), 132

    def __init__(self, real="bf16"):
        self.real, self.dtype, self.launched, self.boxes = real, bf16, [], []

    def put(self, array):
        return array

    get = put

    def tensor_map(self, array, box):
        self.boxes.append((array.shape, box))
        return "map"

    def im2col_map(self, array, *box):
        self.boxes.append((array.shape, *box))
        return "pixels"

    def launch(self, file, kernel, grid, block, args, shared=0, **defines):
        self.launched.append((file, kernel, grid, block, args, shared, defines))

    def empty(self, shape, dtype=None):
        return dense(*shape, dtype=dtype or self.dtype)


@pytest.fixture
def asked_for(monkeypatch):
    monkeypatch.setenv("PYOPS_HOPPER", "1")


LARGE = (dense(1, 2048, 64), dense(1, 64, 2048), dense(1, 2048, 2048))


def files(target, a, b, c):
    launch.gemm(target, a, b, False, False, c)
    return [row[0] for row in target.launched]


def test_it_is_chosen_where_it_is_asked_for(asked_for):
    assert files(FakeDevice(), *LARGE) == ["gemm/hopper.cu"]


@pytest.mark.parametrize("value", [None, "0"])
def test_it_is_off_unless_asked_for(monkeypatch, value):
    monkeypatch.delenv("PYOPS_HOPPER", raising=False)
    if value:
        monkeypatch.setenv("PYOPS_HOPPER", value)
    assert files(FakeDevice(), *LARGE) == ["gemm/tensor.cu"]


@pytest.mark.parametrize("capability", [(8, 0), (10, 0), (12, 0)])
def test_other_devices_keep_the_other_kernel(asked_for, capability):
    target = FakeDevice()
    target.capability = capability
    assert files(target, *LARGE) == ["gemm/tensor.cu"]


@pytest.mark.parametrize("a, b, c", [
    (dense(1, 2048, 63), dense(1, 63, 2048), dense(1, 2048, 2048)),      # lines of A that are no multiple of 16 bytes
    (dense(1, 2048, 64), dense(1, 64, 2044), dense(1, 2048, 2044)),      # those of B
    (dense(1, 2048, 0), dense(1, 0, 2048), dense(1, 2048, 2048)),        # no reduction
    (dense(1, 128, 64), dense(1, 64, 128), dense(1, 128, 128)),          # one tile
    # an address that is no multiple of 16
    (dense(1 + 2048 * 64)[1:].reshape(1, 2048, 64), *LARGE[1:]),
], ids=["a", "b", "no_depth", "small", "unaligned"])
def test_what_it_cannot_take_or_should_not_goes_to_the_other_kernel(asked_for, a, b, c):
    assert "gemm/hopper.cu" not in files(FakeDevice(), a, b, c)


def test_float32_is_not_its_business(asked_for):
    assert "gemm/hopper.cu" not in files(FakeDevice("f32"), *(x.astype(np.float32) for x in LARGE))


@pytest.mark.parametrize("ta, tb, name, boxes", [
    (False, False, "nn", [(128, 64), (64, 64)]), (False, True, "nt", [(128, 64), (256, 64)]),
    (True, False, "tn", [(64, 64), (64, 64)]), (True, True, "tt", [(64, 64), (256, 64)]),
])
def test_kernel_boxes_and_sizes(ta, tb, name, boxes):
    target, m, n, k = FakeDevice(), 2056, 2600, 72
    a, b = dense(*((2, k, m) if ta else (2, m, k))), dense(*((1, n, k) if tb else (1, k, n)))
    c = dense(2, m, n)
    hopper.gemm_hopper(target, a, b, ta, tb, c, None, "gelu", True)
    (_, kernel, grid, block, args, shared, defines), = target.launched
    assert kernel == f"hopper_128x256_{name}" and [box for _, box in target.boxes] == boxes
    assert grid == (2 * 17 * 11,) and block == (384,)
    assert args[:3] == ("map", "map", None) and args[3] is c and args[4:] == ((m, n, k, 1, 0), (1,))
    assert defines == {"ACTIVATION": 2}
    assert 4 * (128 + 256) * 128 + 1024 == shared <= 227 << 10


def test_narrow_tiles_where_wide_ones_would_be_too_few():
    target = FakeDevice()
    hopper.gemm_hopper(target, dense(1, 1024, 64), dense(1, 1024, 64), False, True, dense(1, 1024, 1024),
                       None, None, True)
    assert (target.launched[0][1:3] == ("hopper_128x128_nt", (64,))
            and target.launched[0][5] == 6 * 256 * 128 + 1024 <= 227 << 10)
    assert [box for _, box in target.boxes] == [(128, 64), (128, 64)]


# ---- on the emulator, whose models of wgmma and of the copies read the PTX manual
# independently of the kernel

EMULATED = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                              reason=BACKENDS["cuda-emulated"].missing or "can run")


def product(real, batch, m, n, k, ta, tb, bias=True):
    """What the kernel gives for integers, whose sums are exact, and what it should."""
    target, rng = EmulatedDevice(real), np.random.default_rng(m + n + k + 2 * ta + tb)
    a, b, shift = (rng.integers(-4, 5, shape) for shape in ((batch, m, k), (1, k, n), n))
    left, right = (dense(*x.shape, dtype=target.dtype)
                   for x in (a.swapaxes(1, 2) if ta else a, b.swapaxes(1, 2) if tb else b))
    left[...], right[...] = a.swapaxes(1, 2) if ta else a, b.swapaxes(1, 2) if tb else b
    c = np.full((batch, m, n), np.nan, target.dtype)
    hopper.gemm_hopper(target, left, right, ta, tb, c, shift.astype(target.dtype) if bias else None, None,
                       launch.in_packets(c, 4))
    want = (a.astype(np.float64) @ b + (shift if bias else 0)).astype(np.float32)
    return c.astype(np.float32), want.astype(target.dtype).astype(np.float32)


@EMULATED
@pytest.mark.parametrize("ta", [False, True])
@pytest.mark.parametrize("tb", [False, True])
# wide tiles; more steps than stages
@pytest.mark.parametrize("real, batch, m, n, k", [("bf16", 2, 136, 264, 72), ("f16", 1, 136, 136, 456)])
def test_products_of_integers_are_exact(real, batch, m, n, k, ta, tb, monkeypatch):
    monkeypatch.setattr(EmulatedDevice, "multiprocessors", 4 if n > 256 else 100)
    assert np.array_equal(*product(real, batch, m, n, k, ta, tb))


@EMULATED
@pytest.mark.parametrize("order", [1, 7])
def test_in_any_order_of_threads(order):
    with fast(order):
        assert np.array_equal(*product("bf16", 1, 264, 136, 456, True, False, bias=False))


@EMULATED
def test_it_is_reached_through_gemm(asked_for):
    target, rng = EmulatedDevice("bf16"), np.random.default_rng(0)
    a, b, c = dense(1, 264, 72), dense(1, 72, 264), np.full((1, 264, 264), np.nan, bf16)
    a[...], b[...] = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
    with fast(0), profiled() as launched:
        launch.gemm(target, a, b, False, False, c)
    want = a.astype(np.float64) @ b.astype(np.float64)
    assert [file for file, *_ in launched] == ["gemm/hopper.cu"]
    np.testing.assert_allclose(c.astype(np.float64), want, rtol=0, atol=2**-8 * np.abs(want).max())


# ---- tensor maps, with a driver that writes down what it is asked

@pytest.fixture
def driver(monkeypatch):
    tensor_map._encoded.cache_clear()
    asked = SimpleNamespace(calls=[], code=0)

    def encode(to, kind, rank, at, sizes, strides, box, steps, *modes):
        asked.calls.append((to.value, kind, rank, at.value, *(list(v) for v in (sizes, strides, box, steps)),
                            modes))
        ctypes.memmove(to, bytes(range(128)), 128)
        return asked.code

    def encode_im2col(to, kind, rank, at, sizes, strides, lower, upper, channels, pixels, steps, *modes):
        asked.calls.append((kind, rank, at.value, *(list(v) for v in (sizes, strides, lower, upper, steps)),
                            channels.value, pixels.value, modes))
        ctypes.memmove(to, bytes(range(128)), 128)
        return asked.code

    def name_of(code, name):
        name._obj.value = b"CUDA_ERROR_INVALID_VALUE"
    monkeypatch.setattr(tensor_map, "library", lambda: SimpleNamespace(cuGetErrorName=name_of))
    monkeypatch.setattr(tensor_map, "encode", lambda: encode)
    monkeypatch.setattr(tensor_map, "encode_im2col", lambda: encode_im2col)
    yield asked
    tensor_map._encoded.cache_clear()
    tensor_map._im2col.cache_clear()


@pytest.mark.parametrize("dtype, kind", [(np.float16, 6), (bf16, 9)])   # cuda.h's CUtensorMapDataType
def test_the_driver_is_asked_for_swizzled_boxes(driver, dtype, kind):
    array = dense(3, 5, 24, dtype=dtype)
    made = tensor_map.tensor_map(array, (128, 64))
    (to, *rest), = driver.calls
    assert to % 64 == 0
    # sizes and boxes from the innermost axis on, strides in bytes of the outer ones; no interleave,
    # 128-byte swizzle, 256-byte promotion, zeros
    assert rest == [kind, 3, array.ctypes.data, [24, 5, 3], [48, 240], [64, 128, 1], [1, 1, 1], (0, 3, 3, 0)]
    assert isinstance(made, np.void) and made.tobytes() == bytes(range(128))


def test_the_driver_is_asked_for_pixels(driver):
    array = dense(3, 5, 6, 24)
    tensor_map.im2col_map(array, (-2, -1), (1, 0), (2, 3), 128, 64)
    (found,) = driver.calls
    # from the innermost axis on: sizes C, W, H, N; corners and steps W, then H
    assert found == (9, 4, array.ctypes.data, [24, 6, 5, 3], [48, 288, 1440], [-1, -2], [0, 1], [1, 3, 2, 1],
                     64, 128, (0, 3, 3, 0))


@pytest.mark.parametrize("array, lower, upper, step, pixels, channels, said", [
    (dense(2, 5, 6, 9), (0, 0), (0, 0), (1, 1), 128, 64, "multiple of 16"),
    (dense(5, 6, 16), (0, 0), (0, 0), (1, 1), 128, 64, "four axes"),
    (dense(2, 5, 6, 16), (-129, 0), (0, 0), (1, 1), 128, 64, "-128 to 127"),
    (dense(2, 5, 6, 16), (0, 0), (0, 128), (1, 1), 128, 64, "-128 to 127"),
    (dense(2, 5, 6, 16), (0, 0), (-5, 0), (1, 1), 128, 64, "not empty"),
    (dense(2, 5, 6, 16), (0, 0), (0, 0), (1, 9), 128, 64, "up to 8"),
    (dense(2, 5, 6, 16), (0, 0), (0, 0), (1, 1), 1025, 64, "1024 pixels"),
    (dense(2, 5, 6, 16), (0, 0), (0, 0), (1, 1), 128, 65, "128 bytes"),
    (dense(2, 5, 6, 16, dtype=np.int16), (0, 0), (0, 0), (1, 1), 128, 64, "int16"),
])
def test_pixels_that_have_no_map(driver, array, lower, upper, step, pixels, channels, said):
    for made in (tensor_map.im2col_map, tensor_map.emulated_im2col_map):
        with pytest.raises(ValueError, match=said):
            made(array, lower, upper, step, pixels, channels)


def test_a_map_is_made_once(driver):
    array = dense(1, 8, 8)
    assert (tensor_map.tensor_map(array, (64, 64)) == tensor_map.tensor_map(array, (64, 64))
            and len(driver.calls) == 1)
    tensor_map.tensor_map(array, (128, 64))
    assert len(driver.calls) == 2


def test_it_is_passed_by_value(driver):
    made = device.CupyDevice("bf16").tensor_map(dense(1, 8, 8), (64, 64))
    passed = device.CupyDevice("bf16")._passed(device.argument(made, "bf16"))
    assert passed.shape == (1,) and passed.nbytes == 128 and passed.tobytes() == bytes(range(128))


@pytest.mark.parametrize("array, box, said", [
    (dense(2, 8), (64, 64), "three axes"), (dense(1, 8, 9), (64, 64), "multiple of 16"),
    (dense(1, 0, 8), (64, 64), "none empty"), (dense(1, 8, 8), (257, 64), "256 lines"),
    (dense(1, 8, 8), (64, 65), "128 bytes"), (dense(1, 8, 8, dtype=np.int16), (64, 64), "int16"),
])
def test_what_has_no_map(driver, array, box, said):
    for made in (tensor_map.tensor_map, tensor_map.emulated_map):
        with pytest.raises(ValueError, match=said):
            made(array, box)


def test_a_driver_that_refuses_is_quoted(driver):
    driver.code = 1
    with pytest.raises(RuntimeError, match=r"CUDA_ERROR_INVALID_VALUE \(1\)"):
        tensor_map.tensor_map(dense(1, 8, 8), (64, 64))


# ---- what is compiled

def test_it_is_compiled_for_its_architecture_alone():
    assert [(s.real, arch) for s, arch in budget.compilations()
            if s.path == KERNELS / "gemm" / "hopper.cu"] == [(real, "sm_90a") for real in REALS]
    assert ("f32", "sm_75") not in budget.forms("sm_80") and ("f32", "sm_80") in budget.forms("sm_80")
    assert ("f32", "sm_75") in budget.forms("")


def test_constants_are_the_kernels():
    tile, text = ((KERNELS / "gemm" / name).read_text() for name in ("hopper_tile.cuh", "hopper.cu"))
    assert (f"BM = {hopper.ROWS}, DEEP = {hopper.DEEP}, " in tile
            and "PRODUCER = 128, CONSUMERS = 256," in tile and hopper.THREADS == 128 + 256)
    for columns, stages in hopper.STAGES.items():
        assert text.count(f"product<{columns}, {stages}, ") == text.count(f"product<{columns}, ") == 4


@pytest.mark.skipif(bool(nvrtc.missing() or machine_code.missing()),
                    reason=nvrtc.missing() or machine_code.missing() or "can run")
@pytest.mark.parametrize("real", ["bf16", "f16"])
def test_products_stay_in_flight(real):
    """One wgmma for each 16 of a tile's 64, a copy for each box, and no assembler's remark that
    products wait for each other."""
    _, log = nvrtc.compile_cubin(kernel_source("gemm/hopper.cu", real), "sm_90a")
    assert "serialized" not in log
    found = machine_code.instructions("gemm/hopper.cu", real, "sm_90a")
    count = lambda kernel, prefix: sum(n for name, n in found[kernel].items() if name.startswith(prefix))   # noqa: E731
    boxes = {f"hopper_128x{n}_{ta}{tb}": (2 if ta == "t" else 1) + (n // 64 if tb == "n" else 1)
             for n in (128, 256) for ta in "nt" for tb in "nt"}
    assert {k: (count(k, "HGMMA"), count(k, "UTMALDG"), count(k, "LDL") + count(k, "STL"))
            for k in found} == {k: (4, n, 0) for k, n in boxes.items()}


def test_a_module_of_it_is_compiled_here(monkeypatch, tmp_path):
    """CuPy would compile for sm_90, which has no wgmma."""
    asked = []
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(RawModule=lambda **how: asked.append(how)))
    monkeypatch.setattr(device, "_capability", lambda _: (9, 0))
    monkeypatch.setattr(nvrtc, "made_ahead", lambda source, arch: None)
    monkeypatch.setattr(nvrtc, "compile_cubin", lambda source, arch: asked.append(arch))
    monkeypatch.setattr(nvrtc, "cubin_path", lambda source, arch: tmp_path / arch)
    device.module.__wrapped__(kernel_source("gemm/hopper.cu", "bf16"), 0.0, 0)
    assert asked == ["sm_90a", {"path": str(tmp_path / "sm_90a")}]


@pytest.mark.parametrize("wrong", [False, True])
def test_the_check_for_a_device_finds_a_wrong_value(monkeypatch, wrong):
    """bench.gpu's comparison on integers, with NumPy in the kernel's place."""
    from pyops.bench.gpu.integers import checked, hopper_product
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=np.asarray, asnumpy=np.asarray))
    monkeypatch.setattr(hopper, "mappable", lambda array: True)
    seen = []

    def product(target, a, b, ta, tb, c, bias, activation, pairs):
        a, b = (x.swapaxes(1, 2) if swapped else x
                for x, swapped in ((a.astype(np.float32), ta), (b.astype(np.float32), tb)))
        c[...] = a @ b + bias.astype(np.float32)
        seen.append((ta, tb))
        if wrong:
            c[-1, -1, -1] += 256
    monkeypatch.setattr(hopper, "gemm_hopper", product)
    target = FakeDevice()
    kernels = SimpleNamespace(device=target, dtype=bf16, real="bf16")
    for ta in (False, True):
        for tb in (False, True):
            found = hopper_product(kernels, 2, 136, 264, 72, ta, tb)
            assert found.startswith("differs at 1 of 71808 places, first [1, 135, 263]" if wrong else "")
            assert bool(found) == wrong
    assert seen == [(False, False), (False, True), (True, False), (True, True)]
    target.capability = (8, 0)
    monkeypatch.setitem(BACKENDS, "cuda", SimpleNamespace(kernels=lambda real: kernels))
    assert "skipped" in checked(hopper_product, "bf16", 1, 128, 128, 64, False, False) and len(seen) == 4
