"""Every layer of torch.nn through pyops.compile and torch.compile(backend="pyops"): right, or
refused by name as torch_modules.py has it.
"""

import inspect
import warnings

import numpy as np
import pytest

import pyops

torch = pytest.importorskip("torch")
nn = torch.nn
door = pytest.importorskip("pyops.torch")
from torch_modules import LAYERS, NO_LAYERS, NOT_EXPORTED, REFUSED, X1  # noqa: E402


class Called(nn.Module):
    """A layer that is called in another way than with one array."""

    def __init__(self, module, call):
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x):
        return self.call(self.module, x)


def made(name):
    args, kwargs, call = LAYERS[name]
    torch.manual_seed(0)
    model = getattr(nn, name.split(" ")[0])(*args, **kwargs)
    if callable(call):
        model, x = Called(model, call), torch.randn(X1)
    else:
        x = torch.randn(call)
    model.eval()
    with torch.no_grad():
        model(x)  # lazy ones take their shapes
    return model, x


def arrays(value):
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return [np.asarray(value)]
    return [a for v in value for a in arrays(v)] if isinstance(value, (tuple, list)) else []


def assert_same(got, want):
    for g, w in zip(arrays(got), arrays(want), strict=True):
        assert g.shape == w.shape and g.dtype == w.dtype
        if w.dtype.kind == "i":
            assert np.array_equal(g, w)
        elif w.size:
            finite = np.isfinite(w)
            assert np.array_equal(finite, np.isfinite(g))
            assert np.abs(g - w)[finite].max(initial=0) <= 2e-5 * np.abs(w[finite]).max(initial=1e-30)


def test_all_layers_are_in_the_table():
    classes = {
        n for n in dir(nn) if inspect.isclass(getattr(nn, n)) and issubclass(getattr(nn, n), nn.Module)
    }
    tried = {name.split(" ")[0] for name in LAYERS}
    assert classes - tried == set(NO_LAYERS) & classes and tried <= classes
    assert set(REFUSED) | NOT_EXPORTED <= set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_by_program(name):
    model, x = made(name)
    with torch.no_grad():
        want = model(x)
    if name in REFUSED:
        with pytest.raises(door.UnsupportedOp, match=REFUSED[name]):
            pyops.compile(model, x)
    elif name in NOT_EXPORTED:
        with pytest.raises(Exception) as raised:
            torch.export.export(model, (x,)).run_decompositions({})
        with pytest.raises(type(raised.value)):
            pyops.compile(model, x)
    else:
        assert_same(pyops.compile(model, x)(x), want)


@pytest.mark.parametrize("name", LAYERS)
def test_by_backend(name):
    model, x = made(name)
    torch._dynamo.reset()
    fast = torch.compile(model, backend=door.pyops)
    for _ in range(2):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that torch runs what is worth no Program
            torch.manual_seed(1)
            want = model(x)
            torch.manual_seed(1)
            assert_same(fast(x), want)
