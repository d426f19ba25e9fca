"""Results of torch.compile(backend="pyops") share memory with inputs and with each other, and have
strides, where eager's do.
"""

import pytest

torch = pytest.importorskip("torch")
nn, TF = torch.nn, torch.nn.functional
door = pytest.importorskip("pyops.torch")

GRAPHS = {
    "a view of an input": lambda m, x: (x.view(2, -1), m.conv(x)),
    "the input": lambda m, x: (x, m.conv(x)),
    "a slice of an input": lambda m, x: (x[:, 1:, ::2], m.conv(x)),
    "an input with axes in another order": lambda m, x: (x.permute(0, 2, 3, 1), m.conv(x)),
    "an expanded input": lambda m, x: (x[:, :1].expand(2, 5, 9, 8), m.conv(x)),
    "an input, reshaped to what must be copied": lambda m, x: (x.permute(0, 2, 3, 1).reshape(-1), m.conv(x)),
    "a result twice": lambda m, x: (y := m.conv(x), y),
    "a result and a view of it": lambda m, x: (y := m.conv(x), y.view(2, 6, 42)),
    "parts of a result": lambda m, x: tuple(m.conv(x).chunk(3, 1)),
    "overlapping parts": lambda m, x: ((y := m.conv(x))[:, :4], y[:, 2:]),
    "windows": lambda m, x: (m.conv(x).unfold(3, 3, 1),),
    "an expanded result": lambda m, x: (m.conv(x).mean((2, 3), keepdim=True).expand(2, 6, 4, 4),),
    "expanded and not": lambda m, x: (y := m.conv(x).mean((2, 3), keepdim=True), y.expand(2, 6, 4, 4)),
    "a transposed result": lambda m, x: (m.conv(x).transpose(1, 3),),
    "a part of a result": lambda m, x: (m.conv(x)[:, 2],),
    "a weight": lambda m, x: (m.conv.weight.flatten(1).t(), m.conv(x)),
    "what is computed from weights alone": lambda m, x: (m.conv.weight * 2, m.conv(x)),
    "a call of torch's": lambda m, x: (torch.sort(y := m.conv(x)).values, y.transpose(0, 1)),
    "nothing strange": lambda m, x: (m.conv(x), m.conv(x).sum()),
    "nothing at all": lambda m, x: (m.conv(x)[:0], None, m.conv(x)),
}


class Net(nn.Module):
    def __init__(self, graph):
        super().__init__()
        self.conv, self.graph = nn.Conv2d(3, 6, 3), graph

    def forward(self, x):
        return self.graph(self, x)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)


def memory(t):
    return t.untyped_storage().data_ptr()


def assert_laid_alike(got, want, x, y):
    """got of input x, want of input y."""
    assert len(got) == len(want)
    for i, (g, w) in enumerate(zip(got, want)):
        if w is None:
            assert g is None
            continue
        assert g.shape == w.shape and g.stride() == w.stride() and g.dtype == w.dtype, (
            i,
            g.stride(),
            w.stride(),
        )
        assert (memory(g) == memory(x)) == (memory(w) == memory(y)), i
        if g.numel():
            assert (g - w).abs().max() <= 2e-5 * w.abs().max()
        for g2, w2 in zip(got[:i], want[:i]):
            if w2 is not None and w.numel() and w2.numel():
                assert (memory(g) == memory(g2)) == (memory(w) == memory(w2)), i
                assert (
                    g.storage_offset() - g2.storage_offset() == w.storage_offset() - w2.storage_offset()
                    or memory(w) != memory(w2)
                )


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", GRAPHS)
def test_results_are_laid_as_in_eager(name, form):
    if form == torch.channels_last and name == "a view of an input":
        pytest.skip("such an input has no such view")
    model = Net(GRAPHS[name]).eval().to(memory_format=form)
    fast = torch.compile(model, backend=door.pyops)
    with torch.no_grad():
        for _ in range(2):
            x = torch.randn(2, 3, 9, 8).to(memory_format=form)
            y = x.clone()
            got, want = fast(x), model(y)
            assert_laid_alike(got, want, x, y)
            for g, w in zip(got, want):  # what is written to one is seen through the others, as in eager
                if (
                    w is not None
                    and w.numel()
                    and w.ndim
                    and 0 not in w.stride()
                    and memory(w) != memory(model.conv.weight)
                ):
                    g[..., :1] += 1
                    w[..., :1] += 1
                    assert_laid_alike(got, want, x, y)
                    assert torch.allclose(x, y)


