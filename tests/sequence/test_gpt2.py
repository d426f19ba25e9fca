"""GPT-2 against transformers: scores, gradients, generation, folders in every form."""
import json

import numpy as np
import pytest

from pyops import models, nn

peers = pytest.importorskip("transformers_peers")
torch = peers.torch
TINY = dict(vocab_size=97, n_positions=64, n_embd=32, n_layer=3, n_head=4, resid_pdrop=0, embd_pdrop=0,
            attn_pdrop=0, bos_token_id=None, eos_token_id=None)
IDS = np.random.default_rng(0).integers(0, 97, (2, 17))
PROMPTS = [IDS[0, :5].tolist(), IDS[1, :9].tolist(), IDS[0, :1].tolist()]


def gpt2(**settings):
    return peers.peer("GPT2LMHeadModel", "GPT2Config", **TINY | settings)


def continued(theirs, prompt, **how):
    """Their new tokens. The mask is given: without it a prompt's token 0 is taken for padding."""
    ids = torch.tensor([prompt])
    return theirs.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0,
                           **how)[0, len(prompt):].tolist()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    theirs = gpt2()
    return theirs, peers.ours(theirs, tmp_path_factory.mktemp("gpt2"))


@pytest.mark.parametrize("settings", [{}, {"scale_attn_by_inverse_layer_idx": True, "n_inner": 48,
                                           "activation_function": "gelu", "tie_word_embeddings": False}])
def test_scores_and_gradients_are_transformers(settings, tmp_path):
    theirs = gpt2(**settings)
    model = peers.ours(theirs, tmp_path)
    assert set(model.state_dict()) == set(theirs.state_dict())
    peers.close(model(IDS), theirs(torch.tensor(IDS)).logits, 1e-5)
    theirs, model = theirs.double(), model.double()
    scores = theirs(torch.tensor(IDS)).logits
    loss = torch.nn.functional.cross_entropy(scores[:, :-1].reshape(-1, 97), torch.tensor(IDS[:, 1:]).reshape(-1))
    peers.same_gradients(model, theirs, model.loss(IDS), loss)


def test_published_sizes():
    with nn.init.skip_draws():
        for make, count in ((models.gpt2, 124_439_808), (models.gpt2_medium, 354_823_168)):
            assert sum(p.data.size for p in make().parameters()) == count


