"""GPT-NeoX and the sizes of Pythia against transformers; rotary positions against complex numbers."""
import numpy as np
import pytest

import pyops
from pyops import functional as F, models
from pyops.models.sequence.causal import Reading
from pyops.models.sequence.rope import Rope

IDS = np.random.default_rng(0).integers(0, 97, (2, 17))
TINY = dict(vocab_size=97, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=64, bos_token_id=None, eos_token_id=None)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("turned", [4, 6, 10])
def test_rotary_embedding_multiplies_by_a_complex_number(interleaved, turned):
    x = np.random.default_rng(1).standard_normal((2, 3, 5, 10))
    cos, sin = Rope(5).tables(turned, 100.0, 5)
    half = turned // 2
    order = (np.arange(turned).reshape(half, 2) if interleaved else np.arange(turned).reshape(2, half).T)
    z = (x[..., order[:, 0]] + 1j * x[..., order[:, 1]]) * np.exp(
        1j * np.arange(5)[:, None] * 100.0 ** (-2 * np.arange(half) / turned))
    wanted = x.copy()
    wanted[..., order[:, 0]], wanted[..., order[:, 1]] = z.real, z.imag
    assert np.abs(F.rotary_embedding(x, cos, sin, interleaved) - wanted).max() <= 1e-14
    # it turns, so the gradient is turned back
    g = np.random.default_rng(2).standard_normal(x.shape)
    t = pyops.Tensor(x, requires_grad=True)
    F.sum(F.mul(F.rotary_embedding(t, cos, sin, interleaved), g)).backward()
    assert np.abs(np.asarray(t.grad.data) - F.rotary_embedding(g, cos, -sin, interleaved)).max() <= 1e-14
    small = tuple(a.astype(np.float32) for a in (x, cos, sin))
    program = pyops.compile(lambda *a: F.rotary_embedding(*a, interleaved), small)
    assert np.array_equal(program(*small), F.rotary_embedding(*small, interleaved))


def test_rotary_embedding_refuses_by_name():
    with pytest.raises(ValueError, match="rotary_embedding: cos .* for at most half of the features"):
        F.rotary_embedding(np.zeros((2, 4)), np.zeros((2, 3)), np.zeros((2, 3)))


def test_published_sizes():
    from pyops import nn
    with nn.init.skip_draws():
        counts = {size: sum(p.data.size for p in models.pythia(size).parameters()) for size in ("14m", "70m", "160m")}
    assert counts == {"14m": 14_067_712, "70m": 70_426_624, "160m": 162_322_944}
    with pytest.raises(ValueError, match="size must be one of 14m"):
        models.pythia("3b")


