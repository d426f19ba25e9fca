"""Every case that torch has too: the same call, the same result and the same gradients, in
float64 and in float32."""
import numpy as np
import pytest
from joined import check_each

import pyops
from pyops import validate
from pyops.core.backends import DTYPES
from pyops.core.registry import OPS

torch = pytest.importorskip("torch")
ROWS = [op for op in OPS.values() if any(c.torch is not None for c in op.cases)]


def counterpart(case):
    if callable(case.torch):
        return lambda *args, **kwargs: case.torch(torch, *args, **kwargs)
    name = case.torch or case.call
    for home in (torch.nn.functional, torch, torch.special):
        if hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"torch has no {name}: give the case torch=None or another name")


def to_torch(value, leaves, spec):
    if isinstance(value, dict):
        return {k: to_torch(v, leaves, spec[k]) for k, v in value.items()}
    if isinstance(value, list):
        return [to_torch(v, leaves, s) for v, s in zip(value, spec)]
    if isinstance(value, np.ndarray):
        tensor = torch.from_numpy(value.copy())
        if value.dtype.kind == "f" and getattr(spec, "grad", False):
            leaves.append(tensor)
        return tensor
    return value


@pytest.mark.parametrize("real", ["f32", "f64"])
@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_same_as_torch(op, real):
    check_each(((f"{case.call}-{case.why}", op, case, real) for case in op.cases if case.torch is not None),
               check_same)


def check_same(op, case, real):
    # torch rounds in another order, so both may be off the exact value by the op's tolerance
    tolerance = 2 * (case.tolerance or op.tolerance)
    args, kwargs = case.arguments(DTYPES[real])
    leaves = []
    targs, tkwargs = to_torch(list(args), leaves,
                              list(case.args)), to_torch(kwargs, leaves, dict(case.kwargs))
    for leaf in leaves if case.gradient else []:
        leaf.requires_grad_()
    want = validate.flat(counterpart(case)(*targs, **tkwargs))
    got = validate.flat(validate.call(case, args, kwargs))
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        validate.assert_close(g, w.detach().numpy(), tolerance, f"output {i}")
    if not case.gradient:
        return
    _, weights, ours = validate.gradients(case, args, kwargs)
    results = [w for w in want if w.requires_grad]
    torch.autograd.backward(results, [torch.from_numpy(w) for w in weights])
    for i, (g, leaf) in enumerate(zip(ours, leaves, strict=True)):
        theirs = np.zeros(leaf.shape, DTYPES[real]) if leaf.grad is None else leaf.grad.numpy()
        validate.assert_close(np.zeros_like(theirs) if g is None else g, theirs, tolerance, f"gradient {i}")


@pytest.mark.parametrize("call", [
    lambda x: x.flip(1), lambda x: torch.flip(x, (0, -1)), lambda x: x.std(1), lambda x: x.std(),
    lambda x: x.var((1, 2), unbiased=False, keepdim=True), lambda x: torch.var(x, 1, correction=0),
    lambda x: x.std(0, unbiased=False)])
def test_moments_and_reversal_as_modules_write_them(call):
    class Net(torch.nn.Module):
        def forward(self, x):
            return call(x)

    x = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    got = pyops.compile(Net().eval(), x.numpy())(x.numpy())
    np.testing.assert_allclose(got, call(x).numpy(), rtol=1e-5, atol=1e-6)