@pytest.mark.parametrize("compiled", [False, True])
def test_ragged_prompts_continue_as_transformers_continues_each(pair, compiled):
    theirs, model = pair
    wanted = [continued(theirs, p, max_new_tokens=24) for p in PROMPTS]
    assert model.generate(PROMPTS, 24, compiled=compiled) == wanted
    # two tokens and more entries than the cache begins with
    assert model.generate(PROMPTS[0], 59, compiled=compiled)[0][:24] == wanted[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_over_the_cache_has_the_scores_of_the_whole_text(pair, compiled):
    from pyops.models.sequence.causal import Reading
    model = pair[1]
    reading = Reading(model, [np.array(p) for p in PROMPTS], 1, compiled)
    texts = [list(p) for p in PROMPTS]
    for i in range(20):
        whole = np.stack([model(np.array([text])).data[0, -1] for text in texts])
        assert np.abs(reading.scores - whole).max() <= 1e-6 * np.abs(whole).max()
        tokens = np.array([(7 * i + row) % 97 for row in range(len(texts))])
        for text, token in zip(texts, tokens):
            text.append(int(token))
        reading.read(tokens)


def test_beams_are_transformers(pair):
    theirs, model = pair
    wanted = [continued(theirs, p, max_new_tokens=12, num_beams=4, length_penalty=0.0) for p in PROMPTS]
    assert model.generate(PROMPTS, 12, num_beams=4) == wanted


def test_repeated_tokens_are_penalised_as_transformers_does(pair):
    theirs, model = pair
    for penalty in (1.5, 0.8):
        wanted = [continued(theirs, p, max_new_tokens=16, repetition_penalty=penalty) for p in PROMPTS]
        assert model.generate(PROMPTS, 16, repetition_penalty=penalty) == wanted
    for how, why in (({"num_beams": 2}, "leave out num_beams"), ({"repetition_penalty": 0.0}, "positive and finite")):
        with pytest.raises(ValueError, match=why):
            model.generate(PROMPTS, 2, **{"repetition_penalty": 1.5} | how)


def test_draws_follow_the_seed_and_the_limits(pair):
    model = pair[1]
    drawn = model.generate(PROMPTS, 10, temperature=1.5, seed=3)
    assert drawn == model.generate(PROMPTS, 10, temperature=1.5, seed=3)
    assert drawn != model.generate(PROMPTS, 10, temperature=1.5, seed=4)
    likeliest = model.generate(PROMPTS, 10)
    assert model.generate(PROMPTS, 10, temperature=1.5, top_k=1) == likeliest
    assert model.generate(PROMPTS, 10, temperature=1.5, top_p=1e-9) == likeliest
    seen = []
    assert model.generate(PROMPTS, 10, stream=lambda row, token: seen.append((row, token))) == likeliest
    assert [token for row, token in seen if row == 1] == likeliest[1]
    # a stop token ends one text, and the others go on as they would
    stopped = model.generate(PROMPTS, 10, stop=likeliest[0][4])
    for found, whole in zip(stopped, likeliest):
        assert found == whole[:whole.index(likeliest[0][4])] if likeliest[0][4] in whole else found == whole


@pytest.mark.parametrize("how", [{}, {"temperature": 1.0}, {"num_beams": 2}])
def test_scores_that_are_not_finite_are_named(how, tmp_path):
    model = peers.ours(gpt2(), tmp_path)
    model.transformer.ln_f.bias.data[3] = np.nan
    with pytest.raises(ValueError, match="a score is not finite"):
        model.generate(PROMPTS, 3, **how)


def test_programs_follow_the_weights(tmp_path):
    model = peers.ours(gpt2(), tmp_path)
    model.generate(PROMPTS, 5)
    model.transformer.wte.weight.data[PROMPTS[0][2]] *= -3   # one row, as a step of sparse gradients
    assert model.generate(PROMPTS, 12) == model.generate(PROMPTS, 12, compiled=False)


def test_a_saved_folder_is_transformers(pair, tmp_path):
    theirs, model = pair
    models.save_transformer(model, tmp_path)
    again = peers.transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(again) is type(theirs)
    assert torch.equal(again(torch.tensor(IDS)).logits, theirs(torch.tensor(IDS)).logits)


def test_shards_and_pickles_and_bare_trunks_are_read(pair, tmp_path):
    theirs, model = pair
    wanted = model(IDS).data
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert np.array_equal(models.load_transformer(tmp_path / "shards")(IDS).data, wanted)
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle/config.json").write_bytes((tmp_path / "shards/config.json").read_bytes())
    # as the published files: no prefix, no head, masks
    bare = {k.removeprefix("transformer."): v for k, v in theirs.state_dict().items() if k != "lm_head.weight"}
    bare |= {"h.0.attn.bias": torch.ones(1, 1, 64, 64), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    torch.save(bare, tmp_path / "pickle/pytorch_model.bin")
    assert np.array_equal(models.load_transformer(tmp_path / "pickle")(IDS).data, wanted)


def test_what_does_not_fit_is_named(pair, tmp_path):
    theirs, model = pair
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    weights = (tmp_path / "model.safetensors").read_bytes()

    def refused(match, error=ValueError, **changed):
        (tmp_path / "config.json").write_text(json.dumps(config | changed))
        with pytest.raises(error, match=match):
            models.load_transformer(tmp_path)
    refused("model_type 'bort'; families that can be read are", model_type="bort")
    refused("no architecture 'GPT2DoubleHeadsModel' of gpt2", architectures=["GPT2DoubleHeadsModel"])
    refused("n_layer must be a positive whole number, got 0", n_layer=0)
    refused("n_embd 32 must be a multiple of n_head 5", n_head=5)
    refused("is of model_type \\['gpt2'\\]", model_type=["gpt2"])
    refused("no architecture 5 of gpt2", architectures=[5])
    refused("n_layer must be int, got 1.5", n_layer=1.5)
    refused("layer_norm_epsilon must be float, got 'tiny'", layer_norm_epsilon="tiny")
    refused("activation must be one of gelu", activation_function="softest")
    refused("n_layer 1000000000 is more than weights of 40 arrays", n_layer=10 ** 9)
    refused("n_positions 1000000 is more than weights", n_positions=10 ** 6)
    refused("n_inner 1000000000000 is more than weights", n_inner=10 ** 12)
    refused("(?s)does not fit|beyond the memory", n_embd=100_000, n_inner=100_000)
    refused("quantization_config is not supported", quantization_config={"bits": 4})
    refused("attn_pdrop must be a share from 0 to 1, got 2.0", attn_pdrop=2.0)
    refused("layer_norm_epsilon must not be negative, got -1.0", layer_norm_epsilon=-1.0)
    refused("add_cross_attention True is not supported", add_cross_attention=True)
    refused(r"(?s)29 of its 41 arrays match.*unexpected: transformer.h.2", n_layer=2)
    refused(r"(?s)missing: transformer.h.3.ln_1.weight", n_layer=4)
    refused(r"wte.weight has shape \(97, 32\), the module's is \(98, 32\)", vocab_size=98)
    (tmp_path / "model.safetensors").write_bytes(weights[:-100])
    refused("not a safetensors file, or a damaged one")
    (tmp_path / "model.safetensors").unlink()
    refused("no weights; there must be one of", FileNotFoundError)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}')
    refused("weight_map must map names of arrays to files beside it")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON, or damaged"):
        models.load_transformer(tmp_path)


@pytest.mark.parametrize("arguments, match", [
    (([[]], 5), "prompt 0 must be a row of at least one token"), (([], 5), "there is no prompt"),
    (([[1, 97]], 5), "whole numbers from 0 to 96, got int64 from 1 to 97"),
    (([[1.5]], 5), "whole numbers from 0 to 96, got float64"),
    (([[1] * 60], 5), "prompt 0 of 60 tokens and 5 new ones are more than the model's 64 positions"),
    (([[1]], 0), "max_new_tokens must be a positive"), (([[1]], 5, -1.0), "temperature must be positive"),
    (([[1]], 5, 1.0, 0), "top_k must be at least 1"), (([[1]], 5, 1.0, None, 0.0), r"top_p must be in \(0, 1\]"),
    (([[1]], 5, 0.0, None, None, 0), "num_beams must be a positive"),
    (([[1]], 5, 1.0, None, None, 2), "leave out temperature"), ((1, 5), "ids must be a list of prompts, got int"),
    (("abc", 5), "prompt 0 must be a row"), (([[1]], 5, 0.0, None, None, 1, [1.5]), "stop must be whole numbers"),
])
def test_generate_refuses_by_name(pair, arguments, match):
    with pytest.raises(ValueError, match=match):
        pair[1].generate(*arguments)
    with pytest.raises(ValueError, match="65 tokens are more than the model's 64 positions"):
        pair[1](np.zeros((1, 65), np.int64))


@pytest.mark.parametrize("name", ["quick_gelu", "gelu_fast", "gelu_10", "mish", "relu2", "leaky_relu", "sigmoid",
                                  "linear", "relu6", "gelu_accurate", "gelu_python_tanh"])
def test_activations_are_transformers(name, tmp_path):
    theirs = gpt2(activation_function=name, n_layer=1)
    peers.close(peers.ours(theirs, tmp_path)(IDS), theirs(torch.tensor(IDS)).logits, 1e-5)


def test_other_names_of_settings_are_read(pair, tmp_path):
    """transformers takes those of most families for GPT-2's own."""
    theirs, model = pair
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for other, own in models.GPT2Configuration.ALIASES.items():
        config[other] = config.pop(own)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert np.array_equal(models.load_transformer(tmp_path)(IDS).data, model(IDS).data)