@pytest.mark.parametrize("settings", [{}, {"use_parallel_residual": False, "rope_parameters": {
    "rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0}}])
def test_scores_gradients_and_texts_are_transformers(settings, tmp_path):
    peers = pytest.importorskip("transformers_peers")
    torch = peers.torch
    theirs = peers.peer("GPTNeoXForCausalLM", "GPTNeoXConfig", **TINY | settings)
    model = peers.ours(theirs, tmp_path)
    # files say embed_out, the class of today lm_head
    assert {k.replace("embed_out", "lm_head") for k in model.state_dict()} == set(theirs.state_dict())
    peers.close(model(IDS), theirs(torch.tensor(IDS)).logits, 1e-5)
    # a step over the cache, compiled and not
    prompts = [IDS[0, :5], IDS[1, :9]]
    for compiled in (False, True):
        reading = Reading(model, prompts, 1, compiled)
        reading.read(np.array([3, 4]))
        reading.read(np.array([5, 6]))
        whole = np.stack([model(np.array([[*p, a, b]])).data[0, -1] for p, a, b in zip(prompts, (3, 4), (5, 6))])
        assert np.abs(reading.scores - whole).max() <= 1e-6 * np.abs(whole).max()
    models.save_transformer(model, tmp_path / "saved")
    again = peers.transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    peers.close(again(torch.tensor(IDS)).logits.detach().numpy(), theirs(torch.tensor(IDS)).logits, 1e-6)
    theirs, model = theirs.double(), model.double()
    scores = theirs(torch.tensor(IDS)).logits
    loss = torch.nn.functional.cross_entropy(scores[:, :-1].reshape(-1, 97), torch.tensor(IDS[:, 1:]).reshape(-1))
    peers.same_gradients(model, theirs, model.loss(IDS), loss, same_loss=1e-7,   # their angles are float32
                         rename=("embed_out", "lm_head"))


def test_other_turns_are_refused():
    from pyops.models import GPTNeoXConfiguration
    with pytest.raises(ValueError, match="rope_type 'longrope' is not supported"):
        GPTNeoXConfiguration.from_json({"rope_parameters": {"rope_type": "longrope"}})
    with pytest.raises(ValueError, match="rope_parameters must be an object, got 5"):
        GPTNeoXConfiguration.from_json({"rope_parameters": 5})


# of 16 features; texts are longer than the 64 positions of training, too
SCALED = [{"rope_type": "linear", "factor": 2.5}, {"rope_type": "dynamic", "factor": 3.0},
          {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
          {"rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": 64, "low_freq_factor": 1.0,
           "high_freq_factor": 4.0},
          {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 4.0,
           "beta_slow": 0.5, "truncate": False},
          {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 64, "attention_factor": 1.3},
          {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 64, "mscale": 0.7,
           "mscale_all_dim": 1.2}]


@pytest.mark.parametrize("scaling", SCALED, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_longer_texts_are_transformers(scaling, tmp_path):
    peers = pytest.importorskip("transformers_peers")
    settings = TINY | {"hidden_size": 64, "rope_parameters": scaling | {"rope_theta": 1000.0,
                                                                        "partial_rotary_factor": 1.0}}
    theirs = peers.peer("GPTNeoXForCausalLM", "GPTNeoXConfig", **settings)
    model = peers.ours(theirs, tmp_path)
    for length in (130, 40, 64):   # a long one first, after which dynamic ones are as they were
        ids = np.random.default_rng(length).integers(0, 97, (2, length))
        peers.close(model(ids), theirs(peers.torch.tensor(ids)).logits, 1e-5)
    models.save_transformer(model, tmp_path / "saved")
    again = models.load_transformer(tmp_path / "saved")
    ids = np.random.default_rng(9).integers(0, 97, (1, 150))
    assert np.array_equal(again(ids).data, model(ids).data)
    theirs = peers.transformers.GPTNeoXForCausalLM.from_pretrained(tmp_path / "saved").eval()
    peers.close(model(ids), theirs(peers.torch.tensor(ids)).logits, 1e-5)
    longest = model.most_positions
    assert longest == (64 if scaling["rope_type"] == "dynamic" else int(64 * scaling["factor"]))
    prompt = ids[0, :20].tolist()
    with pytest.raises(ValueError, match=f"more than the model's {longest} positions"):
        model.generate(prompt, longest)
    assert len(model.generate(prompt, 6, compiled=False)[0]) == 6


@pytest.mark.parametrize("scaling, said", [
    ({"rope_type": "llama3", "factor": 2.0}, "'llama3' needs factor, low_freq_factor"),
    ({"rope_type": "llama3", "factor": 2.0, "original_max_position_embeddings": 9, "low_freq_factor": 4.0,
      "high_freq_factor": 4.0}, "must be positive and below"),
    ({"type": "linear"}, "'linear' needs a factor"), ({"rope_type": "yarn", "factor": 0.5}, "factor must be a number"),
    ({"rope_type": "linear", "factor": "2"}, "factor must be a number from 1"),
    ({"rope_type": "yarn", "factor": 2.0, "beta_fast": 0.5}, "beta_fast the larger"),
    ({"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 0}, "must be a positive whole number"),
    ({"rope_type": "yarn", "factor": 2.0, "truncate": 1}, "truncate must be true or false")])
def test_scaling_is_refused_by_name(scaling, said):
    with pytest.raises(ValueError, match="gpt_neox: .*" + said):
        models.GPTNeoXConfiguration(rope_scaling=scaling)


def test_turns_out_of_range_are_refused():
    for settings in ({"rotary_pct": 0.0}, {"rotary_pct": 1.5}, {"rotary_pct": 0.01}, {"rotary_emb_base": 1.0}):
        with pytest.raises(ValueError, match="gpt_neox: rotary_pct .* must be a share of a head's 96 features"):
            models.GPTNeoXConfiguration(**settings)
