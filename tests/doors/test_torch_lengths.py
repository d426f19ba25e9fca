"""torch.compile with lengths that a run decides: nonzero, masks as indices, unique, and what is done with them,
held to torch on inputs that find some, none and all."""
import pytest

torch = pytest.importorskip("torch")
from torch.utils import _pytree as pytree  # noqa: E402

import pyops.torch  # noqa: E402

X = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))


def boxes(n=20):
    corners = torch.rand(n, 4, generator=torch.Generator().manual_seed(2)) * 10
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], 1)


OURS = {
    "mask": lambda x: x[x > 0],
    "rows by a mask": lambda x: x[x[:, 0] > 0] * 2 + 1,
    "columns by a mask": lambda x: x[:, x[0] > 0].exp(),
    "nonzero": lambda x: torch.nonzero(x > 0),
    "nonzero, an array an axis": lambda x: torch.nonzero(x > 0, as_tuple=True),
    "where": lambda x: torch.where(x > 0),
    "places": lambda x: torch.where(x[:, 0] > 0)[0] + 1,
    "taken at places": lambda x: x[torch.where(x[:, 0] > 0)[0]][:, 2:].sum(0),
    "taken by two indices": lambda x: x[torch.where(x > 0)],
    "masked_select": lambda x: torch.masked_select(x, x > 0.3).exp(),
    "masked_select that broadcasts": lambda x: torch.masked_select(x, x[:1] > 0.3),
    "unique": lambda x: torch.unique(x.round().long()),
    "unique with its places": lambda x: torch.unique(x.round(), return_inverse=True, return_counts=True),
    "a sum": lambda x: x[x > 0].sum(),
    "a mean of some": lambda x: x[x > -9].mean(),
    "a number of entries": lambda x: (x[x > 0] * 2, x[x > 0].shape[0]),
    "the best": lambda x: x[x > 0].topk(min(4, x[x > 0].shape[0])),
    "the order": lambda x: x[x > 0].sort(descending=True, stable=True),
    "the first": lambda x: x[x > 0][:3],
    "all but the ends": lambda x: x[x > 0][2:-1],
    "joined": lambda x: torch.cat([x[x > 0], x[x < 0], x[0]]),
    "counted": lambda x: torch.arange(x[x > 0].shape[0]) * 2,
    "made": lambda x: torch.zeros(x[x > 0].shape[0], 3) + 1,
    "filled": lambda x: torch.full_like(x[x > 0], 2, dtype=torch.int64),
    "a layer": lambda x: torch.nn.functional.linear(x[x[:, 0] > 0], x),
    "softmax": lambda x: torch.softmax(x[x > -9], 0),
    "softmax of rows": lambda x: torch.softmax(x[x[:, 0] > 0], 1),
    "any": lambda x: ((x[x > 0] > 1).any(), (x[x > 0] > 1).all()),
    "a mask of what a mask found": lambda x: (lambda y: y[y < 0.5])(x[x > 0]),
    "two of one length": lambda x: x[x > 0] + x[x > 0].abs(),
    "stacked": lambda x: torch.stack([x[x > 0], x[x > 0] * 2], 1).flatten(),
    "turned": lambda x: x[x[:, 0] > 0].t().unsqueeze(0),
    "assigned by a mask": lambda x: x.clone().index_put((x[:, 0] > 0,), torch.tensor(0.0)),
    "assigned at places": lambda x: x.clone().index_put((torch.where(x[:, 0] > 0)[0],), x[x[:, 0] > 0] * 3),
    "as many as a number says": lambda x: x[: int((x > 0).sum().item())],
}
TORCHS = {   # at least in part
    "norm": lambda x: x[x > 0].norm(),
    "median": lambda x: x[x > -9].median(),
    "ascending": lambda x: x[x > 0].sort(),
    "behind a layer": lambda x: torch.nn.functional.linear(x, x)[x[:, 0] > 0][:, 0].sort()[0],
    "a float of a size": lambda x: x * (2.0 * x[x > 0].numel()),
}


