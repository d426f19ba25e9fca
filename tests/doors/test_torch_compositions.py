"""ATen calls that are several functions of ours, compiled, beside torch."""

import numpy as np
import pytest

import pyops

torch = pytest.importorskip("torch")
pytest.importorskip("pyops.torch")

EDGES = torch.tensor([-1.0, -0.5, 0.0, 0.5, 0.5, 2.0])
CALLS = {
    "median_dim": lambda x: x.median(1), "median_keepdim": lambda x: x.median(-1, keepdim=True),
    "median": lambda x: x.median(), "kthvalue": lambda x: x.kthvalue(2, 1),
    "kthvalue_keepdim": lambda x: x.kthvalue(3, 2, True),
    "unfold": lambda x: x.unfold(2, 3, 2), "unfold_first": lambda x: x.unfold(0, 2, 1),
    "diagonal": lambda x: x.diagonal(), "diagonal_above": lambda x: x.diagonal(2, 1, 2),
    "diagonal_below": lambda x: x.diagonal(-1, -1, 0), "diagonal_of_none": lambda x: x.diagonal(9, 1, 2),
    "trace": lambda x: x[0, :5, :5].trace(),
    "bucketize": lambda x: torch.bucketize(x, EDGES),
    "bucketize_right": lambda x: torch.bucketize(x, EDGES, right=True),
    "searchsorted": lambda x: torch.searchsorted(x.sort(-1).values, x[..., :3], side="right"),
    "searchsorted_int32": lambda x: torch.searchsorted(EDGES, x, out_int32=True),
    "hypot": lambda x: torch.hypot(x, x[:, :1] * 3), "exp2": lambda x: x.exp2(),
    "log2": lambda x: x.abs().log2(), "log10": lambda x: x.abs().log10(),
    "std_mean": lambda x: torch.std_mean(x, 1), "var_mean": lambda x: torch.var_mean(x, (0, 2), correction=0),
    "heaviside": lambda x: torch.heaviside(x, x * 0 + 0.25), "numbers": lambda x: torch.where(x > 0, 2, 3),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_as_torch(name):
    class Net(torch.nn.Module):
        def forward(self, x):
            return CALLS[name](x)

    x = torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    if name in ("median_dim", "median", "bucketize", "hypot"):   # NaN, infinity and numbers that are edges
        x[1, 2, 3], x[0, 0, 0], x[2, 2, 2] = float("nan"), float("inf"), 0.5
    want = CALLS[name](x)
    got = pyops.compile(Net().eval(), x.numpy())(x.numpy())
    for g, w in zip(*((r,) if isinstance(r, (np.ndarray, torch.Tensor)) else r for r in (got, want))):
        assert g.dtype == w.numpy().dtype
        np.testing.assert_allclose(g, w.numpy(), rtol=1e-5, atol=1e-6)
