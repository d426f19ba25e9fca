"""Second derivatives: the gradient of a gradient (create_graph=True) of every row beside central
differences of its first gradient, in float64 by the definitions. Rows that have none say so."""
import numpy as np
import pytest

import pyops
from pyops import Tensor, functional as F, use_backend, validate
from pyops.core.registry import OPS
from pyops.ops import spelled

STEP = 1e-5
# rows whose gradient is a kernel that has none itself, nor is spelled out
NONE = {"box_overlap", "cdist", "ctc_loss", "deform_conv", "embedding_bag", "grid_sample", "gru",
        "linear_cross_entropy", "lp_pool", "lstm", "pdist", "prod", "ps_roi_align", "ps_roi_pool", "pyramid_roi_align",
        "rnn", "roi_align", "roi_pool"}
CASES = [(op, case) for op, case in validate.rows()
         if case.gradient and op.gradient and not case.chain and "out" not in case.kwargs]


def called(case, args, kwargs):
    """The arguments that gradients are for, as Tensors, and the results that have some."""
    leaves: list = []
    result = validate.call(case, validate.tensors(list(args), leaves, list(case.args)),
                           validate.tensors(kwargs, leaves, case.kwargs))
    return leaves, [t for t in validate.flat(result) if isinstance(t, Tensor) and t.requires_grad]


def projected(case, args, kwargs, weights, directions, create_graph):
    """The sum over inputs of (d(sum of weighted results)/d(input) . direction), the inputs and the
    weights."""
    leaves, results = called(case, args, kwargs)
    weights = [Tensor(w, True) for w in weights]
    total = [F.sum(F.mul(t, w)) for t, w in zip(results, weights)]
    found = pyops.grad(total, leaves, create_graph=create_graph)
    parts = [F.sum(F.mul(g, d)) for g, d in zip(found, directions) if g is not None]
    return sum(parts[1:], parts[0]) if parts else None, leaves, weights


def moved(value, directions, by, specs):
    """The arguments with every array that has a gradient moved along its direction."""
    if isinstance(value, dict):
        return {k: moved(v, directions, by, specs[k]) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and isinstance(specs, (list, tuple)) and len(value) == len(specs):
        return type(value)(moved(v, directions, by, s) for v, s in zip(value, specs))
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and specs.grad:
        return np.asarray(value + by * directions.pop(0))
    return value


def second(case):
    """What create_graph gives and what differences give, along random directions."""
    args, kwargs = case.arguments(np.float64)
    rng = np.random.default_rng(5)
    leaves, results = called(case, args, kwargs)
    weights = [np.asarray(rng.standard_normal(t.shape)) for t in results]
    directions, move, move_weights = ([np.asarray(rng.standard_normal(t.shape)) for t in given]
                                      for given in (leaves, leaves, results))
    s, leaves, given = projected(case, args, kwargs, weights, directions, True)
    if s is None:
        return 0.0, 0.0
    found = pyops.grad(s, [*leaves, *given]) if isinstance(s, Tensor) else []   # rounding has none at all
    got = sum(float((np.asarray(h) * m).sum()) for h, m in zip(found, [*move, *move_weights]) if h is not None)
    ends = []
    for by in (STEP, -STEP):
        there = move.copy()
        a, k = moved(list(args), there, by, list(case.args)), moved(kwargs, there, by, case.kwargs)
        w = [v + by * m for v, m in zip(weights, move_weights)]
        ends.append(float(np.asarray(projected(case, a, k, w, directions, False)[0])))
    return got, (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.filterwarnings("ignore:softmax without dim", "ignore:log_softmax without dim", "ignore:.*broadcast")
@pytest.mark.parametrize("name", sorted({case.call for op, case in CASES if op.name not in NONE}))
def test_second_derivatives(name):
    """Of every case of a function."""
    with use_backend("reference"):
        for op, case in CASES:
            if case.call == name and op.name not in NONE:
                got, want = second(case)
                assert abs(got - want) <= 1e-4 * max(1.0, abs(want)), f"{case.why}: {got} beside {want}"


@pytest.mark.parametrize("name", sorted(NONE))
def test_rows_without_one_say_so(name):
    refused = 0
    with use_backend("reference"):
        for case in (case for op, case in CASES if op.name == name):
            try:
                second(case)
            except ValueError as why:
                assert str(why).startswith("backward: ") and str(why).endswith(
                    "has no gradient rule, so nothing can be differentiated through it (a second derivative?)")
                refused += 1
    assert refused, "has a second derivative: take it off the list"


def test_what_is_spelled_out_is_a_row():
    assert spelled.SPELLED.keys() <= OPS.keys() - NONE


def test_an_input_given_twice():
    """Spelled-out calls give each input its gradient once."""
    x = Tensor(np.array([[0.3, -0.7, 1.1]]), True)
    y = F.mse_loss(x, x * x, reduction="sum")
    z = F.smooth_l1_loss(x, x, reduction="sum")
    g, = pyops.grad(y + z, [x], create_graph=True)
    h, = pyops.grad(F.sum(g), [x])
    v = x.data   # y = (x - x^2)^2
    assert np.abs(h - (2 * (1 - 2 * v) ** 2 - 4 * (v - v * v))).max() < 1e-12
    q = Tensor(np.random.default_rng(0).standard_normal((1, 3, 4)), True)
    g, = pyops.grad(F.sum(F.scaled_dot_product_attention(q, q, q)), [q], create_graph=True)
    u = np.random.default_rng(1).standard_normal(q.shape)
    h, = pyops.grad(F.sum(g * u), [q])
    m, ends = np.random.default_rng(2).standard_normal(q.shape), []
    for by in (STEP, -STEP):
        p = Tensor(q.data + by * m, True)
        ends.append(float((pyops.grad(F.sum(F.scaled_dot_product_attention(p, p, p)), [p])[0] * u).sum()))
    assert abs((h * m).sum() - (ends[0] - ends[1]) / (2 * STEP)) < 1e-5