@pytest.fixture(autouse=True)
def settings():
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True, capture_scalar_outputs=True):
        torch._dynamo.reset()
        pyops.torch.compile_report(clear=True)
        yield


def assert_same(got, want):
    for g, w in zip(pytree.tree_leaves(got), pytree.tree_leaves(want), strict=True):
        if isinstance(w, torch.Tensor):
            assert (g.dtype, g.shape) == (w.dtype, w.shape)
            assert 0 in w.shape or all(a == b for a, b, n in zip(g.stride(), w.stride(), w.shape) if n > 1)
            torch.testing.assert_close(g, w, rtol=1e-5, atol=1e-6, equal_nan=True)
        else:
            assert type(g) is type(w) and g == w


@pytest.mark.parametrize("name", [*OURS, *TORCHS])
def test_as_torch(name):
    function = (OURS | TORCHS)[name]
    compiled = torch.compile(function, backend="pyops", fullgraph=True)
    with torch.no_grad():
        for x in (X, X.flip(0) * 3, X.abs(), -X.abs() - 0.1, torch.zeros_like(X)):
            assert_same(compiled(x), function(x))
    (report,) = pyops.torch.compile_report()
    assert name in TORCHS or report.kind == "program" and not report.torch, report


def test_what_cannot_be_is_torchs_error():
    with torch.no_grad(), pytest.raises((RuntimeError, ValueError)):
        torch.compile(lambda x: x[x > 0] + x[x < 0], backend="pyops")(X)
    compiled = torch.compile(lambda x, i: x[i[i > 0]], backend="pyops")
    assert_same(compiled(X, torch.tensor([1, 6])), X[[1, 6]])
    with pytest.raises(IndexError):
        compiled(X, torch.tensor([1, 7]))
    assert_same(compiled(X, torch.tensor([0, 2])), X[[2]])


def test_python_may_branch_on_what_was_found():
    def function(x):
        found = x[x > 0]
        return found * 2 if found.shape[0] > 3 else x - 1
    compiled = torch.compile(function, backend="pyops")
    with torch.no_grad():
        for x in (X, -X.abs(), X.abs()):
            assert_same(compiled(x), function(x))


def test_indices_behind_the_count_are_none():
    y, mask = torch.arange(3.0), torch.tensor([False] * 4 + [True] * 3)

    def function(y, mask):
        places = torch.where(mask)[0] - 4
        return y[places], torch.stack([y, y])[:, places], torch.stack([y, y])[places % 2, places]
    with torch.no_grad():
        assert_same(torch.compile(function, backend="pyops")(y, mask), function(y, mask))


def test_other_sizes():
    compiled = torch.compile(lambda b, s: (b[s > 0.5], s[s > 0.5].topk(2)), backend="pyops", dynamic=True)
    with torch.no_grad():
        for n in (20, 31, 8):
            b, s = boxes(n), torch.rand(n, generator=torch.Generator().manual_seed(n))
            assert_same(compiled(b, s), (b[s > 0.5], s[s > 0.5].topk(2)))


def test_results_of_such_a_length_may_be_written_to():
    compiled = torch.compile(lambda x: (x[x > 0], x[x > 0][:2]), backend="pyops")
    with torch.no_grad():
        first, second = compiled(X)
        first.zero_()
        assert (second == X[X > 0][:2]).all() and (compiled(X)[0] == X[X > 0]).all()


def test_layers_around_a_call_of_torchs():
    """A stage, torch's order, and a layer behind: numbers that a run decides are known within a stage."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 6).eval()

    def function(x):
        y = layer(x)
        kept = y[y[:, 0] > 0]
        return layer(x + 1), kept.sort(0)[0], kept.shape[0] + 1
    with torch.no_grad():
        assert_same(torch.compile(function, backend="pyops")(X), function(X))
    (report,) = pyops.torch.compile_report()
    assert report.kind == "program" and "aten.sort.default" in report.torch
