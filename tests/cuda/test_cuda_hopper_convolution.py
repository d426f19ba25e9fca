"""The Hopper path of convolutions whose channels lie last, without a Hopper: on the emulator's
models of wgmma and im2col copies, when it is chosen, what is compiled; and that the models bite:
faults seeded in both Hopper kernels are noticed."""
import itertools
import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from cuda_mutants import Mutant
from test_cuda_hopper import FakeDevice, product
from test_cuda_mutants import tree  # noqa: F401  (a fixture)

from pyops.core.backends import BACKENDS
from pyops.cuda import machine_code, nvrtc
from pyops.cuda.emulated import EmulatedDevice, KernelFault, fast, profiled
from pyops.cuda.source import KERNELS, kernel_source
from pyops.kernels.convolution import channels_last, grid, hopper, launch, reference

EMULATED = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                              reason=BACKENDS["cuda-emulated"].missing or "can run")
bf16 = np.dtype(ml_dtypes.bfloat16)
# batch, channels and filters of a group, input, kernel, stride, padding, dilation, groups
PROBLEMS = {
    "3x3": ((2, 16, 24), (9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "stride2_over_a_tile": ((1, 72, 136), (25, 21), (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "filters_no_packet": ((1, 64, 67), (13, 12), (3, 2), (1, 3), (2, 0), (2, 3), 1),
    "groups": ((2, 64, 64), (6, 7), (3, 3), (1, 1), (1, 1), (1, 1), 2),
    "7x7_stem": ((1, 8, 72), (21, 23), (7, 7), (2, 2), (3, 3), (1, 1), 1),
    "stride_beyond_the_filter": ((2, 16, 24), (9, 11), (2, 1), (3, 2), (0, 0), (1, 1), 1),
    "padding_beyond_the_input": ((1, 16, 24), (2, 3), (3, 3), (1, 1), (4, 4), (1, 1), 1),
    "1d": ((2, 16, 24), (150,), (5,), (2,), (4,), (2,), 1),
}


class Problem:
    """Operands of small integers, whose sums are exact, and what should come out."""

    def __init__(self, name, real="bf16"):
        (batch, channels, filters), inputs, kernel, stride, padding, dilation, groups = PROBLEMS[name]
        self.device, rng = EmulatedDevice(real), np.random.default_rng(0)
        outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                        for i, k, s, p, d in zip(inputs, kernel, stride, padding, dilation))
        shapes = (batch, groups * channels, *inputs), (batch, groups * filters, *outputs)
        (self.x, self.dy), (self.dx, self.y) = ([channels_last.empty(self.device, s) for s in order]
                                                for order in (shapes, shapes))
        for array in (self.x, self.dy):
            array[...] = rng.integers(-2, 3, array.shape)
        self.weight = rng.integers(-2, 3, (groups * filters, channels, *kernel)).astype(self.device.dtype)
        self.bias, self.shift = (rng.integers(-9, 10, groups * n).astype(self.device.dtype)
                                 for n in (filters, channels))
        lead = 3 - len(inputs)
        self.window = (1,) * lead + stride, (0,) * lead + padding, (1,) * lead + dilation
        self.attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.sizes, self.inputs, self.outputs = (channels, filters, groups), inputs, outputs

    def run(self, transposed):
        """(what the kernel gives, the definition); None if it does not take the problem."""
        channels, filters, groups = self.sizes
        taps = self.weight.size // (groups * channels * filters)
        if transposed:
            x, y, bias, sizes, apart = (self.dy, self.dx, self.shift, (filters, channels, groups),
                                        (filters * channels * taps, taps, channels * taps))
        else:
            x, y, bias, sizes, apart = self.x, self.y, self.bias, self.sizes, (filters * channels * taps,
                                                                               channels * taps, taps)
        axes = channels_last.axis_sizes(self.weight, *self.window, x, y)
        last = channels_last.last
        if not hopper.takes(self.device, last(x), axes, sizes, transposed):
            return None
        y[...] = np.nan
        hopper.conv_hopper(self.device, last(x), self.weight, bias, axes, sizes, apart, last(y), transposed)
        row, size = (reference.conv_transpose, self.inputs) if transposed else (reference.conv, self.outputs)
        want = row(x.astype(np.float64), self.weight.astype(np.float64), bias.astype(np.float64), size=size,
                   **self.attrs)
        return y.astype(np.float32), want.astype(np.float32).astype(y.dtype).astype(np.float32)


@EMULATED
@pytest.mark.parametrize("transposed", [False, True], ids=["forward", "transposed"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_convolutions_of_integers_are_exact(name, transposed):
    """Also with threads the other way round: the products then wait for copies that
    were not issued yet."""
    problem = Problem(name)
    found = problem.run(transposed)
    if name in ("filters_no_packet",) and transposed:   # lines of dy that are no multiple of 16 bytes
        assert found is None
        return
    assert np.array_equal(*found)
    with fast(1):
        assert np.array_equal(*problem.run(transposed))


@EMULATED
def test_half_precision_and_wide_tiles(monkeypatch):
    monkeypatch.setattr(EmulatedDevice, "multiprocessors", 1)
    with fast(7), profiled() as launched:
        assert np.array_equal(*Problem("stride2_over_a_tile", "f16").run(False))
    assert [kernel for _, kernel, _ in launched] == ["hopper_weights", "conv_hopper_128x256"]


@EMULATED
def test_it_is_reached_through_the_rows(monkeypatch):
    """The result is the other kernel's, up to rounding; without PYOPS_HOPPER=1 that one it is."""
    problem, found = Problem("stride2_over_a_tile"), []
    for value in ("1", "0"):
        monkeypatch.setenv("PYOPS_HOPPER", value)
        with fast(0), profiled() as launched:
            launch.conv(problem.device, problem.x, problem.weight, problem.bias, *problem.window, 1,
                        problem.y)
            launch.conv_transpose(problem.device, problem.dy, problem.weight, None, *problem.window, 1,
                                  problem.dx)
        found.append((problem.y.astype(np.float32), problem.dx.astype(np.float32),
                      {file for file, *_ in launched}))
    (y, dx, files), (other_y, other_dx, other) = found
    assert files == {hopper.FILE} and hopper.FILE not in other
    assert np.array_equal(y, other_y) and np.array_equal(dx, other_dx)


# ---- when, and with what

def asked(channels, filters, inputs, kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1,
          real="bf16", batch=8):
    x = EmulatedDevice("f32").zeros((batch, *inputs, channels * groups), bf16)
    outputs = tuple((i + 2 * p - d * (k - 1) - 1) // s + 1
                    for i, k, s, p, d in zip(inputs, kernel, stride, padding, dilation))
    axes = grid.axis_sizes((1,) * (3 - len(kernel)) + kernel, (1,) * (3 - len(kernel)) + stride,
                           (0,) * (3 - len(kernel)) + padding, (1,) * (3 - len(kernel)) + dilation,
                           (1,) * (3 - len(kernel)) + inputs, (1,) * (3 - len(kernel)) + outputs)
    y = np.lib.stride_tricks.as_strided(x, (batch, *outputs, filters * groups),
                                        (0,) * (len(outputs) + 1) + (2,))
    return FakeDevice(real), x, y, axes, (channels, filters, groups), False


def test_it_is_chosen_where_it_is_asked_for(monkeypatch):
    problem = asked(64, 64, (56, 56))
    monkeypatch.delenv("PYOPS_HOPPER", raising=False)
    assert not hopper.serves(*problem)
    monkeypatch.setenv("PYOPS_HOPPER", "1")
    assert hopper.serves(*problem)


@pytest.mark.parametrize("other", [
    {"real": "f32"}, {"channels": 60}, {"channels": 32, "groups": 2}, {"inputs": (8, 8), "batch": 1},
    {"stride": (9, 1)}, {"padding": (129, 1)}, {"kernel": (3, 3), "dilation": (128, 1), "padding": (128, 1)},
    {"inputs": (6, 56, 56), "kernel": (3, 3, 3), "stride": (1, 1, 1), "padding": (1, 1, 1),
     "dilation": (1, 1, 1)},], ids=["float", "no_packets_of_channels", "groups_of_less_than_a_tile",
                                    "few_tiles", "stride", "corner", "shift", "3d"])
def test_what_it_cannot_take_or_should_not(monkeypatch, other):
    monkeypatch.setenv("PYOPS_HOPPER", "1")
    assert not hopper.serves(*asked(**({"channels": 64, "filters": 64, "inputs": (56, 56)} | other)))


def test_kernel_boxes_and_sizes():
    device, x, y, axes, sizes, _ = asked(72, 200, (28, 28), stride=(2, 1), batch=32)
    hopper.conv_hopper(device, x, np.zeros((200, 72, 3, 3), bf16), None, axes, sizes, (1, 2, 3), y, False)
    (_, pack, _, _, packing, *_), (file, kernel, grid, block, args, shared, _) = device.launched
    assert (pack, packing[2:]) == ("hopper_weights", ((1, 200, 72, 2), (1, 2, 3), (0, 1, 3, 3), (0, 1, 3, 3)))
    pixels = 32 * 14 * 28
    assert (file, kernel, grid, block) == (hopper.FILE, "conv_hopper_128x128", (98 * 2,), (384,))
    assert device.boxes == [((32, 28, 28, 72), (-1, -1), (-2, -1), (2, 1), 128, 64),
                            ((1, 200, 9 * 128), (128, 64))]
    assert args[:2] == ("pixels", "map") and args[4] == (1, 200, 72, 2, pixels, 1)
    assert (args[5:] == ((-1, 2, 1, 3, 14, 0, 1, 14), (-1, 1, 1, 3, 28, 0, 1, 28))
            and shared == 6 * 256 * 128 + 1024)


# ---- what is compiled

def test_constants_are_the_kernels():
    text = (KERNELS / hopper.FILE).read_text()
    assert all(text.count(f"convolve<{columns}, {stages}>") == 1 for columns, stages in hopper.STAGES.items())
    assert all(stages * (128 + columns) * 128 + 1024 <= 227 << 10
               for columns, stages in hopper.STAGES.items())


@pytest.mark.skipif(bool(nvrtc.missing() or machine_code.missing()),
                    reason=nvrtc.missing() or machine_code.missing() or "can run")
@pytest.mark.parametrize("real", ["bf16", "f16"])
def test_products_stay_in_flight(real):
    _, log = nvrtc.compile_cubin(kernel_source(hopper.FILE, real), "sm_90a")
    assert "serialized" not in log and all(r.spills == 0 for r in nvrtc.resources(log).values())
    found = machine_code.instructions(hopper.FILE, real, "sm_90a")
    count = lambda kernel, prefix: sum(n for name, n in found[kernel].items() if name.startswith(prefix))   # noqa: E731
    assert {k: (count(k, "HGMMA"), count(k, "UTMALDG.4D.IM2COL"), count(k, "UTMALDG.3D"),
                count(k, "LDL") + count(k, "STL"))
            for k in found if k != "hopper_weights"} == {f"conv_hopper_128x{n}": (4, 1, 1, 0)
                                                         for n in hopper.STAGES}


@pytest.mark.parametrize("stride", range(1, 9))
def test_the_bounding_box_is_cutlasss(stride):
    """CUTLASS gives an im2col map the corners -padding and padding - (kernel - 1) dilation whatever
    the stride (include/cutlass/conv/collective, "lower_corner_whd"); ours end at the last first tap.
    Both must mean the same pixels: as many, from the same one on."""
    for kernel, dilation, padding, inputs in itertools.product((1, 2, 3, 5, 7), (1, 2, 3), range(4), range(1, 21)):
        outputs = (inputs + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if outputs < 1:
            continue
        line = hopper.forward_line((kernel, stride, padding, dilation, inputs, outputs))
        lower, upper = line.corners(inputs)
        theirs = -padding, padding - (kernel - 1) * dilation
        box = lambda low, high: range(low, inputs + high, stride)   # noqa: B023, E731
        assert list(box(lower, upper)) == list(box(*theirs)) and len(box(lower, upper)) == outputs
        # what the map's own fields hold, and the copies' shifts
        assert lower == theirs[0] and upper <= theirs[1] and upper > theirs[1] - stride


# ---- the check for a device

@pytest.mark.parametrize("wrong", [False, True])
def test_the_check_for_a_device_finds_a_wrong_value(monkeypatch, wrong):
    """bench.gpu's comparison on integers, with the definition in the kernel's place."""
    from pyops.bench.gpu.integers import HOPPER_CONVOLUTIONS, checked, hopper_convolution
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=np.asarray, asnumpy=np.asarray))
    seen = []

    def stand_in(device, x, weight, bias, axes, sizes, apart, y, transposed):
        window = {name: tuple(a[i] for a in axes[1:])
                  for i, name in ((1, "stride"), (2, "padding"), (3, "dilation"))}
        row = reference.conv_transpose if transposed else reference.conv
        first = lambda array: array.transpose(0, 3, 1, 2).astype(np.float64)   # noqa: E731
        y[...] = row(first(x), weight.astype(np.float64), None, size=y.shape[1:3], groups=sizes[2],
                     **window).transpose(0, 2, 3, 1)
        seen.append((transposed, *sizes))
        if wrong:
            y[-1, -1, -1, -1] += 256
    monkeypatch.setattr(hopper, "conv_hopper", stand_in)
    kernels = SimpleNamespace(device=EmulatedDevice("bf16"), dtype=bf16, real="bf16")
    for shape in HOPPER_CONVOLUTIONS:
        for transposed in (False, True):
            found = hopper_convolution(kernels, *shape, transposed)
            assert found.startswith("differs at 1 of") if wrong else found == ""
    assert len(seen) == 12 and sum(transposed for transposed, *_ in seen) == 6
    monkeypatch.setattr(EmulatedDevice, "capability", (8, 0))
    monkeypatch.setitem(BACKENDS, "cuda", SimpleNamespace(kernels=lambda real: kernels))
    assert "skipped" in checked(hopper_convolution, "bf16", *HOPPER_CONVOLUTIONS[0], False) and len(seen) == 12


# ---- the models bite

TILE, GEMM, CONV = "gemm/hopper_tile.cuh", "gemm", "conv"
FAULTS = [Mutant(name, file, old, new, op, "", "any") for name, file, old, new, op in (
    ("no wait for the copies", TILE, "            barrier_wait(&full[slot], step / STAGES & 1);\n", "", GEMM),
    ("a slot handed back while it is multiplied", TILE,
     "product_wait<1>();   // for the step before this one: its slot is free", "", GEMM),
    ("slots are waited for in the wrong phase", TILE, "step / STAGES & 1 ^ 1", "step / STAGES & 1", GEMM),
    ("sums read before the last products", TILE, "        product_wait<0>();\n", "", GEMM),
    ("rows that are contiguous: the distance of 64", TILE, "MN ? BOX_BYTES : 16, PATTERN_BYTES",
     "MN ? BOX_BYTES / 2 : 16, PATTERN_BYTES", GEMM),
    ("a piece of the reduction further along the line", TILE, "step * STEP * (MN", "step * 2 * STEP * (MN", GEMM),
    ("fewer bytes expected than are copied", TILE, "barrier_expect(&full[slot], STAGE);",
     "barrier_expect(&full[slot], STAGE - 128);", GEMM),
    ("convolution: a row's shift along the columns", "convolution/hopper.cu", "n, tap % w.taps * w.step,",
     "n, tap / w.taps * w.step,", CONV),
    ("convolution: a pixel past the last", "convolution/hopper.cu", "column, p < pixels}",
     "column, p <= pixels}", CONV),
    ("convolution: channels that there are not", "convolution/hopper.cu", "c < channels ? weight",
     "c <= channels ? weight", CONV),
)]


@EMULATED
@pytest.mark.parametrize("tree", FAULTS, ids=lambda m: m.name, indirect=True)
def test_a_fault_is_noticed(tree):   # noqa: F811
    try:
        found = (product("bf16", 1, 136, 136, 456, True, False) if tree.op == GEMM
                 else Problem("stride2_over_a_tile").run(False))
    except KernelFault:
        return
    assert not np.array_equal(*found)
