"""torch.cond in exported models."""

import numpy as np
import pytest

import pyops

torch = pytest.importorskip("torch")


class Either(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = torch.nn.Linear(6, 5), torch.nn.Linear(6, 5, bias=False)

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: torch.relu(self.wide(x)), lambda x: self.narrow(x) * 2, (x,)) + 1


def test_a_branch_that_the_run_chooses():
    torch.manual_seed(0)
    model = Either().eval()
    x = torch.randn(4, 6)
    program = pyops.compile(model, x)
    assert "branch" in {s.kernel for s in program.steps}
    for sign in (1, -1):
        given = torch.abs(x) * sign
        with torch.no_grad():
            want = model(given).numpy()
        np.testing.assert_allclose(program(given.numpy()), want, rtol=1e-5, atol=1e-6)


class Unknown(torch.nn.Module):
    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: torch.special.bessel_j0(x), lambda x: x * 2, (x,))


def test_what_a_branch_cannot_take_is_refused_by_name():
    with pytest.raises(TypeError, match="bessel_j0"):
        pyops.compile(Unknown().eval(), torch.randn(4, 6))


def test_torch_compile_takes_it_whole():
    torch.manual_seed(1)
    model = Either().eval()
    compiled, x = torch.compile(model, backend="pyops"), torch.randn(4, 6)
    with torch.no_grad():
        for sign in (1, -1):
            given = torch.abs(x) * sign
            torch.testing.assert_close(compiled(given), model(given))
