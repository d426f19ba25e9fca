"""Attention as exporters write it becomes one step, and is what the writing says; what only looks like
it stays as it is."""
import numpy as np
import pytest

import pyops
import pyops.functional as F

RNG = np.random.default_rng(0)
Q, K, V = (RNG.standard_normal((2, 3, 9, 8)).astype(np.float32) for _ in range(3))
MASK = np.where(RNG.random((9, 9)) < 0.3, -np.inf, 0).astype(np.float32)
MASK[:, 4] = 0
CLOSED = MASK.copy()
CLOSED[2] = -np.inf
BIAS = RNG.standard_normal((3, 9, 9)).astype(np.float32)
WINDOWS = np.where(RNG.random((2, 1, 9, 9)) < 0.3, -100, 0).astype(np.float32)
MATRIX = RNG.standard_normal((9, 9)).astype(np.float32)


def turned(k):
    return F.transpose(k, -1, -2)


def zeros_for_nan(p):
    return F.where(F.isnan(p), np.float32(0), p)


FUSED = {
    "scores divided": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)) / 2.5, -1), v),
    "plain": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)), -1), v),
    "query scaled": lambda q, k, v: F.matmul(F.softmax(F.matmul(q * 0.3, turned(k)), -1), v),
    "both scaled": lambda q, k, v: F.matmul(F.softmax(F.matmul(q * 0.5, turned(k) * 0.5), 3), v),
    "key scaled before": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k * 0.5)) * 0.5, -1), v),
    "heads behind positions": lambda q, k, v: F.matmul(
        F.softmax(F.matmul(q, F.permute(F.permute(k * 2, (0, 2, 1, 3)), (0, 2, 3, 1))), -1), v),
    "an open mask": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)) * 0.3 + MASK, -1), v),
    "a mask before": lambda q, k, v: F.matmul(F.softmax(MATRIX + F.matmul(q, turned(k)), -1), v),
    "a bias a head and a mask a window": lambda q, k, v: F.matmul(F.softmax(F.reshape(F.reshape(
        F.matmul(q * 0.3, turned(k)) + BIAS, (1, 2, 3, 9, 9)) + WINDOWS, (-1, 3, 9, 9)), -1), v),
    "two masks": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)) + BIAS + MASK, -1), v),
    "no key, zeros": lambda q, k, v: F.matmul(
        zeros_for_nan(F.softmax(F.matmul(q, turned(k)) + CLOSED, -1)), v),
}
APART = {
    "no key": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)) + CLOSED, -1), v),
    "another axis": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)), -2), v),
    "keys not turned": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, F.reshape(k, (2, 3, 8, 9))), -1), v),
    "a product a score": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k)) * MATRIX, -1), v),
    "windows without a key": lambda q, k, v: F.matmul(F.softmax(F.reshape(F.reshape(
        F.matmul(q, turned(k)), (1, 2, 3, 9, 9)) + CLOSED, (-1, 3, 9, 9)), -1), v),
    "scores of another shape": lambda q, k, v: F.matmul(F.softmax(F.reshape(F.reshape(
        F.matmul(q, turned(k)), (2, 3, 81)) + MASK.reshape(81), (2, 3, 9, 9)), -1), v),
    "a factor between": lambda q, k, v: F.matmul(F.softmax((F.matmul(q, turned(k)) + BIAS) * 2 + MASK, -1), v),
    "keys of all samples": lambda q, k, v: F.matmul(F.softmax(F.matmul(q, turned(k[:1])), -1), v),
}
SEEN = {
    "weights": lambda q, k, v: (lambda p: (F.matmul(p, v), p))(F.softmax(F.matmul(q, turned(k)), -1)),
    "scores with a bias": lambda q, k, v: (lambda s: (
        F.matmul(F.softmax(F.reshape(s, (2, 3, 9, 9)) + MASK, -1), v), s))(
            F.reshape(F.matmul(q, turned(k)), (1, 2, 3, 9, 9)) + BIAS),
    "scores": lambda q, k, v: (lambda s: (F.matmul(F.softmax(s * 0.3, -1), v), s))(F.matmul(q, turned(k))),
}


