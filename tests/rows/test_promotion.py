"""Types that arithmetic gives: of whole numbers beside Python's and NumPy's, as torch has it; halves, which
are computed in float32 and rounded once, with their gradients."""
import numpy as np
import pytest

from pyops import functional as F
from pyops.core.tensor import Tensor

torch = pytest.importorskip("torch")

TYPES = ("int64", "int32", "uint8", "bool", "float16", "float32", "float64")
CALLS = ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "clamp", "where", "remainder", "floor_divide")
MASK = np.array([True, False, True, False, True])


def by_torch(name, x, value):
    if name == "where":
        return torch.where(torch.from_numpy(MASK), x, value)
    if name in ("maximum", "minimum"):
        return getattr(torch, name)(x, torch.tensor(value))
    return getattr(torch, name)(x, value)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", CALLS)
def test_a_number_beside_an_array(name, dtype):
    x = np.array([0, 1, 1, 0, 1]).astype(dtype)
    tried = 0
    for value in (0.5, 2.0, 3, -1.5):
        try:
            want = by_torch(name, torch.from_numpy(x), value).numpy()
        except (RuntimeError, NotImplementedError):   # which torch has of its own: no difference of truth values
            continue
        kinds = (value, np.float64(value)) if isinstance(value, float) else (value,)
        for given in kinds if name not in ("clamp", "where", "remainder", "floor_divide") else kinds[:1]:
            for array in (x, Tensor(x)):
                got = np.asarray(F.where(MASK, array, given) if name == "where" else getattr(F, name)(array, given))
                assert got.dtype == want.dtype, f"{value!r}: {got.dtype}, torch has {want.dtype}"
                np.testing.assert_allclose(got.astype(float), want.astype(float), rtol=1e-3, err_msg=repr(value))
        tried += 1
    assert tried >= (0 if name in ("sub", "floor_divide", "remainder", "clamp") and dtype == "bool" else 3)


@pytest.mark.parametrize("call", [
    lambda F, x, y: F.add(x, y, alpha=0.5), lambda F, x, y: F.mul(x, y), lambda F, x, y: F.div(x, y),
    lambda F, x, y: F.where(MASK, x, y), lambda F, x, y: F.sum(F.mul(x, y)), lambda F, x, y: F.softmax(F.mul(x, y), 0),
    lambda F, x, y: F.matmul(F.reshape(x, (1, 5)), F.reshape(y, (5, 1))), lambda F, x, y: F.mse_loss(x, y),
    lambda F, x, y: F.gelu(F.add(x, y)), lambda F, x, y: F.cat([x, y]), lambda F, x, y: F.maximum(x, y)])
def test_gradients_of_halves(call):
    r = np.random.default_rng(0)
    x, y = (r.uniform(0.5, 2, 5).astype(np.float16) for _ in range(2))
    halves = [Tensor(a, requires_grad=True) for a in (x, y)]
    wide = [Tensor(a.astype(np.float32), requires_grad=True) for a in (x, y)]
    got, want = call(F, *halves), call(F, *wide)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got.data.astype(np.float32), want.data, rtol=4e-3, atol=1e-3)
    for t in (got, want):
        t.sum().backward()
    for g, w in zip(halves, wide):
        assert g.grad.dtype == np.float16
        np.testing.assert_allclose(g.grad.astype(np.float32), w.grad, rtol=1e-2, atol=2e-3)


def test_halves_of_other_kinds():
    bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    x = np.array([1.0, 2.5, 3.25], bfloat16)
    assert F.mul(x, x).dtype == bfloat16 and F.mul(x, x).tolist() == [1.0, 6.25, 10.5625]
    assert np.isinf(F.mul(np.array([6e4], np.float16), np.array([2], np.float16)))[0]
    out = np.zeros(3, np.float16)
    assert F.exp(np.zeros(3, np.float16), out=out) is out and out.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="out must be float16"):
        F.exp(np.zeros(3, np.float16), out=np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="share one dtype"):
        F.mul(np.zeros(3, np.float16), np.zeros(3, bfloat16))
    half = torch.ones(3, dtype=torch.float16)
    assert F.add(half, half).dtype == torch.float16
