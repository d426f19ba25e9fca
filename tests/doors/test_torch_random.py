"""Random draws: every call of a compiled graph draws afresh, the numbers that eager draws; a
Program refuses them by name.
"""
import pytest

import pyops

torch = pytest.importorskip("torch")
nn, TF = torch.nn, torch.nn.functional
door = pytest.importorskip("pyops.torch")

D = torch.distributions
DRAWS = {
    "rand": lambda m, y: y + torch.rand(8, 1, 1),
    "randn": lambda m, y: y + torch.randn(1, 8, 6, 6),
    "randint": lambda m, y: y * torch.randint(0, 5, (8, 1, 1)),
    "randint low": lambda m, y: y * torch.randint(2, 9, (8, 1, 1)).float(),
    "rand_like": lambda m, y: y + torch.rand_like(y),
    "randn_like": lambda m, y: y + torch.randn_like(y),
    "randint_like": lambda m, y: y + torch.randint_like(y, 9),
    "randperm": lambda m, y: y[:, torch.randperm(8)],
    "normal": lambda m, y: y + torch.normal(0.0, 2.0, (8, 1, 1)),
    "normal of a weight": lambda m, y: y + torch.normal(m.scale, 1.0)[:, None, None],
    "normal_": lambda m, y: y + torch.empty(8, 1, 1).normal_(),
    "uniform_": lambda m, y: y + torch.empty(8, 1, 1).uniform_(-1, 3),
    "exponential_": lambda m, y: y + torch.empty(8, 1, 1).exponential_(),
    "bernoulli": lambda m, y: y * torch.bernoulli(m.chance)[:, None, None],
    "bernoulli_": lambda m, y: y * torch.empty(2, 8, 1, 1).bernoulli_(0.5),
    "bernoulli of the input": lambda m, y: y * torch.bernoulli(torch.sigmoid(y)),
    "multinomial": lambda m, y: y * torch.multinomial(m.chance, 8)[:, None, None],
    "poisson": lambda m, y: y + torch.poisson(m.chance * 9)[:, None, None],
    "Normal.sample": lambda m, y: y + D.Normal(m.scale, 1.0, validate_args=False).sample()[:, None, None],
    "Normal.rsample of the input": lambda m, y: D.Normal(y, 1.0, validate_args=False).rsample(),
    "Categorical.sample": lambda m, y: y + D.Categorical(logits=m.scale, validate_args=False).sample(),
    "Uniform.sample": lambda m, y: y
    + D.Uniform(0.0, m.chance + 1, validate_args=False).sample()[:, None, None],
    "gumbel_softmax": lambda m, y: y * TF.gumbel_softmax(m.scale, dim=0)[:, None, None],
    "dropout": lambda m, y: TF.dropout(y, 0.5, training=True),
    "dropout of a weight": lambda m, y: y * TF.dropout(m.scale, 0.5, training=True)[:, None, None],
    "dropout2d": lambda m, y: TF.dropout2d(y, 0.5, training=True),
    "alpha_dropout": lambda m, y: TF.alpha_dropout(y, 0.5, training=True),
    "feature_alpha_dropout": lambda m, y: TF.feature_alpha_dropout(y, 0.5, training=True),
    "rrelu": lambda m, y: TF.rrelu(y, training=True),
    "StochasticDepth": lambda m, y: y * torch.empty(y.shape[0], 1, 1, 1).bernoulli_(0.6).div_(0.6) + y,
    "two draws with calls of ours between": lambda m, y: m.conv(
       TF.pad(y + torch.randn(8, 1, 1), (1, 1, 1, 1))[:, :3]) * torch.rand(8, 1, 1),
    "attention with dropout": lambda m, y: TF.scaled_dot_product_attention(y, y, y, dropout_p=0.5),
}


class Net(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.conv, self.draw = nn.Conv2d(3, 8, 3), draw
        self.scale = nn.Parameter(torch.linspace(-1, 2, 8))
        self.register_buffer("chance", torch.linspace(0.2, 0.8, 8))

    def forward(self, x):
        return self.draw(self, self.conv(x)) * 2


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_eagers(name):
    model, x = Net(DRAWS[name]).eval(), torch.randn(2, 3, 8, 8)
    fast = torch.compile(model, backend=door.pyops)
    results = []
    with torch.no_grad():
        for seed in (3, 3, 4):   # the first call plans
            torch.manual_seed(seed)
            want = [model(x), torch.rand(3)]
            torch.manual_seed(seed)
            got = [fast(x), torch.rand(3)]   # the generator stands where eager leaves it
            for g, w in zip(got, want):
                assert (g - w).abs().max() <= 2e-5 * max(1, w.abs().max())
            results.append(got[0])
        assert torch.allclose(results[0], results[1]) and not torch.allclose(results[0], results[2])
        assert not torch.allclose(fast(x), fast(x))
    with pytest.raises(door.UnsupportedOp,
                       match=r"which draws random numbers \(.*test_torch_random.py:\d+\)"):
        pyops.compile(model, x)


def test_every_op_with_the_tag_is_drawn():
    """Of torch's own list: what has a Generator among its arguments has the tag that is gone by."""
    without = []
    for schema in torch._C._jit_get_all_schemas():
        if schema.name.startswith("aten::") and any("Generator" in str(a.type) for a in schema.arguments):
            op = getattr(getattr(torch.ops.aten, schema.name[6:]), schema.overload_name or "default")
            if torch.Tag.nondeterministic_seeded not in op.tags:
                without.append(str(op))
    # of generators themselves, and of TorchScript
    assert all("seed" in op or "_no_grad_" in op for op in without), without


def test_what_is_switched_off_is_no_draw():
    class Off(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.lstm, self.drop = nn.Linear(6,
                                                          6), nn.LSTM(6, 6, 2, dropout=0.5), nn.Dropout(0.5)

        def forward(self, x):
            y, _ = self.lstm(self.drop(self.linear(x)))
            return TF.rrelu(TF.scaled_dot_product_attention(y, y, y)) * TF.dropout(self.linear.weight, 0.5,
                                                                                   False)[0]
    model, x = Off().eval(), torch.randn(5, 3, 6)
    with torch.no_grad():
        want = model(x)
    assert (torch.from_numpy(pyops.compile(model, x)(x)) - want).abs().max() <= 2e-5 * want.abs().max()