@pytest.mark.parametrize("name", [*FUSED, *APART])
def test_what_it_becomes(name):
    model = (FUSED | APART)[name]
    program, want = pyops.compile(model, (Q, K, V)), model(Q, K, V)
    np.testing.assert_allclose(program(Q, K, V), want, rtol=0, atol=3e-6 * np.nanmax(np.abs(want)))
    assert ("attention" in [s.kernel for s in program.steps]) == (name in FUSED)
    assert name in APART or "softmax" not in [s.kernel for s in program.steps]


@pytest.mark.parametrize("name", SEEN)
def test_what_is_read_elsewhere_stays(name):
    program, want = pyops.compile(SEEN[name], (Q, K, V)), SEEN[name](Q, K, V)
    for got, expected in zip(program(Q, K, V), want):
        np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
    assert "attention" not in [s.kernel for s in program.steps]


def test_a_mask_of_the_run_stays_unless_nan_is_replaced():
    def plain(q, k, v, m):
        return F.matmul(F.softmax(F.matmul(q, turned(k)) + m, -1), v)

    def replaced(q, k, v, m):
        return F.matmul(zeros_for_nan(F.softmax(F.matmul(q, turned(k)) + m, -1)), v)

    for model, one in ((plain, False), (replaced, True)):
        program, want = pyops.compile(model, (Q, K, V, CLOSED)), model(Q, K, V, CLOSED)
        np.testing.assert_allclose(program(Q, K, V, CLOSED), want, rtol=0, atol=1e-5)
        assert ("attention" in [s.kernel for s in program.steps]) == one


def test_sizes_of_the_run():
    program = pyops.compile(FUSED["both scaled"], (Q, K, V),
                            dynamic={name: {0: (1, 8)} for name in range(3)})
    for n in (1, 2, 5):
        q, k, v = (RNG.standard_normal((n, 3, 9, 8)).astype(np.float32) for _ in range(3))
        np.testing.assert_allclose(program(q, k, v), FUSED["both scaled"](q, k, v), rtol=0, atol=1e-5)


@pytest.mark.parametrize("hidden", [None, -np.inf, np.finfo(np.float32).min])
@pytest.mark.parametrize("queries, keys", [(50, 50), (33, 70), (70, 33)])
def test_a_mask_by_distance_is_held_by_distance(queries, keys, hidden):
    """As files of T5 and of ALiBi hold it, with later keys hidden."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, n, 8)).astype(np.float32) for n in (queries, keys, keys))
    distance = np.arange(keys) - np.arange(queries)[:, None]
    mask = rng.standard_normal((1, 3, queries + keys)).astype(np.float32)[:, :, distance + queries]
    if hidden is not None:
        mask = np.where(distance > 0, np.float32(hidden), mask)
    other = mask.copy()
    other[0, 1, 5, 3] += 1
    for given, kernel in ((mask, "attention_within"), (other, "attention"), (mask[:, :, :20, :20].copy(), "attention")):
        n, m = given.shape[-2:]
        program = pyops.compile(lambda q, k, v, given=given: F.scaled_dot_product_attention(q, k, v, given),
                                (q[:, :, :n], k[:, :, :m], v[:, :, :m]))
        assert [step.kernel for step in program.steps if step.kernel.startswith("attention")] == [kernel]
        inputs = tuple(np.ascontiguousarray(a) for a in (q[:, :, :n], k[:, :, :m], v[:, :, :m]))
        wanted = F.scaled_dot_product_attention(*inputs, given)
        assert np.array_equal(program(*inputs), wanted)
        assert kernel != "attention_within" or max(a.size for a in program.plan.constants) == 3 * (queries + keys - 1)
