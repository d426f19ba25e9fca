"""Attention beyond the cases of its row: special values, dropout, the modules beside torch's, and
compiled encoders."""
import copy
import subprocess
import sys

import numpy as np
import pytest

import pyops
from pyops import Tensor, functional as F, models, nn
from pyops.core.backends import use_backend
from pyops.ops.attention import ATTENTION_DROPPED, with_dropout

torch = pytest.importorskip("torch")
FORWARD, GRADIENT = 1e-5, 1e-4   # of the largest value


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def off(got, want):
    got, want = np.asarray(getattr(got, "data", got)), want.detach().numpy()
    assert got.shape == want.shape
    return np.abs(got - want).max() / max(np.abs(want).max(), 1e-30)


def both(ours, theirs):
    """Our module and torch's with its weights."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def same_gradients(ours, theirs):
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert off(p.grad, q.grad) <= GRADIENT, name


# ---- the function

@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_a_query_that_may_look_nowhere_gives_zeros_and_takes_no_gradient(backend, real):
    q, k, v = (Tensor(draw(2, n, 8, seed=n).astype(real), requires_grad=True) for n in (5, 9, 9))
    mask = np.full((5, 9), 0, real)
    mask[3] = -np.inf
    with use_backend(backend):
        y = F.scaled_dot_product_attention(q, k, v, mask)
        y.backward(np.ones_like(y.data))
    assert (y.data[:, 3] == 0).all() and (q.grad[:, 3] == 0).all() and (y.data[:, 2] != 0).all()
    assert all(np.isfinite(t.grad).all() for t in (q, k, v))


@pytest.mark.parametrize("queries", [1, 4, 9, 120])
@pytest.mark.parametrize("begin, end", [(0, 100), (77, 260), (140, 150)])
def test_keys_that_no_query_sees_may_be_anything(backend, queries, begin, end):
    """Zeros times NaN would be NaN: the unused rest of a cache is not multiplied at all."""
    q, dy = draw(2, 3, queries, 20), draw(2, 3, queries, 24, seed=1)
    found = []
    for rest in (0, np.nan):
        k, v = draw(2, 3, 300, 20, seed=2), draw(2, 3, 300, 24, seed=3)
        for x in (k, v):
            x[:, :, :begin] = x[0, :, end:] = x[1, :, end - 1:] = rest
        given = [Tensor(x, requires_grad=True) for x in (q, k, v)]
        with use_backend(backend):
            y = F.scaled_dot_product_attention(*given, key_begin=np.full((2, 1, 1), begin),
                                               key_end=np.array([end, end - 1])[:, None, None])
            y.backward(dy)
        found.append([y.data, *(x.grad for x in given)])
    for one, other in zip(*found, strict=True):
        assert np.isfinite(one).all() and np.array_equal(one, other)


def test_nan_stays_nan_among_hidden_keys(backend):
    q, k, v = draw(1, 8), draw(200, 8), draw(200, 8)
    k[0] = np.nan
    mask = np.full((1, 200), -np.inf, np.float32)
    with use_backend(backend):
        assert np.isnan(F.scaled_dot_product_attention(q, k, v, mask)).all()
        assert np.isnan(F.scaled_dot_product_attention(q, k, v)).all()


@pytest.mark.parametrize("blocks", [1, 3])
def test_large_scores_do_not_overflow(backend, blocks):
    q, k, v = 30 * draw(7, 16), 30 * draw(128 * blocks, 16, seed=1), draw(128 * blocks, 16, seed=2)
    with use_backend(backend):
        y = F.scaled_dot_product_attention(q, k, v, scale=1.0)
    want = torch.nn.functional.scaled_dot_product_attention(
        *(torch.from_numpy(a).double() for a in (q, k, v)), scale=1.0)
    assert off(y, want) <= 1e-4   # scores near 10^4 carry an error of 10^-3


def test_bool_masks_of_tensors_and_of_torch():
    q, k, v = draw(2, 5, 8), draw(2, 7, 8, seed=1), draw(2, 7, 8, seed=2)
    seen = np.arange(35).reshape(5, 7) % 3 > 0
    want = F.scaled_dot_product_attention(q, k, v, seen)
    got = F.scaled_dot_product_attention(Tensor(q), k, v, Tensor(seen))
    assert np.array_equal(got.data, want)


def test_dropout_drops_weights():
    q, k = np.zeros((1, 4000, 8), np.float32), np.zeros((1, 10, 8), np.float32)
    v = np.broadcast_to(np.eye(10, dtype=np.float32), (1, 10, 10))
    pyops.manual_seed(0)
    weights = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25)
    kept = weights > 0
    assert np.allclose(weights[kept], 0.1 / 0.75) and abs(kept.mean() - 0.75) < 0.02


@pytest.mark.parametrize("mask", [None, np.arange(35).reshape(5, 7) > 6, "causal"])
def test_composed_with_dropout_agrees_with_the_kernel(mask):
    """A probability so small that nothing is dropped leaves the same numbers and gradients."""
    how = {"is_causal": True} if isinstance(mask, str) else {"attn_mask": mask}
    results = []
    for p in (0.0, 1e-12):
        q, k, v = (Tensor(draw(2, heads, n, 8, seed=n), requires_grad=True)
                   for heads, n in ((4, 5), (2, 7), (2, 7)))
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, enable_gqa=True, **how)
        y.backward(np.ones_like(y.data))
        results.append([y.data, q.grad, k.grad, v.grad])
    for a, b in zip(*results):
        assert np.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 2, 40, 50), (1, 2, 130, 200)])
def test_dropped_weights_are_those_of_the_rows_apart(shape):
    n, heads, queries, keys = shape
    how = dict(seed=11, threshold=1 << 30, keep=1.5, causal=False, scale=0.4, gqa=False)
    results = []
    for row in (ATTENTION_DROPPED, with_dropout):
        q, k, v = (Tensor(draw(n, heads, length, 20, seed=length).astype(float), requires_grad=True)
                   for length in (queries, keys, keys))
        y = row(q, k, v, None, **how)[0]
        y.backward(np.cos(np.arange(y.data.size)).reshape(y.shape))
        results.append([y.data, q.grad, k.grad, v.grad])
    for a, b in zip(*results):
        assert np.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_a_mask_that_learns_beside_dropped_weights():
    q, k, v = (Tensor(draw(2, n, 8, seed=n), requires_grad=True) for n in (5, 7, 7))
    mask = Tensor(draw(5, 7), requires_grad=True)
    F.sum(F.scaled_dot_product_attention(q, k, v, mask, 0.3, seed=3)).backward()
    assert np.isfinite(mask.grad).all() and mask.grad.any()


# ---- MultiheadAttention

CONSTRUCTED = {"plain": {}, "batch_first": {"batch_first": True}, "no_bias": {"bias": False},
               "other_widths": {"kdim": 20, "vdim": 12}, "bias_kv": {"add_bias_kv": True},
               "zero_attn": {"add_zero_attn": True, "add_bias_kv": True, "batch_first": True},}
HIDDEN = np.arange(63).reshape(7, 9) % 4 == 3


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masks", ["none", "bool", "float", "padding", "both", "per_head"])
@pytest.mark.parametrize("settings", CONSTRUCTED, ids=str)
def test_multihead_attention_is_torchs(settings, masks, need_weights):
    settings = CONSTRUCTED[settings]
    ours, theirs = both(nn.MultiheadAttention(32, 4, **settings),
                        torch.nn.MultiheadAttention(32, 4, **settings))
    order = (0, 1, 2) if settings.get("batch_first") else (1, 0, 2)
    arrays = [draw(3, n, width, seed=n).transpose(order) for n, width in
              ((7, 32), (9, settings.get("kdim", 32)), (9, settings.get("vdim", 32)))]
    padding = np.arange(27).reshape(3, 9) % 9 > 6
    given = {"none": {}, "bool": {"attn_mask": HIDDEN}, "float": {"attn_mask": draw(7, 9)},
             "padding": {"key_padding_mask": padding},
             "both": {"attn_mask": HIDDEN, "key_padding_mask": padding},
             "per_head": {"attn_mask": np.broadcast_to(HIDDEN, (12, 7, 9)).copy()}}[masks]
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    tensors = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in arrays]
    y, weights = ours(*inputs, need_weights=need_weights, **given)
    want, want_weights = theirs(*tensors, need_weights=need_weights,
                                **{k: torch.from_numpy(m) for k, m in given.items()})
    assert off(y, want) <= FORWARD and (weights is None) == (not need_weights)
    if need_weights:
        assert off(weights, want_weights) <= FORWARD
    g = draw(*want.shape, seed=9)
    y.backward(g)
    want.backward(torch.from_numpy(g))
    same_gradients(ours, theirs)
    for a, b in zip(inputs, tensors):
        assert off(a.grad, b.grad) <= GRADIENT


def test_multihead_attention_of_one_sample_weights_of_each_head_and_the_causal_hint():
    ours, theirs = both(nn.MultiheadAttention(32, 4), torch.nn.MultiheadAttention(32, 4))
    x = draw(7, 32)
    future = ~np.tri(7, dtype=bool)
    for how in ({"average_attn_weights": False},
                {"need_weights": False, "attn_mask": future, "is_causal": True},
                {"attn_mask": future, "is_causal": True}):
        y, weights = ours(*[Tensor(x)] * 3, **how)
        given = {k: torch.from_numpy(v) if k == "attn_mask" else v for k, v in how.items()}
        want, want_weights = theirs(*[torch.from_numpy(x)] * 3, **given)
        assert off(y, want) <= FORWARD and (weights is None or off(weights, want_weights) <= FORWARD)


def test_multihead_attention_refuses():
    with pytest.raises(ValueError, match="multiple of num_heads"):
        nn.MultiheadAttention(30, 4)
    layer, x = nn.MultiheadAttention(32, 4), draw(7, 3, 32)
    with pytest.raises(ValueError, match="key_padding_mask must have shape"):
        layer(x, x, x, np.zeros((7, 3), bool))
    with pytest.raises(ValueError, match="attn_mask must have shape"):
        layer(x, x, x, attn_mask=np.zeros((7, 3), bool))
    with pytest.raises(ValueError, match="is_causal"):
        layer(x, x, x, is_causal=True)
    with pytest.raises(ValueError, match="axes"):
        layer(x, x[0], x)


# ---- encoders

@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("settings", [{}, {"batch_first": True}, {"norm_first": True},
                                      {"bias": False, "layer_norm_eps": 1e-3}], ids=str)
def test_encoder_layer_is_torchs(settings, activation):
    ours, theirs = both(
        *(home.TransformerEncoderLayer(32, 4, 48, 0.0, activation, **settings) for home in (nn, torch.nn)))
    x, future = draw(7, 3, 32), ~np.tri(3 if settings.get("batch_first") else 7, dtype=bool)
    y, want = ours(Tensor(x), future), theirs(torch.from_numpy(x), torch.from_numpy(future))
    assert off(y, want) <= FORWARD
    g = draw(*x.shape, seed=1)
    y.backward(g)
    want.backward(torch.from_numpy(g))
    same_gradients(ours, theirs)


def test_encoder_is_torchs_with_padding_and_a_last_norm():
    layers = [home.TransformerEncoderLayer(32, 4, 48, 0.0, batch_first=True, norm_first=True)
              for home in (nn, torch.nn)]
    norms = [home.LayerNorm(32) for home in (nn, torch.nn)]
    ours, theirs = both(nn.TransformerEncoder(layers[0], 3, norms[0]),
                        torch.nn.TransformerEncoder(layers[1], 3, norms[1], enable_nested_tensor=False))
    x, padding = draw(3, 7, 32), np.arange(21).reshape(3, 7) % 7 > 4
    future = np.where(np.tri(7, dtype=bool), 0, -np.inf).astype(np.float32)
    for mask in (None, future):
        y = ours(Tensor(x), mask, padding)
        want = theirs(torch.from_numpy(x), None if mask is None else torch.from_numpy(mask),
                      torch.from_numpy(padding))
        assert off(y, want) <= FORWARD
    y.backward(np.ones_like(x))
    want.backward(torch.ones(3, 7, 32))
    same_gradients(ours, theirs)


def test_the_encoders_layers_are_copies():
    layer = nn.TransformerEncoderLayer(16, 2, 24)
    encoder = nn.TransformerEncoder(layer, 2)
    first, second = encoder.layers[0].linear1.weight, encoder.layers[1].linear1.weight
    assert (first is not second and np.array_equal(first.data, second.data)
            and not np.shares_memory(first.data, second.data))


def test_dropout_only_while_training():
    layer, x = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.5), Tensor(draw(5, 2, 16))
    assert not np.array_equal(layer(x).data, layer(x).data)
    layer.eval()
    assert np.array_equal(layer(x).data, layer(x).data)
    assert np.array_equal(copy.deepcopy(layer)(x).data, layer(x).data)


# ---- compiled

def steps(program, kernel):
    return sum(s.kernel == kernel for s in program.steps)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_compiled_encoder_copies_nothing(activation, norm_first, batch):
    layers = 2
    model = models.transformer_encoder(64, 4, layers, 96, activation=activation, norm_first=norm_first).eval()
    x = draw(batch, 37, 64)
    program = pyops.compile(model, (x,))
    want = model(x).data
    assert np.abs(program(x) - want).max() <= FORWARD * np.abs(want).max()
    assert steps(program, "strided_copy") == 0 and steps(program, "attention") == layers
    assert steps(program, "linear_packed") == 4 * layers and len(program.steps) == 9 * layers + norm_first
    assert np.array_equal(program(x)[:1],
                          pyops.compile(model, (x[:1],))(x[:1])), "a sample depends on its batch"


@pytest.mark.parametrize("settings",
                         [{}, {"add_bias_kv": True}, {"kdim": 20, "vdim": 12, "batch_first": True}], ids=str)
def test_compiled_multihead_attention(settings):
    layer = nn.MultiheadAttention(32, 4, **settings).eval()
    order = (0, 1, 2) if settings.get("batch_first") else (1, 0, 2)
    sizes = (7, 32), (9, settings.get("kdim", 32)), (9, settings.get("vdim", 32))
    arrays = [draw(3, n, width, seed=n).transpose(order).copy() for n, width in sizes]
    for how in ({"need_weights": False}, {"need_weights": False, "attn_mask": HIDDEN}, {}):
        want = layer(*arrays, **how)
        got = pyops.compile(lambda q, k, v: layer(q, k, v, **how), arrays)(*arrays)  # noqa: B023
        for a, b in zip(got, want):
            assert (a is None and b is None) or np.abs(a - b.data).max() <= FORWARD * np.abs(b.data).max()


def test_compiled_attention_reads_views_where_they_lie():
    """Heads out of one array, masks that are inputs, results that are read by
    permutations or as they are."""
    def model(x, mask):
        q, k, v = F.unbind(F.reshape(x, (2, 11, 3, 4, 8)), 2)
        q, k, v = (F.transpose(a, 1, 2) for a in (q, k, v))
        y = F.scaled_dot_product_attention(q, F.flip(k, -2), v, mask)
        return (y, F.permute(y, (2, 0, 1, 3)),
                F.scaled_dot_product_attention(F.flip(q, -1), k, v, is_causal=True))
    x, mask = draw(2, 11, 96), draw(2, 1, 11, 1)
    program = pyops.compile(model, (x, mask))
    for got, want in zip(program(x, mask), model(x, mask)):
        assert got.shape == want.shape and np.abs(got - want).max() <= FORWARD * np.abs(want).max()


def test_a_view_that_is_read_as_an_array_is_copied_once():
    def model(x):
        y = F.transpose(x, 0, 1)
        return F.relu(y), F.exp(y), F.reshape(F.transpose(y, 0, 1), (-1,)), y[::2, 1]
    x = draw(5, 7)
    program = pyops.compile(model, (x,))
    for got, want in zip(program(x), model(x)):
        assert np.array_equal(got, want)


def test_memory_grows_with_the_length_not_with_its_square():
    """4,096 tokens of two heads, causal and with dropped weights, and their gradients, in a process of its
    own: the scores alone would be 128 MB."""
    pytest.importorskip("resource")
    code = """
import resource, numpy as np, pyops
from pyops import Tensor, functional as F
rng = np.random.default_rng(0)
def step(length, **how):
    x = [Tensor(rng.standard_normal((2, length, 16), np.float32), requires_grad=True) for _ in range(3)]
    F.sum(F.scaled_dot_product_attention(*x, **how)).backward()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
hows = {"causal": dict(is_causal=True), "dropped": dict(dropout_p=0.1, seed=1),
        "band": dict(key_begin=np.arange(4096) - 512, is_causal=True)}
step(64)
for name, how in hows.items():
    before = peak()
    step(4096, **how)
    print(name, peak() - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    grown = {name: float(mb) for name, mb in map(str.split, found.splitlines())}
    assert set(grown) == {"causal", "dropped", "band"} and max(grown.values()) < 24, grown
