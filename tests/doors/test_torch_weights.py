"""Who changes a weight, and how: every way is seen by every door that keeps packed weights, or is
documented as not seen.
"""

import inspect

import numpy as np
import pytest

import pyops

torch = pytest.importorskip("torch")
nn = torch.nn
door = pytest.importorskip("pyops.torch")
weights = pytest.importorskip("pyops.torch.weights")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 36, 5)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))


X = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32))
DOORS = {
    "backend": lambda m: torch.compile(m, backend=door.pyops),
    "compile": door.compile,
    "replace_modules": door.replace_modules,
}


def made(kind):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Net().eval()
    return model, DOORS[kind](model)


@pytest.fixture(scope="module", params=DOORS)
def pair(request):
    """A model and the same by a door: one compilation for many changes."""
    return made(request.param)


def assert_seen(model, fast, change):
    eager = Net.forward
    torch.manual_seed(0)
    model.load_state_dict(Net().state_dict())
    with torch.no_grad():
        before = fast(X).clone()
    change(model)
    model.eval()
    restored = door.restore_modules(model) if fast is model else model
    with torch.no_grad():
        want = eager(restored, X).clone()
        got = (door.replace_modules(model) if fast is model else fast)(X)
    assert not torch.allclose(before, want, rtol=1e-3), "the change changes nothing: it tests nothing"
    assert (got - want).abs().max() <= 2e-5 * want.abs().max()


def no_grad(change):
    return torch.no_grad()(change)


def one(model):
    """A value in the middle of nothing: not one that a sample is likely to meet."""
    return model.head.weight.detach().numpy()[2, 17:18]


CHANGES = {
    "data.mul_": lambda m: m.conv.weight.data.mul_(3),
    "data.copy_": lambda m: m.head.weight.data.copy_(torch.rand_like(m.head.weight)),
    "data.clamp_": lambda m: [p.data.clamp_(-0.01, 0.01) for p in m.parameters()],
    "data.fill_": lambda m: m.conv.bias.data.fill_(0.7),
    "data[i] =": lambda m: m.head.weight.data.__setitem__((3, slice(0, 200)), 1.0),
    "data = new": lambda m: setattr(m.conv.weight, "data", torch.rand_like(m.conv.weight)),
    "a NumPy view": lambda m: m.conv.weight.detach().numpy().__imul__(2),
    "one value of a NumPy view": lambda m: one(m).__iadd__(9),
    "detach().mul_": lambda m: m.conv.weight.detach().mul_(2),
    "mul_ without gradients": no_grad(lambda m: m.conv.weight.mul_(2)),
    "mul_ in inference mode": torch.inference_mode()(lambda m: [p.mul_(1.5) for p in m.parameters()]),
    "a buffer's data": lambda m: m.norm.running_mean.data.add_(1),
    "a buffer's data.fill_": lambda m: m.norm.running_var.data.fill_(0.3),
    "a buffer in place": lambda m: m.norm.running_mean.add_(1),
    "another buffer": lambda m: setattr(m.norm, "running_mean", torch.rand(8)),
    "batch norm moves": lambda m: (m.train(), nn.Module.__call__(m.norm, torch.randn(4, 8, 5, 5) * 3 + 2)),
    "another Parameter": lambda m: setattr(m.head, "weight", nn.Parameter(torch.rand_like(m.head.weight))),
    "load_state_dict": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}),
    "load_state_dict, assign": lambda m: m.load_state_dict(
        {k: v * 2 for k, v in m.state_dict().items()}, assign=True
    ),
    "vector_to_parameters": lambda m: nn.utils.vector_to_parameters(
        nn.utils.parameters_to_vector(m.parameters()) * 2, m.parameters()
    ),
    "nn.init": lambda m: nn.init.xavier_normal_(m.head.weight, 3.0),
    "_foreach_mul_": no_grad(lambda m: torch._foreach_mul_(list(m.parameters()), 1.5)),
    "swap_tensors": lambda m: torch.utils.swap_tensors(m.head.bias, nn.Parameter(torch.rand(5))),
    "a clipped norm": no_grad(lambda m: [p.copy_(p / (p.norm() + 1)) for p in m.parameters()]),
    "shared memory": lambda m: m.share_memory().conv.weight.data.mul_(2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen(pair, change):
    torch.manual_seed(1)
    assert_seen(*pair, CHANGES[change])


def optimisers():
    for name in torch.optim.__all__:
        kind = getattr(torch.optim, name)
        if not (inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)) or kind in (
            torch.optim.Optimizer,
            torch.optim.SparseAdam,
        ):
            continue  # SparseAdam takes sparse gradients only
        ways = [way for way in ("foreach", "fused") if way in inspect.signature(kind).parameters]
        for settings in ({}, *({way: True} for way in ways), *({way: False} for way in ways)):
            yield pytest.param(
                kind, settings, id=" ".join([name, *(f"{k}={v}" for k, v in settings.items())])
            )


