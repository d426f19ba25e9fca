"""Strides, dilations, kernels, paddings and sizes far beyond any array: refused or right, and never
the end of the process."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.core.backends import use_backend
from pyops.core.registry import OPS

WORKER = Path(__file__).with_name("geometry_worker.py")
SPATIAL = [name for name in ("conv", "conv_transpose", "max_pool", "max_pool_indices", "avg_pool", "lp_pool",
                             "max_unpool", "unfold", "fold", "pad", "resample",
                             "pixel_shuffle", "pixel_unshuffle", "local_response_norm")
           if name in OPS]
OTHERS = sorted(name for name, op in OPS.items() if op.cases and name not in SPATIAL)


def run(mode, rows):
    done = subprocess.run([sys.executable, "-X", "faulthandler", str(WORKER), mode, *rows],
                          capture_output=True, text=True, timeout=540, errors="replace")
    lines = done.stdout.splitlines()
    wrong = [f"{lines[i - 1]}: {line}" for i, line in enumerate(lines) if line.startswith("WRONG")]
    assert done.returncode == 0 and lines[-1].startswith(
        "DONE"), f"{lines[-1:]} ended it: {done.returncode}\n{done.stderr[-2000:]}"
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("mode", ["forward", "gradient", "compiled"])
@pytest.mark.parametrize("row", SPATIAL)
def test_rows_of_images(mode, row):
    run(mode, [row])


@pytest.mark.parametrize("mode", ["forward", "gradient"])
def test_other_rows(mode):
    run(mode, OTHERS)


@pytest.mark.parametrize("call, name", [
    (lambda x, w, n: F.conv2d(x, w, stride=n), "stride"),
    (lambda x, w, n: F.conv2d(x, w, padding=n), "padding"),
    (lambda x, w, n: F.conv2d(x, w, dilation=n), "dilation"),
    (lambda x, w, n: F.conv_transpose2d(x, w, stride=n), "stride"),
    (lambda x, w, n: F.max_pool2d(x, n, padding=n // 2), "kernel_size"),
    (lambda x, w, n: F.avg_pool2d(x, 2, stride=n), "stride"),
    (lambda x, w, n: F.lp_pool2d(x, 2, 2, stride=n), "stride"),
    (lambda x, w, n: F.unfold(x, 2, dilation=n), "dilation"),
    (lambda x, w, n: F.pad(x, (n, 0)), "pad"), (lambda x, w, n: F.pixel_shuffle(x, n), "factor"),
    (lambda x, w, n: F.adaptive_avg_pool2d(x, n), "output_size"),
    (lambda x, w, n: F.local_response_norm(x, n), "size"), (lambda x, w, n: F.interpolate(x, size=n), "sizes")])
def test_beyond_31_bits_is_refused_by_name(call, name):
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 2, 2), np.float32)
    for n in (2**31, 2**62, 2**63 - 1, 2**200):
        with pytest.raises(ValueError, match=rf"{name}.*2\^31"):
            call(x, w, n)


def test_a_result_that_no_memory_holds_names_its_op():
    x = np.ones((1, 1, 4, 4), np.float32)
    for call in (lambda: F.pad(x, (2**31 - 1, 0, 2**31 - 1, 0)), lambda: F.conv2d(x, x, padding=2**31 - 1),
                 lambda: F.unfold(x, 1, padding=2**31 - 1), lambda: F.adaptive_avg_pool2d(x, 2**31 - 1)):
        with pytest.raises(MemoryError, match=r"^(pad|conv|unfold|avg_pool): no memory for a result"):
            call()


@pytest.mark.parametrize("groups, channels, filters, kernel", [
    (4, 4, 4, 2), (2, 32, 32, 2), (1, 16, 16, 2), (16, 1, 1, 2), (8, 1, 2, 4), (1, 3, 16, 4)])
def test_windows_of_layers_that_blocks_take(groups, channels, filters, kernel, backend):
    """No row of such a window is laid out: of a dilation no tap sees the input, of a stride there is one output."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, groups * channels, 9, 9)).astype(np.float32)
    w = rng.standard_normal((groups * filters, channels, kernel, kernel)).astype(np.float32)
    bias = rng.standard_normal(len(w)).astype(np.float32)
    dilation = 2**30 // (kernel - 1) // 2 * 2 + 1
    far = {"dilation": (dilation, dilation), "padding": ((dilation * (kernel - 1) - 1) // 2,) * 2, "groups": groups}
    gradient, transposed = OPS["conv_weight_gradient"], OPS["conv_transpose"]
    with use_backend(backend):
        y = F.conv2d(x, w, bias, **far)
        assert y.shape[2:] == (8, 8) and (y == bias[:, None, None]).all()
        assert not gradient(x, y, stride=(1, 1), kernel=(kernel, kernel), **far).any()
        assert not transposed(y, w, None, stride=(1, 1), size=(9, 9), **far).any()
        one = F.conv2d(x, w, bias, stride=2**30, padding=1, groups=groups)
        np.testing.assert_allclose(one, F.conv2d(x, w, bias, stride=11, padding=1, groups=groups), rtol=1e-5, atol=1e-5)


def test_windows_far_beyond_the_input_are_right():
    """Strides, kernels and dilations of which only what lies inside matters: the same as the small
    ones that see as much."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 5,
                                6)).astype(np.float32), rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    assert np.array_equal(F.conv2d(x, w, stride=2**31 - 1), F.conv2d(x, w, stride=7))
    centre = F.conv2d(x, w[:, :, 1:2, 1:2])
    assert np.allclose(F.conv2d(x, w, dilation=2**30, padding=2**30), centre, atol=1e-6)
    assert np.allclose(F.conv2d(x, w, dilation=100, padding=100), centre, atol=1e-6)
    far = 2**30
    whole = [F.max_pool2d(x, far, stride=1, padding=far // 2),
             F.avg_pool2d(x, far, stride=1, padding=far // 2, divisor_override=1)]
    assert np.array_equal(whole[0], np.broadcast_to(x.max((2, 3), keepdims=True), whole[0].shape))
    assert np.allclose(whole[1], np.broadcast_to(x.sum((2, 3), keepdims=True), whole[1].shape), atol=1e-5)
    corner = F.max_pool2d(x, 2, stride=2**31 - 1)
    assert np.array_equal(corner, x[:, :, :2, :2].max((2, 3), keepdims=True))
    depthwise = rng.standard_normal((3, 1, 2, 2)).astype(np.float32)
    assert np.array_equal(F.conv2d(x, depthwise, stride=2**27, groups=3),
                          F.conv2d(x, depthwise, stride=9, groups=3))
    # a few of four million outputs are met by a tap
    wide = F.conv_transpose2d(x[:1, :, :2, :2].copy(), w[:3], stride=2000)
    dense = F.conv_transpose2d(x[:1, :, :2, :2].copy(), w[:3], stride=5)
    assert (wide.shape[2:] == (2003, 2003)
            and np.array_equal(wide[:, :, [0, 1, 2, 2000, 2001, 2002]][..., [0, 1, 2, 2000, 2001, 2002]],
                               dense[:, :, [0, 1, 2, 5, 6, 7]][..., [0, 1, 2, 5, 6, 7]]))
    assert np.count_nonzero(wide) == np.count_nonzero(dense)
    assert F.conv_transpose2d(x[:0], w[:3], stride=2**20).shape[0] == 0
    program = pyops.compile(lambda v: F.conv2d(v, w, stride=2**27), x)
    assert np.allclose(program(x), F.conv2d(x, w, stride=7), atol=1e-5)
