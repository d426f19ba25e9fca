"""The emulator counts memory transactions: hot kernels stay near the fewest there can be.
Deterministic, so a lost coalescing is a failure."""

import numpy as np
import pytest
from channels_last_backend import ChannelsLast

from pyops import functional as F
from pyops.core.backends import BACKENDS, use_backend
from pyops.core.tensor import Tensor
from pyops.cuda.emulated import EmulatedDevice, profiled
from pyops.cuda.precision import precision
from pyops.kernels.convolution import launch as convolution

pytestmark = pytest.mark.skipif(bool(BACKENDS["cuda-emulated"].missing),
                                reason=BACKENDS["cuda-emulated"].missing or "can run")


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def weight_gradient(x, dy, kernel, name="strict"):
    """Of a convolution of stride 1 that keeps its planes' size."""
    device = EmulatedDevice("f32")
    x, dy, dw = device.put(x), device.put(dy), device.empty((dy.shape[1], x.shape[1], kernel, kernel))
    with precision(name):
        convolution.conv_weight_gradient(device, x, dy, (1, 1, 1), (0, kernel // 2, kernel // 2), (1, 1, 1),
                                         1, dw)


def on_tensor_cores(call):
    with precision("tf32"):
        call()


# name -> call, the most sectors and wavefronts over the fewest. The limits are what was counted, rounded up.
HOT = {
    "softmax of short lines": (lambda: F.softmax(random(64, 96), -1), 1.0, 1.0),
    "softmax of long lines": (lambda: F.softmax(random(2, 5000), -1), 1.1, 1.0),
    "softmax across": (lambda: F.softmax(random(2, 16, 256), 1), 1.0, 1.0),
    "relu": (lambda: F.relu(random(64, 96)), 1.0, 1.0),
    "add, a row broadcast": (lambda: F.add(random(64, 96), random(96)), 1.0, 1.0),
    "layer_norm": (lambda: F.layer_norm(random(32, 768), (768,), random(768), random(768)), 1.0, 1.0),
    "batch_norm in training": (
        lambda: F.batch_norm(random(4, 8, 16, 16), None, None, random(8), random(8), True), 1.0, 1.0),
    "group_norm": (lambda: F.group_norm(random(4, 8, 16, 16), 4, random(8), random(8)), 1.0, 1.0),
    "sum of rows": (lambda: F.sum(random(16, 512), -1), 1.0, 1.0),
    "sum of columns": (lambda: F.sum(random(256, 96), 0), 1.0, 1.0),
    # a thread reads every second value of a row
    "max_pool 2x2, stride 2": (lambda: F.max_pool2d(random(2, 4, 32, 32), 2), 1.8, 1.0),
    # a column beside the sectors on either side, as of the depthwise 3x3; of 6 rows for 4 outputs
    "avg_pool 3x3": (lambda: F.avg_pool2d(random(2, 4, 32, 32), 3, 1, 1), 1.2, 1.0),
    "linear": (lambda: F.linear(random(128, 64), random(128, 64), random(128)), 1.43, 1.0),
    "conv 3x3": (lambda: F.conv2d(random(1, 16, 32, 32), random(32, 16, 3, 3), padding=1), 1.1, 1.0),
    "conv 1x1": (lambda: F.conv2d(random(1, 32, 32, 32), random(32, 32, 1, 1)), 1.0, 1.0),
    "conv 3x3 on tensor cores": (
        lambda: on_tensor_cores(lambda: F.conv2d(random(1, 16, 32, 32), random(32, 16, 3, 3), padding=1)),
        1.0, 1.0),
    # taps to the side begin within a sector
    "weight gradient 3x3": (lambda: weight_gradient(random(1, 16, 32, 32), random(1, 32, 32, 32), 3), 1.21, 1.0),
    "weight gradient 3x3 on tensor cores": (
        lambda: weight_gradient(random(1, 16, 32, 32), random(1, 32, 32, 32), 3, "tf32"), 1.1, 1.0),
    "weight gradient 1x1 on tensor cores": (
        lambda: weight_gradient(random(1, 32, 32, 32), random(1, 32, 32, 32), 1, "tf32"), 1.0, 1.0),
    "conv depthwise 3x3": (lambda: F.conv2d(random(1, 8, 32, 32), random(8, 1, 3, 3), padding=1, groups=8), 1.2, 1.0),
    "attention": (lambda: F.scaled_dot_product_attention(*(random(1, 2, 128, 64) for _ in range(3))), 1.0, 1.0),
    "unfold": (lambda: F.unfold(random(1, 4, 32, 32), 3, padding=1), 1.0, 1.0),
    "cross_entropy": (lambda: F.cross_entropy(random(64, 128), np.arange(64) % 128), 1.01, 1.0),
    "interpolate": (lambda: F.interpolate(random(1, 4, 32, 32), scale_factor=2, mode="bilinear"), 1.15, 1.0),
}


# the same of arrays whose channels lie last; the filter's weights, turned once, are what is read across
LAST = {
    "conv depthwise 3x3": (lambda: F.conv2d(random(1, 64, 16, 16), random(64, 1, 3, 3), padding=1, groups=64),
                           1.0, 1.0),
    "conv depthwise 3x3, stride 2": (lambda: F.conv2d(random(1, 64, 16, 16), random(64, 1, 3, 3), stride=2,
                                                      padding=1, groups=64),
                                     1.0, 1.0),
    "conv_transpose depthwise, stride 2": (
        lambda: F.conv_transpose2d(random(1, 64, 8, 8), random(64, 1, 3, 3), stride=2, padding=1, groups=64),
        1.0, 1.0),
    "depthwise gradient": (
        lambda: F.conv2d(*(Tensor(random(*s), requires_grad=True) for s in ((1, 64, 16, 16), (64, 1, 3, 3))),
                         padding=1, groups=64).sum().backward(),
        1.02, 1.0),
}


def ratio(traffic, space):
    lines = [t for _, _, found in traffic for t in found if t.space == space]
    return sum(t.transactions for t in lines) / max(1, sum(t.ideal for t in lines))


@pytest.mark.parametrize("name", HOT)
def test_traffic_is_within_its_budget(name):
    call, sectors, wavefronts = HOT[name]
    with use_backend("cuda-emulated"), profiled() as traffic:
        call()
    assert traffic, "nothing was launched"
    assert ratio(traffic, "global") <= sectors + 1e-9 and ratio(
        traffic, "shared") <= wavefronts + 1e-9, (f"{ratio(traffic, 'global'):.3f} times the fewest sectors, "
                                                  f"{ratio(traffic, 'shared'):.3f} the fewest wavefronts")


@pytest.mark.parametrize("name", LAST)
def test_traffic_of_channels_last_is_within_its_budget(name):
    call, sectors, wavefronts = LAST[name]
    with use_backend(ChannelsLast()), profiled() as traffic:
        call()
    ours = [t for t in traffic if "channels_last" in t[0] and t[1] != "channels_last_weights"]
    assert ours, "nothing was launched"
    assert ratio(ours, "global") <= sectors + 1e-9 and ratio(
        ours, "shared") <= wavefronts + 1e-9, (f"{ratio(ours, 'global'):.3f} times the fewest sectors, "
                                               f"{ratio(ours, 'shared'):.3f} the fewest wavefronts")


def test_a_strided_kernel_is_noticed(tmp_path):
    """Neighbouring threads that read 128 bytes apart move eight times the sectors of what they
    use."""
    from pyops.cuda.emulator import Module
    from pyops.cuda.source import Source
    path = tmp_path / "strided.cu"
    path.write_text('extern "C" __global__ void strided(const float* x, float* y) { y[threadIdx.x] = '
                    'x[threadIdx.x * 32]; }')
    report = Module.of(Source(path, "f32"), True).function("strided")(
        (1,), (32,), [np.zeros(1024, np.float32), np.zeros(32, np.float32)], profile=True)
    load = next(t for t in report.traffic if t.op == "load")
    assert load.transactions == 32 and load.ideal == 4
