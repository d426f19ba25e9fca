"""Attention in 16-bit types on the CUDA backend's tensor cores: against float64, with bounds that
say where each error comes from, in every order of threads, outputs poisoned."""
from contextlib import nullcontext

import numpy as np
import pytest

from pyops.cuda.backend import EMULATED
from pyops.cuda.emulated import EmulatedDevice, fast, profiled
from pyops.kernels.attention import reference
from pyops.ops.attention import ATTENTION, ATTENTION_BACKWARD
from pyops.validate import GuardedKernels

pytestmark = pytest.mark.skipif(bool(EMULATED.missing), reason=EMULATED.missing or "can run")
ROUNDING = {"f16": 2**-11, "bf16": 2**-8}
LEAST = {"f16": 2**-25, "bf16": 0}   # half the distance of subnormal numbers: what a weight near zero loses
F32 = 2**-24


def blocked(rows, columns):
    """Masks of bool, as numbers: all of some rows hidden, whole tiles of others."""
    seen = np.arange(columns)[None] >= 70 + np.arange(rows)[:, None] % 60
    seen[1::7] = False
    return np.where(seen, 0, -np.inf)


def added(*shape):
    return np.random.default_rng(3).standard_normal(shape)


# shapes of query, key and value; mask; attributes. The emulated device has 4 multiprocessors: four
# tiles of 128 queries are many.
CASES = {
    "one_tile": ((1, 64, 64), (1, 64, 64), (1, 64, 64), None, {}),
    "ragged": ((2, 70, 64), (2, 130, 64), (2, 130, 64), None, {}),
    "many_tiles": ((4, 140, 32), (4, 150, 32), (4, 150, 32), None, {}),
    "head_128": ((4, 100, 128), (4, 45, 128), (4, 45, 128), None, {}),
    "head_96_few_values": ((2, 66, 96), (2, 70, 96), (2, 70, 8), None, {}),
    "few_features_head_72": ((2, 20, 8), (2, 70, 8), (2, 70, 72), None, {}),
    "odd_features": ((2, 20, 37), (2, 70, 37), (2, 70, 5), None, {}),
    "features_in_no_packets": ((2, 20, 36), (2, 30, 36), (2, 30, 36), None, {}),
    "causal": ((2, 150, 64), (2, 150, 64), (2, 150, 64), None, {"causal": True}),
    "causal_many_tiles": ((4, 150, 24), (4, 150, 24), (4, 150, 24), None, {"causal": True}),
    "causal_more_keys": ((1, 70, 40), (1, 200, 40), (1, 200, 40), None, {"causal": True}),
    "causal_more_queries": ((1, 200, 100), (1, 70, 100), (1, 70, 100), None, {"causal": True}),
    "mask_hides_rows": ((2, 100, 64), (2, 150, 64), (2, 150, 64), blocked(100, 150), {}),
    "mask_of_numbers": ((2, 3, 20, 40), (2, 3, 70, 40), (2, 3, 70, 40), added(3, 20, 70), {}),
    "mask_of_queries_causal": ((2, 66, 16), (2, 66, 16), (2, 66, 16), added(66, 1), {"causal": True}),
    "grouped_queries": ((2, 6, 15, 20), (2, 2, 70, 20), (2, 3, 70, 20), None, {"gqa": True}),
    "leading_axes_broadcast": ((2, 1, 20, 16), (3, 70, 16), (1, 3, 70, 16), None, {}),
    "scale_below_zero": ((1, 20, 64), (1, 80, 64), (1, 80, 64), None, {"scale": -0.2}),
    "scale_of_nothing": ((1, 20, 64), (1, 80, 64), (1, 80, 64), None, {"scale": 0.0}),
    "far_apart": ((1, 20, 64), (1, 200, 64), (1, 200, 64), None, {"scale": 3.0}),
    "one_key": ((1, 20, 64), (1, 1, 64), (1, 1, 64), None, {}),
    "no_keys": ((2, 20, 16), (2, 0, 16), (2, 0, 16), None, {}),
}


@pytest.fixture(params=["f16", "bf16"])
def real(request):
    return request.param


