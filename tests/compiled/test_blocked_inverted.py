"""Inverted residual blocks in one kernel: the same bits as their layers one by one, whatever the
threads and the batch."""
import numpy as np
import pytest
from maps import NONE, RELU6, Image, MapOut, PlanarOut, per_channel, run

import pyops
import pyops.functional as F
from pyops import _C, nn
from pyops.core.threads import num_threads
from pyops.graph import packing
from pyops.graph.passes import fuse_inverted

SILU, HARDSWISH = ("silu", 0.0, 0.0), ("hardswish", 0.0, 0.0)

# n, channels, wide, filters, height, width, filter size, stride, padding, dilation
CASES = {
    "stride one": (1, 24, 144, 24, 20, 17, (3, 3), (1, 1), (1, 1), (1, 1)),
    "stride two, odd size": (2, 16, 96, 24, 23, 21, (3, 3), (2, 2), (1, 1), (1, 1)),
    "channels end within blocks": (3, 20, 37, 19, 9, 8, (5, 5), (1, 1), (2, 2), (1, 1)),
    "many steps down the image": (1, 16, 200, 16, 112, 60, (3, 3), (1, 1), (1, 1), (1, 1)),
    "many steps, stride two": (2, 16, 192, 24, 112, 64, (5, 5), (2, 2), (2, 2), (1, 1)),
    "a stride beyond the filter": (1, 16, 32, 16, 21, 13, (1, 1), (3, 3), (0, 0), (1, 1)),
    "dilated": (1, 16, 48, 16, 30, 30, (3, 3), (1, 1), (2, 2), (2, 2)),
    "no padding": (2, 16, 32, 16, 12, 12, (3, 5), (1, 2), (0, 0), (1, 1)),
    "padding beyond the image": (1, 16, 32, 16, 2, 3, (3, 3), (1, 1), (4, 4), (1, 1)),
    "filters beyond half of a cache": (2, 16, 400, 360, 9, 11, (3, 3), (1, 1), (1, 1), (1, 1)),
    "a single row": (5, 16, 32, 16, 1, 9, (3, 3), (1, 1), (1, 1), (1, 1)),
}
IDS = list(CASES)


def kernels(backend):
    return getattr(_C, backend).f32


class Layers:
    """Weights of the three layers, and the kernels that compute them one by one."""

    def __init__(self, backend, case):
        self.backend, self.case = backend, case
        n, channels, wide, filters, h, w, size, stride, padding, dilation = case
        rng = np.random.default_rng(wide + h)
        self.x, self.window = rng.standard_normal((n, channels, h, w),
                                                  np.float32), (size, stride, padding, dilation)
        k = kernels(backend)
        expand, depth, project = (rng.standard_normal(s).astype(np.float32) / 4
                                  for s in ((wide, channels, 1, 1), (wide, 1, *size), (filters, wide, 1, 1)))
        self.expand, self.expand_bias = (packing.direct(k, expand),
                                         per_channel(rng.standard_normal(wide, np.float32)))
        self.depth, self.depth_bias = (packing.depthwise(depth),
                                       per_channel(rng.standard_normal(wide, np.float32)))
        self.project, self.project_bias = (packing.direct(k, project),
                                           per_channel(rng.standard_normal(filters, np.float32)))
        out = [(i + 2 * p - d * (s - 1) - 1) // t + 1
               for i, s, t, p, d in zip((h, w), size, stride, padding, dilation)]
        self.between, self.result = (n, wide, *out), (n, filters, *out)
        self.residual = rng.standard_normal(self.result, np.float32)

    def pointwise(self, x, channels, weight, bias, residual, tail, shape):
        return run(self.backend, "direct_conv", Image(x), channels, None, None, None, weight, bias, residual,
                   ((1, 1), (1, 1), (0, 0), (1, 1)), 1, tail, MapOut(shape))[0]

    def wide_map(self, tail):
        wide = self.case[2]
        return self.pointwise(self.x, self.case[1], self.expand, self.expand_bias, None, tail,
                              (*self.x.shape[:1], wide, *self.x.shape[2:]))

    def filtered(self, x, tail):
        return run(self.backend, "depthwise_conv", Image(x), self.depth, self.depth_bias, None, self.window,
                   tail, MapOut(self.between))[0]


def same_for_all_threads(call):
    with num_threads(1):
        got = call()
    for threads in (2, 3):
        with num_threads(threads):
            assert all(np.array_equal(a, b)
                       for a, b in zip(got, call(), strict=True)), f"other bits with {threads} threads"
    return got


@pytest.mark.parametrize("case", CASES.values(), ids=IDS)
@pytest.mark.parametrize("tails", [(RELU6, RELU6, NONE), (SILU, HARDSWISH, RELU6)], ids=["clamps", "others"])
def test_all_three_layers(backend, case, tails):
    layers, (channels, wide) = Layers(backend, case), case[1:3]
    narrow = layers.filtered(layers.wide_map(tails[0]), tails[1])
    want = layers.pointwise(narrow, wide, layers.project, layers.project_bias, Image(layers.residual),
                            tails[2], layers.result)
    got, = same_for_all_threads(lambda: run(
        backend, "inverted_residual", Image(layers.x), channels, layers.expand, layers.expand_bias, tails[0],
        wide, layers.depth, layers.depth_bias, layers.window, tails[1], layers.project, layers.project_bias,
        Image(layers.residual), tails[2], MapOut(layers.result)))
    assert np.array_equal(got, want)
    alone, = run(backend, "inverted_residual", Image(layers.x[-1:]), channels, layers.expand,
                 layers.expand_bias, tails[0], wide, layers.depth, layers.depth_bias, layers.window, tails[1],
                 layers.project, layers.project_bias, Image(layers.residual[-1:]), tails[2],
                 MapOut((1, *layers.result[1:])))
    assert np.array_equal(alone[0], want[-1]), "a sample depends on its batch"
    if 0 < layers.result[1] % 16 <= 8:   # the same where the bias says that half a block has no filters
        half, = run(backend, "inverted_residual", Image(layers.x), channels, layers.expand, layers.expand_bias,
                    tails[0], wide, layers.depth, layers.depth_bias, layers.window, tails[1], layers.project,
                    layers.project_bias[:-8], Image(layers.residual), tails[2], MapOut(layers.result))
        assert np.array_equal(half, want)


