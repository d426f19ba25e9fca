"""A call that is refused is torch's alone; a fault of ours is none, and is raised here."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn, TF = torch.nn, torch.nn.functional
door = pytest.importorskip("pyops.torch")


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)
    door.compile_report(clear=True)


class Masked(nn.Module):
    """Attention with dropout, which draws and so is torch's (of so little, that nothing is
    dropped), between calls of ours."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x, mask):
        y = TF.gelu(self.first(x))
        return self.second(TF.scaled_dot_product_attention(y, y, y, attn_mask=mask, dropout_p=1e-12)) + y


def close(got, want):
    assert (got - want).abs().max() <= 2e-5 * want.abs().max()


def test_one_refused_call_leaves_the_others():
    model, x, mask = Masked().eval(), torch.randn(2, 5, 8), torch.ones(5, 5, dtype=torch.bool).tril()
    with torch.no_grad():
        close(torch.compile(model, backend=door.pyops)(x, mask), model(x, mask))
    (report,) = door.compile_report()
    assert report.kind == "program" and list(report.torch) == ["aten.scaled_dot_product_attention.default"]
    assert report.torch_flops == 2 * 2 * (
        2 * 5 * 5 * 8
    )  # two products, counted though the call is made of others
    assert 0 < report.share < 1 and str(door.compile_report()).startswith("1. inference: ")


def test_a_comparison_leaves_the_convolution_behind_it():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3)

        def forward(self, x):
            return self.conv(x * (x > 0).float())

    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        close(torch.compile(model, backend=door.pyops)(x), model(x))
    (report,) = door.compile_report()
    assert report.kind == "program" and report.share == 1 and not any("conv" in op for op in report.torch)


def test_faults_are_raised_or_warned_of(monkeypatch):
    def broken(*_):
        raise AttributeError("a fault of ours")

    monkeypatch.setitem(door.exported.__globals__["TABLE"], "aten.gelu.default", broken)
    model, x = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8)).eval(), torch.randn(3, 8)
    with torch.no_grad(), pytest.raises(Exception, match="a fault of ours"):
        torch.compile(model, backend=door.pyops)(x)
    monkeypatch.delenv("PYOPS_RAISE_FAULTS")
    torch._dynamo.reset()
    with torch.no_grad(), pytest.warns(door.Fault, match="a fault of ours") as warned:
        close(torch.compile(model, backend=door.pyops)(x), model(x))
    assert any("Traceback" in str(w.message) and "please report it" in str(w.message) for w in warned)
    assert door.compile_report()[-1].torch == {"aten.gelu.default": 1}


def test_constants_among_the_channels():
    """Positions beside a map, as CoordConv has them."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(5, 6, 3)
            self.register_buffer("places", torch.rand(2, 2, 8, 8))

        def forward(self, x):
            return self.conv(torch.cat((x, self.places), 1))

    model, x = Net().eval(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        close(torch.compile(model, backend=door.pyops)(x), model(x))
        import pyops

        close(torch.from_numpy(np.asarray(pyops.compile(model, x)(x))), model(x))


@torch._dynamo.config.patch(allow_rnn=False)   # pyops.torch.compile leaves it on
def test_what_dynamo_puts_into_no_graph_is_in_the_report():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.recurrent = nn.Linear(8, 8), nn.LSTM(8, 8)

        def forward(self, x):
            return self.recurrent(torch.relu(self.first(x)))[0]

    model, x = Net().eval(), torch.randn(3, 2, 8)
    with torch.no_grad():
        close(torch.compile(model, backend=door.pyops)(x), model(x))
    reports = door.compile_report(clear=True)
    (why,) = reports.outside
    assert "LSTM(8, 8)" in why
    assert f"outside of all graphs, by torch and in no share above: {why}" in str(reports)
    assert not door.compile_report().outside and str(door.compile_report()) == "no graph was compiled"