def test_two_inputs_in_one_memory():
    """Which of them a result is a view of is told by the graph, not by the addresses."""

    class Second(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, a, b):
            return b[:, 1:], self.linear(a)

    model = Second().eval()
    fast = torch.compile(model, backend=door.pyops)
    with torch.no_grad():
        base = torch.randn(6, 4)
        fast(base[:3], base[3:])
        a, b = torch.randn(3, 4), torch.randn(3, 4)
        got = fast(a, b)[0]
        assert memory(got) == memory(b) and torch.equal(got, b[:, 1:])


def test_inputs_of_other_strides_are_planned_of_their_own():
    model = nn.Conv2d(3, 6, 3).eval()
    fast = torch.compile(model, backend=door.pyops, dynamic=True)
    with torch.no_grad():
        for form in (torch.contiguous_format, torch.channels_last, torch.contiguous_format):
            x = torch.randn(2, 3, 9, 8).to(memory_format=form)
            assert fast(x).stride() == model(x).stride()


def test_a_frozen_weight_that_is_a_result():
    model = Net(GRAPHS["a weight"]).eval()
    fast = torch.compile(model, backend=door.pyops, options={"freeze": True})
    with torch.no_grad():
        for _ in range(2):
            x = torch.randn(2, 3, 9, 8)
            got, want = fast(x), model(x)
            assert memory(got[0]) == memory(want[0]) and got[0].stride() == want[0].stride()


def test_checkpointed_batch_norm_trains_as_without_a_compiler():
    from torch.utils.checkpoint import checkpoint

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
            self.second = nn.Conv2d(8, 4, 3)

        def forward(self, x):
            return self.second(checkpoint(self.first, x, use_reentrant=False))

    x, results = torch.randn(2, 3, 8, 8), []
    for backend in ("aot_eager", door.pyops):  # plain eager moves the statistics in the second run again
        torch._dynamo.reset()
        torch.manual_seed(1)
        model = Net()
        fast = torch.compile(model, backend=backend)
        for _ in range(2):
            fast(x).square().mean().backward()
        results.append([*(p.grad for p in model.parameters()), *model.buffers()])
    for got, want in zip(*results):
        assert (got - want).abs().max() <= 1e-4 * max(want.abs().max(), 1e-3)


def test_addmm_does_not_read_what_beta_leaves_out():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.linear = nn.Parameter(torch.randn(6, 5)), nn.Linear(5, 5)

        def forward(self, x):
            return self.linear(torch.addmm(torch.full((4, 5), float("nan")), x, self.weight, beta=0, alpha=2))

    model, x = Net(), torch.randn(4, 6)
    for fast in (
        torch.compile(model, backend=door.pyops),
        torch.no_grad()(torch.compile(model, backend=door.pyops)),
    ):
        got, want = fast(x), model(x)
        assert (got - want).abs().max() <= 2e-5 * want.abs().max()


@torch.no_grad()
def test_sizes_of_one_do_not_tell_the_order_of_axes():
    """Turned axes of one lie in order; those of the next size do not."""
    def model(x):
        return TF.max_pool2d(x, 4, 2).transpose(2, 3)
    torch._dynamo.reset()
    fast = torch.compile(model, backend=door.pyops, dynamic=True)
    for sides in ((4, 5), (9, 12), (16, 11)):
        x = torch.randn(2, 3, *sides)
        got, want = fast(x), model(x)
        assert torch.equal(got, want) and got.stride() == want.stride(), sides