@pytest.mark.parametrize("case", CASES.values(), ids=IDS)
def test_without_a_first_layer(backend, case):
    layers, wide = Layers(backend, case), case[2]
    x = np.random.default_rng(3).standard_normal((case[0], wide, *case[4:6]), np.float32)
    want = layers.pointwise(layers.filtered(x, SILU), wide, layers.project, None, None, NONE, layers.result)
    got, = same_for_all_threads(lambda: run(backend, "inverted_residual", Image(x), wide, None, None, NONE,
                                            wide, layers.depth, layers.depth_bias, layers.window, SILU,
                                            layers.project, None, None, NONE, MapOut(layers.result)))
    assert np.array_equal(got, want)


@pytest.mark.parametrize("case", CASES.values(), ids=IDS)
def test_without_a_last_layer(backend, case):
    layers, (channels, wide) = Layers(backend, case), case[1:3]
    want = layers.filtered(layers.wide_map(RELU6), SILU)
    before = (Image(layers.x), channels, layers.expand, layers.expand_bias, RELU6)
    got, = same_for_all_threads(lambda: run(backend, "inverted_residual", *before, wide, layers.depth,
                                            layers.depth_bias, layers.window, SILU,
                                            None, None, None, NONE, MapOut(layers.between)))
    assert np.array_equal(got, want)
    got, mean = same_for_all_threads(lambda: run(backend, "expand_depthwise_mean", *before, layers.depth,
                                                 layers.depth_bias, layers.window, SILU,
                                                 MapOut(layers.between), PlanarOut(layers.between[:2])))
    assert np.array_equal(got, want)
    exact = want.mean((2, 3), dtype=np.float64)
    assert np.abs(mean - exact).max() <= 1e-6 * np.abs(want).max()


def mobile(seed=0):
    """MobileNet blocks: with an excitation, with a shortcut, of depthwise and last layer alone."""
    class Blocks(nn.Module):
        def __init__(self):
            def layer(*args, **kwargs):
                return nn.Conv2d(*args, bias=False, **kwargs)
            self.first, self.last = layer(20, 20, 3, padding=1, groups=20), layer(20, 16, 1)
            self.wide, self.deep, self.back = layer(16, 96, 1), layer(96, 96, 5, padding=2,
                                                                      groups=96), layer(96, 16, 1)
            self.squeeze = nn.Conv2d(96, 96, 1)

        def forward(self, x):
            x = self.last(F.relu6(self.first(x)))
            x = x + self.back(F.silu(self.deep(F.silu(self.wide(x)))))
            y = F.hardswish(self.deep(F.hardswish(self.wide(x))))
            return self.back(y * F.sigmoid(self.squeeze(F.adaptive_avg_pool2d(y, 1))))
    pyops.manual_seed(seed)
    return Blocks().eval()


def test_programs_use_it_where_maps_are_large(monkeypatch):
    model, x = mobile(), np.random.default_rng(0).standard_normal((2, 20, 28, 30)).astype(np.float32)
    results = {}
    for least in (0, 1 << 40):
        monkeypatch.setattr(fuse_inverted, "LEAST_BYTES", least)
        program = pyops.compile(model, x)
        results[least] = program(x)
        kinds = [s.kernel for s in program.steps]
        assert (kinds.count("inverted_residual") == (2 if least == 0 else 0)
                and kinds.count("expand_depthwise_mean") == (1 if least == 0 else 0))
        assert ("inverted" in program.explain("wide")) == (least == 0)
    assert np.array_equal(*results.values())
    with pyops.no_grad():
        want = np.asarray(model(pyops.Tensor(x)).data)
    assert np.abs(results[0] - want).max() <= 1e-5 * np.abs(want).max()


def test_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(fuse_inverted, "LEAST_BYTES", 0)
    model, x = mobile(), np.ones((1, 20, 14, 14), np.float32)
    program = pyops.compile(model, x)
    program.save(tmp_path / "p.npz")
    again = pyops.Program.load(tmp_path / "p.npz")
    assert (np.array_equal(again(x), program(x))
            and [s.covers for s in again.steps] == [s.covers for s in program.steps])


def test_a_wide_map_that_others_read_stays(monkeypatch):
    monkeypatch.setattr(fuse_inverted, "LEAST_BYTES", 0)
    weights = [np.random.default_rng(i).standard_normal(s).astype(np.float32)
               for i, s in enumerate(((32, 16, 1, 1), (32, 1, 3, 3), (16, 32, 1, 1)))]

    def model(x):
        wide = F.conv2d(x, weights[0])
        deep = F.conv2d(wide, weights[1], padding=1, groups=32)
        return F.conv2d(deep, weights[2]) + F.conv2d(wide, weights[2]), deep
    x = np.random.default_rng(9).standard_normal((2, 16, 9, 9)).astype(np.float32)
    program = pyops.compile(model, x)
    assert "inverted_residual" not in [s.kernel for s in program.steps]
    for got, want in zip(program(x), model(x)):
        assert np.abs(got - np.asarray(want)).max() <= 1e-5 * np.abs(np.asarray(want)).max()