@pytest.mark.parametrize("kind, settings", optimisers())
def test_every_optimiser_is_seen(pair, kind, settings):
    def train(model):
        torch.manual_seed(2)
        model.train()
        matrices = [p for p in model.parameters() if p.ndim == 2 or kind.__name__ != "Muon"]
        try:
            optimiser = kind(matrices, lr=0.1, **settings)
        except RuntimeError as why:
            pytest.skip(f"torch: {why}")
        for _ in range(2):

            def closure():
                optimiser.zero_grad()
                loss = (type(model).forward(model, X) - 1).square().mean()
                loss.backward()
                return loss

            optimiser.step(closure)

    assert_seen(*pair, train)


@pytest.mark.parametrize("fused", [False, True])
def test_averaged_models(fused):
    """EMA by swa_utils: the average is the model that is compiled."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = Net()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5), use_buffers=True
    ).eval()
    fast = torch.compile(average, backend=door.pyops)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=fused)
    for _ in range(3):
        with torch.no_grad():
            before, want = fast(X), average(X)
        assert (before - want).abs().max() <= 2e-5 * want.abs().max()
        optimiser.zero_grad()
        model(X).square().mean().backward()
        optimiser.step()
        average.update_parameters(model)
        with torch.no_grad():
            assert not torch.allclose(average(X), want, rtol=1e-3)


def test_parametrised_weights():
    """Weight norm: what is folded is computed from two parameters."""
    torch._dynamo.reset()
    model = nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)).eval()
    fast, x = torch.compile(model, backend=door.pyops), torch.randn(3, 6)
    for change in (
        lambda: model.parametrizations.weight.original0.data.mul_(2),
        lambda: model.parametrizations.weight.original1.data[1].fill_(3),
        lambda: torch.optim.SGD(model.parameters(), lr=1.0, fused=True).step(),
    ):
        with torch.no_grad():
            assert torch.allclose(fast(x), model(x), atol=1e-5)
        model(x).square().sum().backward()
        change()
        with torch.no_grad():
            assert torch.allclose(fast(x), model(x), atol=1e-4)


def test_any_value_of_large_weights_is_seen_within_a_turn():
    torch._dynamo.reset()
    model, x = nn.Sequential(nn.Linear(300, 300), nn.Linear(300, 300)).eval(), torch.randn(2, 300)
    fast = torch.compile(model, backend=door.pyops)
    turn = weights.Watch(list(model.parameters())).turn
    assert turn == -(-(2 * 4 * 300 * 301) // weights.PIECE) == 6
    with torch.no_grad():
        fast(x)
        model[1].weight.data[3, 5] = 4  # neither version nor sample tells
        for _ in range(turn):
            got = fast(x)
        assert torch.allclose(got, model(x), atol=1e-4)
        model[0].weight.data[7, 1] = 4
        assert door.refresh(model) == 1  # for certainty
        assert torch.allclose(fast(x), model(x), atol=1e-4)
        assert door.refresh(nn.Linear(2, 2)) == 0


def test_contents_are_all_looked_at():
    """Every byte of tensors of any type and strides is in one piece, and no piece is larger than
    what a call may read.
    """
    base = torch.arange(200_000, dtype=torch.float32)
    tensors = [
        base[::3],
        base[1:40_000].reshape(3, 13333).T,
        torch.arange(7, dtype=torch.int8),
        torch.ones(5, dtype=torch.bfloat16)[1:],
        torch.empty(0),
        torch.ones(64, 64, 3, 3).to(memory_format=torch.channels_last),
        torch.tensor(3.0, dtype=torch.float64),
    ]
    watch = weights.Watch(tensors)
    assert not any(watch.changed(tensors) for _ in range(3 * watch.turn))
    assert all(sum(words.nbytes for words, _ in piece) <= weights.PIECE for piece in watch.contents.pieces)
    for tensor in tensors:
        if tensor.numel() == 0:
            continue
        for place in (0, tensor.numel() // 3, tensor.numel() - 1):
            watch = weights.Watch(tensors)
            index = np.unravel_index(place, tuple(tensor.shape))
            was = tensor.data[index].clone()
            tensor.data[index] = ~was if tensor.dtype == torch.int8 else was + 1
            assert any(watch.changed(tensors) for _ in range(watch.turn)), (tensor.dtype, place)
            tensor.data[index] = was


def test_what_is_documented_as_not_seen():
    """Frozen weights until refresh, and those of a Program at all."""
    for freeze in (
        lambda m: torch.compile(m, backend=door.pyops, options={"freeze": True}),
        lambda m: door.compile(m, freeze=True),
    ):
        torch._dynamo.reset()
        model = Net().eval()
        fast = freeze(model)
        with torch.no_grad():
            before = fast(X)
            model.head.weight.data.mul_(2)
            assert torch.equal(fast(X), before)
            assert door.refresh(model) == 1
            assert torch.allclose(fast(X), model(X), atol=1e-4)
    program = pyops.compile(model, X)
    before = program(X)
    model.head.weight.data.mul_(2)
    assert np.array_equal(program(X), before)


def test_plans_are_packed_anew_without_an_export(monkeypatch):
    torch._dynamo.reset()
    model = Net().eval()
    fast = torch.compile(model, backend=door.pyops)
    with torch.no_grad():
        fast(X)
        monkeypatch.setattr("pyops.torch.backend.recorded", None)
        model.conv.weight.data.mul_(2)
        assert torch.allclose(fast(X), model(X), atol=1e-4)
