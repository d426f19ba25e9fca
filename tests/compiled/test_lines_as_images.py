"""Layers on lines are computed as layers on images of one row: what images have done for them, lines have."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph.passes import drop_dead, lines_as_images
from pyops.graph.trace import trace

RNG = np.random.default_rng(0)
C, LENGTH = 20, 37
X = RNG.standard_normal((2, C, LENGTH)).astype(np.float32)
K, GROUPED, POINT, BACK = (0.2 * RNG.standard_normal(s).astype(np.float32) for s in (
    (C, C, 3), (C, 5, 3), (2 * C, C, 1), (C, 12, 4)))
B, G, S = (RNG.standard_normal(n).astype(np.float32) for n in (C, C, C))
V = np.abs(RNG.standard_normal(C)).astype(np.float32) + 0.5


def conv(x):
    return F.conv1d(x, K, B, padding=2, dilation=2)


LINES = {
    "residual": lambda x: F.add(x, conv(F.relu(conv(x)))),
    "strided, grouped": lambda x: F.conv1d(conv(x), GROUPED, None, 3, 1, 1, 4),
    "transposed": lambda x: F.conv_transpose1d(conv(x), BACK, None, 2, 1, 1),
    "gated halves": lambda x: (lambda a: F.mul(F.tanh(a[:, :C]), F.sigmoid(a[:, C:])))(F.conv1d(x, POINT)),
    "glu": lambda x: conv(F.glu(F.conv1d(x, POINT), 1)),
    "maxima": lambda x: F.max_pool1d(conv(x), 3, 2, 1, 1, True),
    "means": lambda x: F.avg_pool1d(conv(x), 3, 2, 1, True, False),
    "adaptive": lambda x: F.adaptive_avg_pool1d(conv(x), 5),
    "powers": lambda x: F.lp_pool1d(conv(x), 2.0, 3),
    "nearest": lambda x: conv(F.interpolate(conv(x), scale_factor=2)),
    "linear": lambda x: F.interpolate(conv(x), size=50, mode="linear"),
    "normalised": lambda x: F.relu(F.batch_norm(conv(x), B, V, G, S)),
    "in groups": lambda x: F.group_norm(conv(x), 1, G, S),
    "each channel": lambda x: F.instance_norm(conv(x)),
    "slopes": lambda x: F.prelu(conv(x), G),
    "one slope": lambda x: conv(F.prelu(conv(x), np.float32([0.2]))),
    "padded": lambda x: conv(F.pad(x, (1, 3))),
    "reflected": lambda x: conv(F.pad(conv(x), (1, 3), mode="reflect")),
    "joined channels": lambda x: conv(F.cat([conv(x), x], 1)[:, 3:3 + C]),
    "joined lines": lambda x: F.cat([conv(x), x], -1),
    "cut at the end": lambda x: conv(conv(x)[..., :-2]),
    "samples cut": lambda x: conv(conv(x)[1:]),
    "cut": lambda x: conv(x)[:, :, 2:-3],
    "squeezed": lambda x: F.mul(conv(x), F.sigmoid(F.mean(conv(x), -1, keepdim=True))),
    "mean": lambda x: F.mean(conv(x), 2),
    "maximum": lambda x: F.amax(conv(x), 2),
    "maximum kept": lambda x: conv(F.mul(conv(x), F.amax(conv(x), -1, keepdim=True))),
    "spread": lambda x: conv(F.broadcast_to(F.amax(conv(x), 2, True), (x.shape[0], C, 9))),
    "likeliest": lambda x: F.argmax(conv(x), 1),
    "scores": lambda x: F.softmax(conv(x), 1),
    "numbers a channel": lambda x: conv(F.mul(conv(x), G[:, None])),
    "numbers a place": lambda x: F.add(conv(x), np.arange(LENGTH, dtype=np.float32)),
    "across channels": lambda x: F.local_response_norm(conv(x), 3),
    "read by others": lambda x: (lambda y: (F.softmax(y, 1), conv(y), F.permute(y, (0, 2, 1))))(conv(x)),
    "written by others": lambda x: F.add(F.softmax(conv(x), 1), conv(F.permute(F.permute(x, (2, 0, 1)), (1, 2, 0)))),
}


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("name", LINES)
def test_what_it_computes(name, batch):
    model = LINES[name]
    x = RNG.standard_normal((batch, C, LENGTH)).astype(np.float32)
    want, got = model(x), pyops.compile(model, x, "strict")(x)
    for g, w in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-5 * np.abs(w).max(initial=1))


@pytest.mark.parametrize("name, kernel", [("maximum", "max_pool_blocked"), ("likeliest", "direct_conv_labels"),
                                          ("mean", "global_avg_pool")])
def test_what_is_read_off_lines_is_read_in_blocks(name, kernel):
    assert kernel in [step.kernel for step in pyops.compile(LINES[name], X, memory="lean").steps]


@pytest.mark.parametrize("name", LINES)
def test_layers_see_images(name):
    graph = trace(LINES[name], (X,))[0]
    lines_as_images.run(graph)
    drop_dead.run(graph)
    layers = [node for node in graph.nodes if node.op in ("conv", "conv_transpose")]
    assert layers and all(node.output.ndim == node.inputs[0].ndim == node.inputs[1].ndim == 4 for node in layers)
    between = [node for node in graph.nodes if node.op == "reshape"]
    if "others" not in name:
        assert len(between) <= 3   # of what comes and what leaves


def test_without_a_layer_nothing_changes():
    graph = trace(lambda x: F.add(F.max_pool1d(F.relu(x), 3, 1, 1), x), (X,))[0]
    before = [node.output.shape for node in graph.nodes]
    lines_as_images.run(graph)
    assert [node.output.shape for node in graph.nodes] == before


def test_a_residual_is_added_by_its_layer():
    program = pyops.compile(LINES["residual"], X)
    assert not [step for step in program.steps if step.kernel in ("add", "add_maps", "add_flat")]


def test_gated_halves_stay_in_blocks():
    wide = 0.2 * RNG.standard_normal((32, C, 1)).astype(np.float32)

    def model(x):
        both = F.conv1d(x, wide)
        return F.conv1d(F.mul(F.tanh(both[:, :16]), F.sigmoid(both[:, 16:])), K[:, :16])
    program = pyops.compile(model, X)
    assert [step.kernel for step in program.steps if step.algorithm == "layout"] == ["to_blocked", "from_blocked"]
    np.testing.assert_allclose(program(X), model(X), rtol=0, atol=1e-5)


def test_several_sizes():
    model = LINES["residual"]
    program = pyops.compile(model, X, dynamic={"x": {0: (1, 4), 2: (8, 64)}})
    for batch, length in ((1, 8), (4, 64), (3, 37)):
        x = RNG.standard_normal((batch, C, length)).astype(np.float32)
        np.testing.assert_allclose(program(x), model(x), rtol=0, atol=1e-4)
