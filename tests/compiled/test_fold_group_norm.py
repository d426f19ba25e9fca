"""A group norm that is spelled out, and batch norms of a layer's rows, are folded; what others read, and
what only looks like it, stays."""
import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops.graph.passes import fold_group_norm, simplify
from pyops.graph.trace import trace

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 12, 5, 7)).astype(np.float32)
K = 0.2 * RNG.standard_normal((12, 12, 3, 3)).astype(np.float32)
G, H = (RNG.standard_normal((12, 1, 1)).astype(np.float32) for _ in range(2))
A, B = (RNG.standard_normal(3).astype(np.float32) for _ in range(2))


def conv(x):
    return F.conv2d(x, K, padding=1)


def spelled(x, groups=3, a=None, b=None):
    return F.reshape(F.instance_norm(F.reshape(x, (2, groups, -1)), weight=a, bias=b), (2, 12, 5, 7))


FOLDED = {
    "alone": lambda x: spelled(conv(x)),
    "weights a group": lambda x: spelled(conv(x), 3, A, B),
    "numbers a channel": lambda x: conv(F.add(F.mul(spelled(conv(x), 3, A, B), G), H)),
    "one group": lambda x: F.mul(G, spelled(conv(x), 1)),
    "the row itself": lambda x: F.add(F.mul(F.group_norm(conv(x), 4), G), H),
}
APART = {
    "numbers a row": lambda x: F.mul(F.group_norm(conv(x), 3), np.arange(5, dtype=np.float32)[:, None]),
    "the flat norm is read": lambda x: (lambda y: (F.reshape(y, (2, 12, 5, 7)), y))(
        F.instance_norm(F.reshape(conv(x), (2, 3, -1)))),
    "another shape behind": lambda x: F.reshape(F.instance_norm(F.reshape(conv(x), (2, 3, -1))), (2, 12, 7, 5)),
    "samples in the groups": lambda x: F.reshape(F.instance_norm(F.reshape(conv(x), (4, 6, -1))), (2, 12, 5, 7)),
    "the norm is read, too": lambda x: (lambda y: (F.mul(y, G), y))(F.group_norm(conv(x), 4)),
    "numbers of the run": lambda x: F.mul(F.group_norm(conv(x), 4), F.mean(x, (2, 3), keepdim=True)),
}


def kernels(model, x):
    """The program's kernels, once it computes what the model says."""
    program, want = pyops.compile(model, x, "strict"), model(x)
    got = program(x)
    for g, w in zip(got if isinstance(got, tuple) else [got], want if isinstance(want, tuple) else [want], strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-5 * np.abs(w).max())
    return [s.kernel for s in program.steps]


@pytest.mark.parametrize("name", FOLDED)
def test_what_is_folded(name):
    used = kernels(FOLDED[name], X)
    assert used.count("group_norm_blocked") == 1
    assert not {"group_norm", "affine_channels", "mul", "add"} & set(used)


@pytest.mark.parametrize("name", APART)
def test_what_stays(name):
    kernels(APART[name], X)
    graph = trace(APART[name], (X,))[0]
    simplify.run(graph)
    before = [(n.op, list(n.inputs)) for n in graph.nodes]
    fold_group_norm.run(graph)
    assert all(n.op == op and all(a is b for a, b in zip(n.inputs, inputs, strict=True))
               for n, (op, inputs) in zip(graph.nodes, before, strict=True))


STATISTICS = [RNG.standard_normal(8).astype(np.float32), RNG.uniform(0.5, 2, 8).astype(np.float32),
              *(RNG.standard_normal(8).astype(np.float32) for _ in range(2))]
T, W = (RNG.standard_normal(s).astype(np.float32) for s in ((2, 6, 5), (8, 5)))
C = RNG.standard_normal(8).astype(np.float32)


@pytest.mark.parametrize("bias", [None, C])
def test_batch_norm_of_a_layers_rows(bias):
    used = kernels(lambda x: F.relu(F.reshape(
        F.batch_norm(F.reshape(F.linear(x, W, bias), (12, 8)), *STATISTICS), (2, 6, 8))), T)
    assert used == ["linear_packed"]


@pytest.mark.parametrize("model", [
    lambda x: F.batch_norm(F.reshape(F.linear(x, W), (24, 4)), *(s[:4] for s in STATISTICS)),
    lambda x: F.batch_norm(F.reshape(F.linear(x, W), (12, 8, 1)), *STATISTICS),
    lambda x: (lambda y: (F.batch_norm(F.reshape(y, (12, 8)), *STATISTICS), y))(F.linear(x, W)),
    lambda x: (lambda y: (F.batch_norm(y, *STATISTICS), y))(F.reshape(F.linear(x, W), (12, 8))),
])
def test_other_batch_norms_stay(model):
    assert len(kernels(model, T)) > 1
