"""Attention within spans of keys and beside caches of bfloat16's bits on the emulator, where cases do not reach:
keys that no query sees and that hold NaN, in tiles that others see; features that few.cuh's kernels do not hold."""
import numpy as np
import pytest

from pyops import use_backend
from pyops.cuda.backend import EMULATED
from pyops.kernels.attention import reference
from pyops.ops.attention import ATTENTION_STORED, ATTENTION_WITHIN, ATTENTION_WITHIN_BACKWARD

pytestmark = pytest.mark.skipif(bool(EMULATED.missing), reason=EMULATED.missing or "can run")


def texts(queries, keys):
    """Where queries of two texts look: between them lie keys that nobody sees."""
    second = np.arange(queries) >= queries // 2
    return np.where(second, keys // 2, 0), np.where(second, keys - 3, keys // 2 - 5)


@pytest.mark.parametrize("queries, keys", [(4, 40), (30, 70), (70, 150)])
def test_what_no_query_sees_may_be_anything(queries, keys):
    rng = np.random.default_rng(queries)
    q, dy = rng.standard_normal((2, 2, queries, 6), np.float32)
    k, v = rng.standard_normal((2, 2, keys, 6), np.float32)
    begin, end = texts(queries, keys)
    blind = np.ones(keys, bool)
    for first, last in zip(begin, end):
        blind[first:last] = False
    assert blind.any()
    distance = rng.standard_normal(queries + keys - 1, np.float32)
    how = dict(causal=False, scale=0.4, gqa=False)
    with use_backend("reference"):
        y, logsum = ATTENTION_WITHIN(q, k, v, begin, end, distance, **how)
        slopes = ATTENTION_WITHIN_BACKWARD(dy, q, k, v, begin, end, distance, y, logsum, **how)
    k[:, blind] = v[:, blind] = np.nan
    with use_backend("cuda-emulated"):
        got = ATTENTION_WITHIN(q, k, v, begin, end, distance, **how)
        back = ATTENTION_WITHIN_BACKWARD(dy, q, k, v, begin, end, distance, *got, **how)
    for found, right in zip((*got, *back), (y, logsum, *slopes), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("real", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("queries, features", [(2, 16), (8, 2100), (11, 24)])
def test_a_cache_of_bits_in_every_type(real, queries, features):
    rng = np.random.default_rng(features)
    kernels = EMULATED.kernels(real)
    q = rng.standard_normal((1, queries, features)).astype(kernels.dtype)
    k, v = ((rng.standard_normal((1, 20, features), np.float32).view(np.uint32) >> 16).astype(np.uint16)
            for _ in range(2))
    end = np.full((1, 1), 17)
    how = dict(scale=features ** -0.5, gqa=False)
    got, _ = ATTENTION_STORED.forward(kernels, q, k, v, None, end, None, **how)
    want, _ = reference.attention_stored(q.astype(np.float64), k, v, None, end, None, **how)
    allowed = {"f32": 1e-5, "f16": 2**-9, "bf16": 2**-6}[real]
    assert np.abs(got.astype(np.float64) - want).max() < allowed * np.abs(want).max()
