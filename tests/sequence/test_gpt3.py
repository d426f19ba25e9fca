"""The table of GPT-3's sizes: counted as the paper says, and as the networks are. Its bands, against
masks and against GPT-Neo at transformers, which has such layers."""
import numpy as np
import pytest

import pyops
from pyops import functional as F, models, nn
from pyops.models.sequence.banded import banded_attention

RNG = np.random.default_rng(0)


def test_counts_are_of_the_networks():
    with nn.init.skip_draws():
        made = sum(p.data.size for p in models.gpt3("small").parameters())
    assert models.gpt3_parameters("small") == made


@pytest.mark.parametrize("size, published", [("small", 125e6), ("medium", 350e6), ("large", 760e6), ("xl", 1.3e9),
                                             ("2.7b", 2.7e9), ("6.7b", 6.7e9), ("13b", 13e9), ("175b", 175e9)])
def test_counts_are_the_papers(size, published):
    assert abs(models.gpt3_parameters(size) / published - 1) < 0.02


def test_an_unknown_size():
    with pytest.raises(ValueError, match="gpt3: size must be one of small"):
        models.gpt3("ada")


@pytest.mark.parametrize("dropout", [0.0, 1e-15])   # none; so little that no weight is dropped
@pytest.mark.parametrize("tokens", [3, 4, 5, 8, 21])
def test_a_band_is_a_mask(tokens, dropout):
    q, k, v, g = (RNG.standard_normal((2, 3, tokens, 6)) for _ in range(4))
    distance = np.arange(tokens)[:, None] - np.arange(tokens)
    mask = (distance >= 0) & (distance < 4)

    def run(attend):
        given = [pyops.Tensor(x, requires_grad=True) for x in (q, k, v)]
        y = attend(*given)
        F.sum(F.mul(y, g)).backward()
        return [y.data, *(np.asarray(x.grad.data) for x in given)]
    for a, b in zip(run(lambda *x: banded_attention(*x, 4, dropout)),
                    run(lambda *x: F.scaled_dot_product_attention(*x, mask))):
        assert np.abs(a - b).max() <= 1e-13


def test_scores_gradients_and_texts_are_gpt_neos(tmp_path):
    peers = pytest.importorskip("transformers_peers")
    torch = peers.torch
    theirs = peers.peer("GPTNeoForCausalLM", "GPTNeoConfig", vocab_size=97, hidden_size=32, num_layers=4, num_heads=4,
                        attention_types=[[["global", "local"], 2]], window_size=5, max_position_embeddings=64,
                        embed_dropout=0.0, resid_dropout=0.0, attention_dropout=0.0, bos_token_id=None,
                        eos_token_id=None)
    model = models.gpt3("small", vocab_size=97, n_embd=32, n_layer=4, n_head=4, n_positions=64, band=5,
                        scale_attn_weights=False, embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0)
    given = {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    state = model.state_dict()
    for name in state:
        old = name.replace(".attn.c_proj", ".attn.attention.out_proj")
        if "c_attn.weight" in name:   # theirs has three, without biases
            state[name] = np.concatenate([given[name.replace("c_attn", f"attention.{part}_proj")].T
                                          for part in "qkv"], 1)
        elif "c_attn.bias" in name:
            state[name] = np.zeros_like(state[name])
        else:
            turned = given[old].ndim == 2 and ("mlp" in name or "out_proj" in old)
            state[name] = given[old].T if turned else given[old]
    model.load_state_dict(state)
    model.eval()
    ids = RNG.integers(0, 97, (2, 23))
    peers.close(model(ids), theirs(torch.tensor(ids)).logits, 1e-5)
    program = pyops.compile(model, (ids,))
    peers.close(program(ids), theirs(torch.tensor(ids)).logits, 1e-5)
    texts = model.generate(ids[:, :9], 14)
    wanted = theirs.generate(torch.tensor(ids[:, :9]), max_new_tokens=14, do_sample=False, pad_token_id=0)[:, 9:]
    assert texts == wanted.tolist() == model.generate(ids[:, :9], 14, compiled=False)
    theirs, model = theirs.double(), model.double()
    loss = model.loss(ids)
    their_loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(ids)).logits[:, :-1].flatten(0, 1),
                                                   torch.tensor(ids[:, 1:]).flatten())
    assert abs(loss.item() - their_loss.item()) <= 1e-6 * their_loss.item()   # their scores are float32 inside
    loss.backward()
    their_loss.backward()
    wanted = theirs.transformer.wpe.weight.grad.numpy()
    assert np.abs(np.asarray(model.transformer.wpe.weight.grad.data) - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_folder_is_not_taken_for_a_dense_one(tmp_path):
    pyops.manual_seed(0)
    model = models.gpt3("small", vocab_size=31, n_embd=16, n_layer=2, n_head=2, n_positions=40, band=3).eval()
    models.save_transformer(model, tmp_path)
    again = models.load_transformer(tmp_path)
    ids = RNG.integers(0, 31, (1, 30))
    assert type(again) is models.GPT3 and again.config.band == 3
    assert np.array_equal(again(ids).data, model(ids).data)
    dense = models.gpt3("small", vocab_size=31, n_embd=16, n_layer=2, n_head=2, n_positions=40, band=None).eval()
    dense.load_state_dict(model.state_dict())
    assert np.abs(dense(ids).data - again(ids).data)[:, 5:].max() > 1e-3
    assert np.abs(dense(ids).data - again(ids).data)[:, :3].max() <= 1e-6
    with pytest.raises(ValueError, match="gpt3: band must be at least 2, or None, got 1"):
        models.GPT3Configuration(band=1)
