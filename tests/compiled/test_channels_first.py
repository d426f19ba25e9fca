"""Layers on images whose channels come last, between permutations, are computed with channels first;
what is read from outside, or is no such image, stays as it is."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph.passes import channels_first, drop_dead, turn_tokens
from pyops.graph.trace import trace

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 20, 5, 7)).astype(np.float32)
W, B, V = (0.2 * RNG.standard_normal(s).astype(np.float32) for s in ((33, 20), (33,), (20, 33)))
G, H = (RNG.standard_normal(20).astype(np.float32) for _ in range(2))
K = RNG.standard_normal((20, 20, 3, 3)).astype(np.float32) * 0.1


def last(x):
    return F.permute(x, (0, 2, 3, 1))


def first(x):
    return F.permute(x, (0, 3, 1, 2))


def norm(x):
    return F.layer_norm(x, (20,), G, H, 1e-3)


def layers(x):
    return F.linear(F.gelu(F.linear(x, W, B)), V)


def conv(x):
    return F.conv2d(x, K, padding=1)


TURNED = {
    "two layers": lambda x: first(layers(last(conv(x)))),
    "a norm before": lambda x: first(layers(norm(last(conv(x))))),
    "a norm alone": lambda x: conv(first(norm(last(conv(x))))),
    "a branch": lambda x: (lambda y: first(F.mul(layers(y), F.sigmoid(y))))(last(conv(x))),
    "numbers a channel": lambda x: first(F.add(F.mul(last(conv(x)), G), H[None, None, None])),
    "a number": lambda x: first(F.mul(layers(last(conv(x))), 2.0)),
    "two ways back": lambda x: (lambda y: F.add(first(y), conv(first(y))))(layers(last(conv(x)))),
    "the mean": lambda x: F.mean(layers(norm(last(conv(x)))), (1, 2)),
    "negative axes": lambda x: F.permute(layers(F.permute(conv(x), (0, -2, -1, 1))), (0, -1, 1, 2)),
}
APART = {
    "no way back": lambda x: layers(last(conv(x))),
    "read from outside": lambda x: (lambda y: (first(y), F.softmax(y, 1)))(layers(last(conv(x)))),
    "an output": lambda x: (lambda y: (first(y), y))(layers(last(conv(x)))),
    "another permutation": lambda x: F.permute(layers(F.permute(conv(x), (0, 3, 2, 1))), (0, 3, 2, 1)),
    "numbers a column": lambda x: first(F.mul(last(conv(x)), np.arange(7, dtype=np.float32)[:, None])),
    "another image": lambda x: first(F.add(last(conv(x)), F.reshape(conv(x), (2, 5, 7, 20)))),
    "weights that are computed": lambda x: first(F.linear(last(conv(x)), F.reshape(
        F.softmax(F.reshape(x, (40, 35)), 1)[:20, :20], (20, 20)))),
    "a norm over two axes": lambda x: first(F.layer_norm(last(conv(x)), (7, 20))),
    "a mean over rows": lambda x: F.mean(layers(last(conv(x))), 1),
}


def turned(model, *inputs):
    graph = trace(model, inputs)[0]
    before = [n.op for n in graph.nodes]
    turn_tokens.run(graph)
    channels_first.run(graph)
    drop_dead.run(graph)
    return before, [n.op for n in graph.nodes]


@pytest.mark.parametrize("name", [*TURNED, *APART])
def test_what_it_computes(name):
    model = (TURNED | APART)[name]
    want = model(X)
    got = pyops.compile(model, X, "strict")(X)
    for g, w in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-5 * np.abs(w).max())


@pytest.mark.parametrize("name", TURNED)
def test_what_is_turned(name):
    before, after = turned(TURNED[name], X)
    assert "linear" not in after
    assert after.count("permute") == 2 * after.count("layer_norm")   # which blocked layout has for nothing
    assert after.count("conv") == before.count("conv") + before.count("linear")


@pytest.mark.parametrize("name", APART)
def test_what_stays(name):
    before, after = turned(APART[name], X)
    assert after.count("linear") == before.count("linear") and after.count("permute") == before.count("permute")


def test_doubles_stay():
    before, after = turned(lambda x: first(F.linear(last(x), W.astype(np.float64))), X.astype(np.float64))
    assert before == after


def test_steps_are_those_of_blocked_layout():
    program = pyops.compile(TURNED["a norm before"], X, "strict")
    assert [s.kernel for s in program.steps] == ["to_blocked", "direct_conv", "layer_norm_blocked", "direct_conv",
                                                 "direct_conv", "from_blocked"]


def test_sizes_that_vary():
    program = pyops.compile(TURNED["a norm before"], X, dynamic={0: {0: None, 2: None, 3: None}})
    for shape in ((2, 20, 5, 7), (1, 20, 9, 3), (3, 20, 1, 1)):
        x = RNG.standard_normal(shape).astype(np.float32)
        want = TURNED["a norm before"](x)
        np.testing.assert_allclose(program(x), want, rtol=0, atol=1e-5 * np.abs(want).max())


TOKENS = {
    "to tokens": lambda x: F.softmax(F.permute(F.reshape(conv(x), (2, 20, 35)), (0, 2, 1)), 1),
    "there and back": lambda x: conv(F.reshape(F.permute(F.softmax(
        F.permute(F.reshape(conv(x), (2, 20, 35)), (0, 2, 1)), 1), (0, 2, 1)), (2, 20, 5, 7))),
    "a norm of tokens": lambda x: F.layer_norm(F.permute(F.reshape(conv(x), (2, 20, 35)), (0, 2, 1)), (20,), G, H),
    "the flat image, too": lambda x: (lambda y: (F.permute(y, (0, 2, 1)), y))(F.reshape(conv(x), (2, 20, 35))),
    "columns of another split": lambda x: F.permute(F.reshape(conv(x), (2, 35, 20)), (0, 2, 1)),
    "samples and channels": lambda x: F.permute(F.reshape(conv(x), (4, 10, 35)), (0, 2, 1)),
}
MOVED_BY_BLOCKS = {"to tokens": 1, "there and back": 2, "a norm of tokens": 1, "the flat image, too": 1}


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(name):
    want, program = TOKENS[name](X), pyops.compile(TOKENS[name], X, "strict")
    got = program(X)
    for g, w in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-5 * np.abs(w).max())
    kernels = [s.kernel for s in program.steps]
    assert kernels.count("last_from_blocked") + kernels.count("last_to_blocked") == MOVED_BY_BLOCKS.get(name, 0)
