"""Linear layers on either side of an image's convolution are 1x1 convolutions where that leaves the narrower
side to be laid out anew; others stay linear layers of tokens."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph.passes import drop_dead, narrow_turns, turn_tokens
from pyops.graph.trace import trace

RNG = np.random.default_rng(0)
N, H, W, C, WIDE = 2, 5, 7, 12, 36
X = RNG.standard_normal((N, H * W, C)).astype(np.float32)
UP, DOWN = (0.3 * RNG.standard_normal(s).astype(np.float32) for s in ((WIDE, C), (C, WIDE)))
SAME = 0.3 * RNG.standard_normal((WIDE, WIDE)).astype(np.float32)
B, D, G = (RNG.standard_normal(n).astype(np.float32) for n in (WIDE, C, WIDE))
DEPTH = 0.3 * RNG.standard_normal((WIDE, 1, 3, 3)).astype(np.float32)


def image(x):
    return F.reshape(F.transpose(x, 1, 2), (-1, x.shape[2], H, W))


def tokens(x):
    return F.transpose(F.flatten(x, 2), 1, 2)


def depthwise(x):
    return F.conv2d(x, DEPTH, padding=1, groups=WIDE)


def mixed(x):
    return F.linear(F.gelu(tokens(depthwise(image(F.linear(x, UP, B))))), DOWN, D)


BOTH = {
    "mix-ffn": mixed,
    "in a row": lambda x: mixed(F.add(x, mixed(F.layer_norm(x, (C,))))),
    "axes permuted": lambda x: F.linear(F.reshape(F.permute(F.relu(depthwise(F.permute(F.reshape(
        F.linear(x, UP), (-1, H, W, WIDE)), (0, 3, 1, 2)))), (0, 2, 3, 1)), (-1, H * W, WIDE)), DOWN),
    "activations before": lambda x: F.linear(tokens(depthwise(image(F.silu(F.linear(x, UP, B))))), DOWN),
    "numbers a channel": lambda x: F.linear(F.mul(tokens(depthwise(image(F.mul(F.linear(x, UP), G)))), G), DOWN),
}
LEFT = {
    "as wide": lambda x: F.linear(tokens(depthwise(image(F.linear(F.linear(x, UP), SAME)))), SAME),
    "read by others": lambda x: (lambda y, z: (F.softmax(y, 1), F.linear(z, DOWN), F.softmax(z, 1)))(
        *(lambda y: (y, tokens(depthwise(image(y)))))(F.linear(x, UP))),
    "outputs": lambda x: (lambda y: (y, depthwise(image(y))))(F.linear(x, UP)),
    "numbers a token": lambda x: F.linear(tokens(depthwise(image(F.mul(F.linear(x, UP), np.arange(
        H * W, dtype=np.float32)[:, None])))), SAME),
    "tokens in another order": lambda x: F.linear(F.reshape(depthwise(F.reshape(
        F.linear(x, UP), (-1, WIDE, H, W))), (-1, H * W, WIDE)), DOWN),
}


def turned(model):
    graph = trace(model, (X,))[0]
    for each in (turn_tokens, drop_dead, narrow_turns, drop_dead):
        each.run(graph)
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", [*BOTH, *LEFT])
def test_what_it_computes(name, batch):
    model = (BOTH | LEFT)[name]
    x = RNG.standard_normal((batch, H * W, C)).astype(np.float32)
    want, got = model(x), pyops.compile(model, x, "strict")(x)
    for g, w in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-5 * np.abs(w).max(initial=1))


@pytest.mark.parametrize("name", BOTH)
def test_both_layers_are_convolutions(name):
    ops = turned(BOTH[name])
    assert "linear" not in ops
    assert ops.count("conv") == (6 if name == "in a row" else 3)


@pytest.mark.parametrize("name", LEFT)
def test_others_stay(name):
    before = [node.op for node in trace(LEFT[name], (X,))[0].nodes]
    assert turned(LEFT[name]).count("linear") == before.count("linear")


def test_only_narrow_values_are_laid_out_anew():
    program = pyops.compile(mixed, X)
    kernels = [step.kernel for step in program.steps if "blocked" in step.kernel]
    assert kernels == ["last_to_blocked", "last_from_blocked"]


def test_several_sizes():
    program = pyops.compile(mixed, X, dynamic={"x": {0: (1, 4)}})
    for batch in (1, 4):
        x = RNG.standard_normal((batch, H * W, C)).astype(np.float32)
        np.testing.assert_allclose(program(x), mixed(x), rtol=0, atol=1e-4)