class Case:
    """Inputs of a case in `real`, and the same in float64."""

    def __init__(self, real, name):
        *shapes, mask, attributes = CASES[name]
        self.real, self.kernels, self.buffers = real, EMULATED.kernels(real), []
        rng = np.random.default_rng(sum(map(ord, name)))
        self.attributes = {"causal": False, "scale": shapes[0][-1] ** -0.5, "gqa": False, **attributes}
        self.inputs = [rng.standard_normal(s).astype(self.kernels.dtype) for s in shapes]
        self.inputs.append(None if mask is None else mask.astype(self.kernels.dtype))
        self.exact = [None if x is None else x.astype(np.float64) for x in self.inputs]
        self.dy = rng.standard_normal(self.reference()[0].shape).astype(self.kernels.dtype)

    def reference(self):
        return reference.attention(*self.exact, **self.attributes)

    def run(self, op, *before):
        """The op in every order of threads, checked for races and stores outside; the same bits
        each time, and nothing left undefined."""
        results = []
        for mode in (nullcontext(), fast(0), fast(1), fast(7)):
            with mode:
                results.append(op.forward(GuardedKernels(self.kernels, self.buffers), *before,
                                          **self.attributes))
        for _, buffer in self.buffers:
            assert (buffer[:64] == 77).all() and (buffer[-64:] == 77).all()
        for other in results[1:]:
            for a, b in zip(other, results[0]):
                np.testing.assert_array_equal(a, b)
        return results[0]

    def forward(self):
        return self.run(ATTENTION, *self.inputs)

    def error_of_scores(self):
        """Of an exponent: products summed in float, scale and mask applied in float."""
        q, k, v, mask = self.exact
        heads = q.shape[-3] if self.attributes["gqa"] else 0
        size = abs(self.attributes["scale"]) * np.abs(q) @ np.abs(
            reference.shared(k, heads, self.attributes["gqa"])).swapaxes(-1, -2)
        masks = 0 if mask is None else np.abs(np.where(np.isfinite(mask), mask, 0)).max()
        return F32 * ((q.shape[-1] // 8 + 6) * size.max(initial=0) + 4 * masks + 4)


def weights(case, logsum):
    q, k, v, mask = case.exact
    heads, gqa = (q.shape[-3], True) if case.attributes["gqa"] else (0, False)
    k, v = reference.shared(k, heads, gqa), reference.shared(v, heads, gqa)
    return np.exp(reference.scores(q, k, mask, case.attributes["causal"], case.attributes["scale"])
                  - logsum[..., None]), k, v


@pytest.mark.parametrize("name", CASES)
def test_forward(real, name):
    case, u = Case(real, name), ROUNDING[real]
    y, logsum = case.forward()
    want, sums = case.reference()
    assert logsum.dtype == np.float32 and y.dtype == case.kernels.dtype
    off, finite = case.error_of_scores(), np.isfinite(sums)
    np.testing.assert_array_equal(logsum[~finite], sums[~finite])
    assert np.all(np.abs(logsum[finite] - sums[finite]) <= 2 * off + 4 * F32 * (np.abs(sums[finite]) + 2))
    p, _, v = weights(case, sums)
    # weights rounded to the type, their errors in float; the sum of weights; the result rounded
    allowed = ((u + 4 * off + v.shape[-2] * F32) * (p @ np.abs(v))
               + LEAST[real] * np.abs(v).sum(-2, keepdims=True) + u * np.abs(want) + LEAST[real])
    assert np.all(np.abs(y.astype(np.float64) - want) <= allowed)
    assert not y[~finite].any()


@pytest.mark.parametrize("name", CASES)
def test_backward(real, name):
    case, u = Case(real, name), ROUNDING[real]
    with fast(0):
        y, logsum = ATTENTION.forward(case.kernels, *case.inputs, **case.attributes)
    got = case.run(ATTENTION_BACKWARD, case.dy, *case.inputs, y, logsum)
    dy, seen, sums = (x.astype(np.float64) for x in (case.dy, y, logsum))
    want = reference.attention_backward(dy, *case.exact, seen, sums, **case.attributes)
    p, k, v = weights(case, sums)
    q, gqa, scale = case.exact[0], case.attributes["gqa"], abs(case.attributes["scale"])
    slope = p * np.abs(dy @ v.swapaxes(-1, -2) - (dy * seen).sum(-1, keepdims=True))
    size = p * (np.abs(dy) @ np.abs(v).swapaxes(-1, -2) + (np.abs(dy) * np.abs(seen)).sum(-1, keepdims=True))
    off = 4 * case.error_of_scores() + 4 * F32 * np.abs(np.where(np.isfinite(sums), sums, 0)).max(initial=0)
    rows = max(p.shape[-2:])
    # of p and of ds: rounded to the type, and float's errors of a score, of dy v', of delta and
    # of the sum that follows
    p_error = (u + off + rows * F32) * p + LEAST[real]
    ds_error = (u + rows * F32) * slope + (off + 2 * (v.shape[-1] + 4) * F32) * size + LEAST[real]
    errors = (scale * ds_error @ np.abs(k), scale * ds_error.swapaxes(-1, -2) @ np.abs(q),
              p_error.swapaxes(-1, -2) @ np.abs(dy))
    sizes = (scale * slope @ np.abs(k), scale * slope.swapaxes(-1, -2) @ np.abs(q),
             p.swapaxes(-1, -2) @ np.abs(dy))
    for gradient, exact, error, magnitude in zip(got, want, errors, sizes):
        # each head's result is rounded, and so are the sums of those that share keys or that
        # a leading axis repeats
        terms = max(1, magnitude.size // max(1, exact.size))
        allowed = reference.sum_to(error + (1 + terms) * (u * (magnitude + error) + LEAST[real]), exact.shape,
                                   gqa)
        assert (gradient.shape == exact.shape
                and np.all(np.abs(gradient.astype(np.float64) - exact) <= allowed))


def test_a_query_does_not_depend_on_its_neighbours(real):
    """Bit for bit, whatever the tile and the batch."""
    kernels = EMULATED.kernels(real)
    q, k, v = (np.random.default_rng(5).standard_normal((4, 150, 40)).astype(kernels.dtype) for _ in range(3))
    attributes = {"causal": True, "scale": 0.2, "gqa": False}
    with fast(0):
        whole, _ = ATTENTION.forward(kernels, q, k, v, None, **attributes)
        one, _ = ATTENTION.forward(kernels, q[1:2, :30].copy(), k[1:2].copy(), v[1:2].copy(), None,
                                   **attributes)
    np.testing.assert_array_equal(whole[1:2, :30], one)


def test_a_nan_stays_in_its_row(real):
    case = Case(real, "one_tile")
    case.inputs[0][0, 5, 3] = np.nan
    with fast(0):
        y, logsum = ATTENTION.forward(case.kernels, *case.inputs, **case.attributes)
    assert np.isnan(y[0, 5].astype(np.float32)).all() and np.isnan(logsum[0, 5])
    assert (np.isfinite(np.delete(y, 5, 1).astype(np.float32)).all()
            and np.isfinite(np.delete(logsum, 5, 1)).all())


def launched(monkeypatch):
    files, launch = [], EmulatedDevice.launch
    monkeypatch.setattr(EmulatedDevice, "launch",
                        lambda self, file, *a, **k: (files.append(file), launch(self, file, *a, **k))[1])
    return files


@pytest.mark.parametrize("change", ["an_older_device", "wide_heads", "float32"])
def test_the_ordinary_kernels_where_tensor_cores_do_not_serve(change, monkeypatch):
    if change == "an_older_device":
        monkeypatch.setattr(EmulatedDevice, "capability", (7, 5))
    kernels = EMULATED.kernels("f32" if change == "float32" else "f16")
    q, k, v = (np.random.default_rng(6).standard_normal((1, 20, 136 if change == "wide_heads" else 16))
               .astype(kernels.dtype) for _ in range(3))
    files, attributes = launched(monkeypatch), {"causal": False, "scale": 0.25, "gqa": False}
    y, logsum = ATTENTION.forward(kernels, q, k, v, None, **attributes)
    ATTENTION_BACKWARD.forward(kernels, y, q, k, v, None, y, logsum, **attributes)
    assert set(files) == {"attention/cuda.cu", "attention/delta.cu", "attention/backward.cu"}
    want, _ = reference.attention(*(x.astype(np.float64) for x in (q, k, v)), None, **attributes)
    np.testing.assert_allclose(y.astype(np.float64), want, rtol=0, atol=2e-3)


def test_tensor_cores_are_used(monkeypatch, real):
    case, files = Case(real, "one_tile"), launched(monkeypatch)
    with fast(0):
        y, logsum = ATTENTION.forward(case.kernels, *case.inputs, **case.attributes)
        ATTENTION_BACKWARD.forward(case.kernels, case.dy, *case.inputs, y, logsum, **case.attributes)
    assert files == ["attention/tensor.cu", "attention/delta.cu", "attention/tensor_backward.cu",
                     "attention/tensor_backward.cu"]


@pytest.mark.parametrize("head", [64, 128])
def test_traffic(head):
    """Every sector and bank wavefront is needed, forward and backward: rows of heads as
    wide as the tiles."""
    kernels = EMULATED.kernels("bf16")
    rng, attributes = np.random.default_rng(0), {"causal": False, "scale": 0.1, "gqa": False}

    def placed(values, dtype=None):
        array = kernels.device.empty(values.shape, dtype)
        array[...] = values
        return array

    q, k, v, dy = (placed(rng.standard_normal((1, 2, 128, head))) for _ in range(4))
    with profiled() as traffic:
        y, logsum = ATTENTION.forward(kernels, q, k, v, None, **attributes)
        ATTENTION_BACKWARD.forward(kernels, dy, q, k, v, None, placed(y), placed(logsum, np.float32),
                                   **attributes)
    assert len(traffic) == 4
    for file, kernel, lines in traffic:
        assert sum(t.transactions for t in lines) == sum(t.ideal for t in lines), (kernel, lines)
