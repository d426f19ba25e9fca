"""Each pass of the compiler on a graph of its own, and the planner of memory."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import nn
from pyops.graph import memory
from pyops.graph.lowering.context import Buffer, Ref, Step
from pyops.graph.passes import (
    drop_dead,
    fold_batch_norm,
    fuse_activation,
    fuse_gate,
    fuse_normalised_input,
    fuse_residual,
    simplify,
)
from pyops.graph.trace import trace

X = np.zeros((1, 4, 6, 6), np.float32)
W = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)


def graph_of(function, *inputs):
    return trace(function, inputs or (X,))[0]


def ops(graph):
    return [node.op for node in graph.nodes]


def conv(x):
    return F.conv2d(x, W, padding=1)


def test_dead_branches_go():
    graph = graph_of(lambda x: (F.exp(F.relu(x)), F.tanh(x))[1])
    drop_dead.run(graph)
    assert ops(graph) == ["tanh"]


def test_calls_that_change_nothing_go():
    graph = graph_of(lambda x: F.relu(F.reshape(F.permute(F.avg_pool2d(x * 1.0 + 0.0, 1), (0, 1, 2, 3)),
                                                (1, 4, 6, 6))))
    simplify.run(graph)
    assert ops(graph) == ["relu"]
    graph = graph_of(lambda x: F.relu(x * 1.5 + 1.0))
    simplify.run(graph)
    assert ops(graph) == ["mul", "add", "relu"]


def test_batch_norm_is_folded_in_float64():
    norm = nn.BatchNorm2d(4).eval()
    rng = np.random.default_rng(1)
    for array in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
        array[...] = rng.uniform(0.5, 2, 4)
    graph = graph_of(lambda x: norm(conv(x)))
    fold_batch_norm.run(graph)
    assert ops(graph) == ["conv"]
    scale = norm.weight.data / np.sqrt(norm.running_var.astype(np.float64) + norm.eps)
    assert np.abs(graph.nodes[0].inputs[1] - W * scale[:, None, None, None]).max() <= 1e-6
    assert np.abs(graph.nodes[0].inputs[2] - (norm.bias.data - norm.running_mean * scale)).max() <= 1e-6
    assert graph.outputs == [graph.nodes[0].output]


def test_batch_norm_stays_where_the_convolution_is_needed_too():
    norm = nn.BatchNorm2d(4).eval()

    def both(x):
        y = conv(x)
        return norm(y) * y
    graph = graph_of(both)
    fold_batch_norm.run(graph)
    assert ops(graph) == ["conv", "batch_norm", "mul"]


def test_the_later_convolution_takes_the_sum():
    def block(x):
        return F.relu(conv(F.relu(conv(x))) + conv(x))
    graph = graph_of(block)
    fuse_residual.run(graph)
    assert ops(graph) == ["conv", "relu", "conv", "conv", "relu"]
    taker = graph.nodes[3]
    assert taker.epilogue.residual is graph.nodes[2].output and taker.inputs[0] is graph.inputs[0]
    fuse_activation.run(graph)
    assert ops(graph) == ["conv", "conv", "conv"] and taker.epilogue.activation == ("clamp", 0.0, np.inf)


@pytest.mark.parametrize("function", [
    lambda x: conv(x) + conv(x)[:, :1],                    # it would broadcast
    lambda x: F.add(conv(x), F.relu(x), alpha=2.0),        # a scaled sum
    lambda x: (lambda y: y + F.relu(y))(conv(x)),          # the convolution is needed elsewhere
], ids=["broadcast", "alpha", "shared"])
def test_other_sums_stay(function):
    graph = graph_of(function)
    fuse_residual.run(graph)
    assert "add" in ops(graph)


def test_an_activation_after_an_activation_stays():
    graph = graph_of(lambda x: F.tanh(F.relu(conv(x))))
    fuse_activation.run(graph)
    assert ops(graph) == ["conv", "tanh"]


@pytest.mark.parametrize("size, fused", [(1, True), (3, False)])
def test_a_pointwise_convolution_normalises_its_input(size, fused):
    norm = nn.BatchNorm2d(20).eval()
    norm.running_mean[...], norm.weight.data[...] = 0.3, np.linspace(-1, 1, 20)
    weight = np.random.default_rng(0).standard_normal((8, 20, size, size)).astype(np.float32)

    def block(x):
        return F.conv2d(F.relu(norm(x)), weight, padding=size // 2)
    x = np.random.default_rng(1).standard_normal((2, 20, 7, 6)).astype(np.float32)
    graph = graph_of(block, x)
    fuse_activation.run(graph)
    fuse_normalised_input.run(graph)
    assert ops(graph) == (["conv"] if fused else ["batch_norm", "conv"])
    want = np.asarray(block(x))
    assert np.abs(pyops.compile(block, x)(x) - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("size, fused", [(1, True), (3, False)])
def test_a_pointwise_convolution_gates_its_input(size, fused):
    weight, squeeze = (np.random.default_rng(0).standard_normal(s).astype(np.float32)
                       for s in ((8, 20, size, size), (20, 20, 1, 1)))

    def block(x):
        gate = F.sigmoid(F.conv2d(F.adaptive_avg_pool2d(x, 1), squeeze))
        return F.conv2d(gate * x, weight, padding=size // 2) + F.max_pool2d(x, 1)[:, :8]
    x = np.random.default_rng(1).standard_normal((2, 20, 7, 6)).astype(np.float32)
    graph = graph_of(block, x)
    fuse_gate.run(graph)
    assert ("mul" in ops(graph)) != fused
    want = np.asarray(block(x))
    assert np.abs(pyops.compile(block, x)(x) - want).max() <= 1e-5 * np.abs(want).max()


def test_a_gated_image_that_others_read_stays():
    weight = np.ones((8, 4, 1, 1), np.float32)

    def block(x):
        gated = x * F.adaptive_avg_pool2d(x, 1)
        return F.conv2d(gated, weight), gated
    graph = graph_of(block)
    fuse_gate.run(graph)
    assert "mul" in ops(graph)


def test_concatenations_are_written_in_place():
    """A dense block: each concatenation is the beginning of the next, and nothing is copied."""
    weights = [np.ones((16, 16 * (i + 1), 1, 1), np.float32) for i in range(3)]

    def block(x):
        maps = [F.relu(F.conv2d(x, np.ones((16, 4, 1, 1), np.float32)))]
        for w in weights:
            maps.append(F.conv2d(F.cat(maps, 1), w))
        return F.relu(F.cat(maps, 1))
    program = pyops.compile(block, X)
    assert not any(s.kernel == "copy_channels" for s in program.steps)
    x = np.random.default_rng(0).standard_normal(X.shape).astype(np.float32)
    assert np.abs(program(x) - block(x)).max() <= 1e-5 * np.abs(block(x)).max()


def test_living_buffers_never_overlap():
    rng = np.random.default_rng(0)
    for _ in range(30):
        buffers = [Buffer(int(rng.integers(1, 5000))) for _ in range(20)]
        steps = [Step("k", tuple(Ref(buffers[i], 0, (1,)) for i in rng.choice(20, 3, replace=False)), None)
                 for _ in range(25)]
        total = memory.plan(steps)
        lives = {b: [i for i, s in enumerate(steps) if any(r.buffer is b for r in s.refs())] for b in buffers}
        used = [b for b in buffers if lives[b]]
        for a in used:
            assert a.offset + a.bytes <= total
            for b in used:
                if a is not b and lives[a][0] <= lives[b][-1] and lives[b][0] <= lives[a][-1]:
                    assert a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset


def test_the_lowest_gap_is_taken(monkeypatch):
    """As by looking at every buffer placed before; and without overlaps where there
    is no time for that."""
    rng = np.random.default_rng(1)
    for few in (False, True):
        if few:
            monkeypatch.setattr(memory, "MEETINGS", 100)
        for _ in range(20):
            buffers = [Buffer(int(rng.integers(1, 5000))) for _ in range(60)]
            steps = [Step("k", tuple(Ref(buffers[i], 0, (1,)) for i in rng.choice(60, 3)), None)
                     for _ in range(70)]
            lives = {b: [i for i, s in enumerate(steps) if any(r.buffer is b for r in s.refs())]
                     for b in buffers}
            lives = {b: (at[0], at[-1]) for b, at in lives.items() if at}
            total = memory.plan(steps)
            placed: list = []
            for b in sorted(lives, key=lambda b: (-b.bytes, lives[b][0])):
                taken = sorted((o.offset, o.offset + memory.size_of(o))
                               for o in placed if lives[o][0] <= lives[b][1] and lives[b][0] <= lives[o][1])
                if few:
                    assert all(end <= b.offset or b.offset + memory.size_of(b) <= begin
                               for begin, end in taken)
                else:
                    assert b.offset == memory.lowest_gap(memory.size_of(b), taken)
                placed.append(b)
                assert b.offset + b.bytes <= total


def test_memory_is_used_again():
    program = pyops.compile(lambda x: F.exp(F.exp(F.exp(F.exp(F.exp(x))))),
                            np.zeros((1, 1 << 20), np.float32))
    assert program.arena_bytes < 9 << 20


def test_zero_minus_a_value_stays():
    """Adding zeros is nothing; taking a value from zeros is its negative."""
    x, zeros = np.linspace(-1, 2, 6, dtype=np.float32).reshape(2, 3), np.zeros((2, 3), np.float32)
    for function in (lambda a: F.mul(F.sigmoid(a), F.sub(zeros, a)),
                     lambda a: F.exp(F.add(zeros, a, alpha=2)), lambda a: F.exp(F.sub(a, zeros)),
                     lambda a: F.exp(F.add(zeros, a))):
        assert np.allclose(pyops.compile(function, x)(x), function(x), rtol=1e-6)


@pytest.mark.parametrize("axes, dilation", [((1, 1), 1), ((2, 2), 2), ((3, 3), 3), ((1, 2), (1, 2))])
@pytest.mark.parametrize("tile", [2, 4, 6])
def test_a_pool_behind_a_winograd_convolution(tile, axes, dilation, monkeypatch):
    """It is taken within the convolution, but of places that a dilation holds apart."""
    monkeypatch.setenv("PYOPS_FORCE_ALGO", f"winograd{tile}")
    rng = np.random.default_rng(tile)
    w, x = (rng.standard_normal(s).astype(np.float32) for s in ((24, 20, 3, 3), (2, 20, 19, 22)))

    def model(x):
        return F.max_pool2d(F.relu(F.conv2d(x, w.astype(x.dtype), None, 1, axes, dilation)), 2)

    program = pyops.compile(model, x)
    program._native.poison()
    kernels = [s.kernel for s in program.steps]
    assert any(k.startswith("winograd") for k in kernels)
    assert ("max_pool_blocked" in kernels) == (dilation != 1)
    want = model(x.astype(np.float64))
    np.testing.assert_allclose(program(x), want, rtol=0, atol=1e-5 * np.abs(want).max())
