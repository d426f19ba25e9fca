"""torch's models for sizes that vary: exported once, or given as exported programs with ranges."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from importlib import import_module  # noqa: E402

import pyops  # noqa: E402
from pyops.graph.varying import Varying  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(4)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


class Image(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False), torch.nn.BatchNorm2d(16)
        self.head = torch.nn.Linear(16, 5)

    def forward(self, x):
        y = torch.relu(self.norm(self.conv(x)))
        y = torch.nn.functional.interpolate(y, scale_factor=2.0)
        z = y.reshape(y.shape[0], 16, -1).mean(-1)
        return self.head(z), y[:, :, : y.shape[2] // 2, 1:]


class Words(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16)

    def forward(self, x):
        n, length, d = x.shape
        q, k, v = (t.view(n, length, 2, d // 2).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, d)
        return x + self.out(y)


def check(program, model, sizes):
    for shape in sizes:
        x = array(*shape)
        with torch.no_grad():
            want = model(torch.from_numpy(x))
        got = program(x)
        for a, b in zip(got if isinstance(got, tuple) else (got,), want if isinstance(want, tuple) else (want,),
                        strict=True):
            assert a.shape == tuple(b.shape)
            np.testing.assert_allclose(a, b.numpy(), rtol=0, atol=2e-5 * max(1, np.abs(b.numpy()).max()))


@pytest.fixture
def exports(monkeypatch):
    """How often torch was asked to export."""
    door = import_module("pyops.torch.exported")
    calls, real = [], door.recorded

    def counting(*args, **kwargs):
        calls.append(args)
        return real(*args, **kwargs)
    monkeypatch.setattr(door, "recorded", counting)
    monkeypatch.setattr("pyops.torch.sizes.recorded", counting)
    return calls


@pytest.mark.parametrize("model, first, axes, sizes", [
    (Image(), (2, 3, 8, 10), (0, 2, 3), [(3, 3, 8, 12), (5, 3, 20, 7), (2, 3, 9, 9), (1, 3, 8, 8)]),
    (Words(), (2, 7, 16), (0, 1), [(3, 9, 16), (2, 40, 16), (4, 3, 16)]),
], ids=["image", "words"])
def test_a_module_is_exported_once_for_all_sizes(model, first, axes, sizes, exports):
    model.eval()
    program = pyops.compile(model, array(*first), dynamic={0: dict.fromkeys(axes)})
    check(program, model, [first, *sizes])
    alone = sum(1 in shape for shape in sizes)   # torch takes an axis of one for itself
    assert len(exports) == 2 + alone


def test_any_batch_of_a_module(exports):
    model = Image().eval()
    program = pyops.compile(model, array(1, 3, 8, 8), dynamic_batch=True)
    check(program, model, [(n, 3, 8, 8) for n in (1, 2, 5, 3)])
    assert len(exports) == 2


def test_ranges_of_an_exported_program():
    model = Words().eval()
    length = torch.export.Dim("length", min=2, max=50)
    exported = torch.export.export(model, (torch.zeros(2, 7, 16),), dynamic_shapes=({1: length},))
    program = pyops.compile(exported, array(2, 7, 16))
    assert isinstance(program, Varying)
    check(program, model, [(2, 7, 16), (2, 50, 16), (2, 2, 16)])
    for wrong in ((2, 51, 16), (3, 7, 16)):
        with pytest.raises(ValueError, match=r"takes float32 \[2, 2 to 50, 16\]"):
            program(array(*wrong))


def test_an_exported_program_of_one_size():
    model = Image().eval()
    exported = torch.export.export(model, (torch.zeros(2, 3, 8, 8),))
    program = pyops.compile(exported, array(2, 3, 8, 8))
    check(program, model, [(2, 3, 8, 8)])
    with pytest.raises(ValueError, match="was exported for"):
        pyops.compile(exported, array(2, 3, 9, 8))


class Single(torch.nn.Module):
    """Does something else for a batch of one, as torch decides while it exports."""

    def forward(self, x):
        return torch.relu(x) if x.shape[0] == 1 else torch.sigmoid(x)


def test_a_batch_of_one_may_be_something_else():
    model = Single().eval()
    for first in (1, 3):
        program = pyops.compile(model, array(first, 4), dynamic={0: {0: None, 1: None}})
        check(program, model, [(n, m) for n in (1, 2, 3, 1) for m in (4, 5)])


class Parity(torch.nn.Module):
    """Branches by what no range says."""

    def forward(self, x):
        if x.shape[1] > 6:
            return x.mean(1)
        return x[:, 0] if x.shape[1] % 2 else x.sum(1)


def test_branches_by_more_than_a_range_are_seen():
    """The graph of an even length was taken for odd ones."""
    model = Parity().eval()
    for first, then in ((5, (4, 3, 7, 6, 1)), (4, (5, 2, 3, 9, 5))):
        program = pyops.compile(model, array(2, first), dynamic={0: {1: (1, 12)}})
        check(program, model, [(2, n) for n in (first, *then)])
    exported = torch.export.export(model, (torch.zeros(2, 4),), dynamic_shapes=({1: torch.export.Dim.AUTO},))
    program = pyops.compile(exported, array(2, 4))
    check(program, model, [(2, 2), (2, 6)])
    with pytest.raises(ValueError, match="was exported for"):
        program(array(2, 5))


class Distances(torch.nn.Module):
    """Makes arrays of its sizes, which have no counterpart while they vary."""

    def forward(self, x):
        n = x.shape[1]
        far = torch.exp(-(torch.arange(n)[None] - torch.arange(n)[:, None]).abs().float())
        return (far * torch.ones(n, n).tril()) @ x


def test_what_cannot_be_exported_once_is_exported_for_each_size():
    model = Distances().eval()
    program = pyops.compile(model, array(2, 5, 3), dynamic={0: {1: None}})
    check(program, model, [(2, n, 3) for n in (5, 1, 8, 40)])


@pytest.mark.parametrize("freeze", [False, True])
def test_graphs_of_open_sizes_with_constant_weights(freeze):
    """Places of arguments are others once weights have become constants."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3, 1, 1)).eval()

    def model(x, y):
        return net(x).flatten(1), torch.nn.functional.interpolate(net(y), size=(x.shape[2], 5))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="pyops", dynamic=True, options={"freeze": freeze})
    with torch.no_grad():
        for h, w in ((16, 24), (20, 18), (33, 17), (16, 24)):
            x, y = torch.randn(1, 3, h, w), torch.randn(2, 3, w, h)
            for got, want in zip(compiled(x, y), model(x, y), strict=True):
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_norms_of_graphs_of_open_sizes():
    """dynamo made tensors of their epsilons, which torch.export refuses: torch ran such graphs."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.GroupNorm(2, 8),
                              torch.nn.LeakyReLU(0.3)).eval()
    door = import_module("pyops.torch")
    torch._dynamo.reset()
    door.compile_report(clear=True)
    compiled = torch.compile(net, backend="pyops", dynamic=True)
    with torch.no_grad():
        for sides in ((9, 8), (12, 11), (7, 8)):
            x = torch.randn(2, 3, *sides)
            torch.testing.assert_close(compiled(x), net(x), rtol=1e-4, atol=1e-5)
    assert [report.kind for report in door.compile_report()] == ["program"] * 3
