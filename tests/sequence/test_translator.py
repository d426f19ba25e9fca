"""The Transformer of 2017 against torch.nn.Transformer; beams against all texts there are; the
schedule of its paper; a language learned."""
import itertools

import numpy as np
import pytest

import pyops
from pyops import functional as F, models, nn, optim
from pyops.models.sequence.encoder_decoder import Writing
from pyops.models.sequence.positions import sinusoidal

RNG = np.random.default_rng(0)


def tiny(**settings):
    pyops.manual_seed(0)
    return models.transformer_base(**{"vocabulary": 31, "d_model": 16, "nhead": 4, "num_layers": 2,
                                      "dim_feedforward": 24, "dropout": 0.0, "most_positions": 80} | settings)


def test_sines_are_the_papers():
    table = sinusoidal(50, 12)
    for p, i in ((0, 0), (3, 2), (49, 5)):
        assert table[p, 2 * i] == np.sin(p / 10000 ** (2 * i / 12))
        assert table[p, 2 * i + 1] == np.cos(p / 10000 ** (2 * i / 12))


@pytest.mark.parametrize("make, count", [
    (models.transformer_base, 63_082_496), pytest.param(models.transformer_big, 214_245_376, marks=pytest.mark.slow)])
def test_published_sizes(make, count):
    with nn.init.skip_draws():
        assert sum(p.data.size for p in make().parameters()) == count


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_layers_are_torchs(norm_first, batch_first):
    torch = pytest.importorskip("torch")
    how = dict(d_model=16, nhead=4, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=24, dropout=0.0,
               batch_first=batch_first, norm_first=norm_first, activation="gelu")
    theirs = torch.nn.Transformer(**how).double()
    model = nn.Transformer(**how, dtype=np.float64)
    assert list(model.state_dict()) == list(theirs.state_dict())
    model.load_state_dict(theirs.state_dict())
    source, target = RNG.standard_normal((3, 7, 16)), RNG.standard_normal((3, 5, 16))
    padding = np.arange(7) >= np.array([[7], [4], [2]])
    if not batch_first:
        source, target = source.swapaxes(0, 1).copy(), target.swapaxes(0, 1).copy()
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=np.float64)
    assert np.array_equal(causal, torch.nn.Transformer.generate_square_subsequent_mask(5).numpy())
    found = model(source, target, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    masks = dict(tgt_mask=torch.tensor(causal), src_key_padding_mask=torch.tensor(padding),
                 memory_key_padding_mask=torch.tensor(padding))
    wanted = theirs(torch.tensor(source), torch.tensor(target), **masks)
    assert np.abs(found.data - wanted.detach().numpy()).max() <= 1e-12
    g = RNG.standard_normal(found.shape)
    F.sum(F.mul(found, g)).backward()
    (wanted * torch.tensor(g)).sum().backward()
    for name, p in theirs.named_parameters():
        ours = dict(model.named_parameters())[name].grad
        assert np.abs(np.asarray(getattr(ours, "data", ours)) - p.grad.numpy()).max() <= 1e-10, name
    with pytest.raises(ValueError, match="must have one batch size|must have 16 features"):
        model(source[..., :8], target)


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_translator_is_nn_transformer_between_embeddings(norm_first):
    model = tiny(norm_first=norm_first).eval()
    source, target = RNG.integers(0, 31, (3, 9)), RNG.integers(0, 31, (3, 6))
    mask = np.arange(9) < np.array([[9], [5], [2]])

    def embedded(ids):
        return model.embedding.weight.data[ids] * 4 + sinusoidal(ids.shape[1], 16).astype(np.float32)
    causal = nn.Transformer.generate_square_subsequent_mask(6)
    inner = model.transformer(embedded(source), embedded(target), tgt_mask=causal, src_key_padding_mask=~mask,
                              memory_key_padding_mask=~mask)
    wanted = inner.data @ model.embedding.weight.data.T
    assert np.abs(model(source, target, mask).data - wanted).max() <= 1e-5 * np.abs(wanted).max()
    model = model.double()
    model.loss(source, target, mask, label_smoothing=0.1).backward()
    wanted = {name: p.grad.copy() for name, p in model.named_parameters()}
    model.zero_grad()
    begun = np.concatenate([np.zeros((3, 1), np.int64), target[:, :-1]], 1)
    e = [F.add(F.mul(model.embedding(ids), 4.0), np.asarray(model.sines[:ids.shape[1]], np.float64))
         for ids in (source, begun)]
    inner = model.transformer(*e, tgt_mask=causal.astype(np.float64), src_key_padding_mask=~mask,
                              memory_key_padding_mask=~mask)
    scores = F.reshape(F.linear(inner, model.embedding.weight), (-1, 31))
    F.cross_entropy(scores, target.reshape(-1), label_smoothing=0.1).backward()
    for name, p in model.named_parameters():
        assert np.abs(p.grad - wanted[name]).max() <= 1e-10, name


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_over_the_cache_has_the_scores_of_the_whole_text(compiled):
    model = tiny().eval()
    sources = [RNG.integers(0, 31, n) for n in (7, 1, 12)]
    writing, text = Writing(model, sources, 1, compiled), np.zeros((3, 1), np.int64)
    for i in range(70):
        if i % 23 == 0:
            whole = np.stack([model(s[None], row[None]).data[0, -1] for s, row in zip(sources, text)])
            assert np.abs(writing.scores - whole).max() <= 1e-6 * np.abs(whole).max()
        text = np.concatenate([text, RNG.integers(0, 31, (3, 1))], 1)
        writing.read(text[:, -1])


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_as_many_beams_as_texts_find_the_best_of_all(alpha):
    """Every text of up to four tokens, by its probability and the paper's penalty."""
    model = tiny(vocabulary=4, start=3).eval()
    model.embedding.weight.data *= 3
    source, stop, most = [1, 2, 0], 0, 4
    best: tuple[float, tuple] = (-np.inf, ())
    for text in itertools.product((1, 2, 3), repeat=most):
        scores = model(np.array([source]), np.array([[3, *text]])).data[0].astype(np.float64)
        logs = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        for n in range(most + 1):
            p = sum(logs[i, t] for i, t in enumerate(text[:n]))
            length = n
            if n < most:
                p, length = p + logs[n, stop], n + 1
            best = max(best, (p / ((5 + length) / 6) ** alpha, text[:n]))
    found = model.generate([source], most, num_beams=4 ** 3, stop=stop, length_penalty=alpha)
    assert tuple(found[0]) == best[1]


def test_noam_is_the_papers():
    p = nn.Parameter(np.zeros(1, np.float32))
    rule = optim.SGD([p], 2.0)
    schedule = optim.NoamLR(rule, 512, 10)
    for step in range(1, 40):
        assert np.isclose(schedule.get_last_lr()[0], 2 * 512 ** -0.5 * min(step ** -0.5, step * 10 ** -1.5), rtol=1e-12)
        schedule.step()
    with pytest.raises(ValueError, match="NoamLR: d_model and warmup_steps must be positive"):
        optim.NoamLR(rule, 0)


def test_it_learns_to_reverse():
    """Behind a source stands its end; written are its tokens from the last to the first."""
    pyops.manual_seed(0)
    model = tiny(vocabulary=12, d_model=32, dim_feedforward=64, num_layers=1, most_positions=16)
    rule = optim.Adam(model.parameters(), 4e-3)
    rng = np.random.default_rng(1)
    for _ in range(250):
        rule.zero_grad()
        source = rng.integers(2, 12, (32, 5))
        target = np.concatenate([source[:, ::-1], np.ones((32, 1), np.int64)], 1)
        model.loss(source, target).backward()
        rule.step()
    model.eval()
    source = rng.integers(2, 12, (40, 5))
    written = model.generate(source, 8, stop=1)
    assert np.mean([text == row[::-1].tolist() for text, row in zip(written, source)]) >= 0.9


def test_bad_input_is_named():
    model = tiny().eval()
    with pytest.raises(ValueError, match="source has 81 tokens, more than the model's 80 positions"):
        model(np.zeros((1, 81), np.int64), np.zeros((1, 2), np.int64))
    with pytest.raises(ValueError, match="mask must have the shape of ids"):
        model(np.zeros((1, 8), np.int64), np.zeros((1, 2), np.int64), np.ones((1, 7)))
    with pytest.raises(ValueError, match="81 tokens are more than the model's 80 positions"):
        model.generate([[1]], 81)
    with pytest.raises(ValueError, match="start 31 is no token of 31"):
        tiny(start=31)
