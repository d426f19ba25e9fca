"""Attention maps against those that transformers gives out."""
import numpy as np
import pytest

import pyops
from pyops import models, nn
from pyops.cli import main
from pyops.inspect import AttentionMap, attention_maps, draw_attention

RNG = np.random.default_rng(0)
IDS, TARGET = RNG.integers(2, 97, (2, 9)), RNG.integers(2, 97, (2, 6))
MASK = (np.arange(9) < np.array([[9], [5]])).astype(np.int64)


def same(maps, kind, wanted, rows=slice(None)):
    found = [m for m in maps if m.kind == kind]
    assert [m.layer for m in found] == list(range(len(wanted)))
    for one, theirs in zip(found, wanted):
        assert one.weights.shape == theirs.shape
        assert np.abs(one.weights - theirs.detach().numpy())[:, :, rows].max() <= 1e-6


def pair(tmp_path, model, config, **settings):
    peers = pytest.importorskip("transformers_peers")
    theirs = peers.peer(model, config, **settings)
    ours = peers.ours(theirs, tmp_path)
    theirs.set_attn_implementation("eager")   # the others keep no weights
    return peers.torch, theirs, ours


def test_bert(tmp_path):
    torch, theirs, model = pair(tmp_path, "BertForMaskedLM", "BertConfig", vocab_size=97, hidden_size=32,
                                num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    wanted = theirs(torch.tensor(IDS), torch.tensor(MASK), output_attentions=True).attentions
    maps = attention_maps(model, IDS, None, MASK)
    same(maps, "self", wanted)
    assert len(maps) == 2 and not maps[0].weights[1, :, :, 5:].any()


def test_gpt2(tmp_path):
    torch, theirs, model = pair(tmp_path, "GPT2LMHeadModel", "GPT2Config", vocab_size=97, n_embd=32, n_layer=3,
                                n_head=2, n_positions=24)
    same(attention_maps(model, IDS), "causal", theirs(torch.tensor(IDS), output_attentions=True).attentions)


def test_t5(tmp_path):
    torch, theirs, model = pair(tmp_path, "T5ForConditionalGeneration", "T5Config", vocab_size=97, d_model=32, d_kv=8,
                                d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)
    given = dict(input_ids=torch.tensor(IDS), attention_mask=torch.tensor(MASK), decoder_input_ids=torch.tensor(TARGET))
    wanted = theirs(**given, output_attentions=True)
    maps = attention_maps(model, IDS, TARGET, MASK)
    same(maps, "self", wanted.encoder_attentions)
    same(maps, "causal", wanted.decoder_attentions)
    same(maps, "cross", wanted.cross_attentions)


def test_a_picture_has_a_cell_for_each_head(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    model = models.Translator(20, 16, 4, 2, 24, most_positions=16)
    maps = attention_maps(model, IDS % 20, TARGET % 20)
    assert model.training   # as it was
    assert [m.kind for m in maps] == ["self"] * 2 + ["causal", "cross"] * 2
    for one in maps:
        assert np.abs(one.weights.sum(-1) - 1).max() <= 1e-6
    words = [f"${i}" for i in range(9)]   # which is no formula
    cross = [m for m in maps if m.kind == "cross"]
    dark = []
    for looked in (0, 2):   # of each query's nine keys
        weights = np.zeros((2, 4, 6, 9), np.float32)
        weights[1, ..., :looked] = 1
        draw_attention(tmp_path / "cross.png", [AttentionMap(0, "cross", weights)], words[:6], words, 1, "cross")
        pixels = np.asarray(image.open(tmp_path / "cross.png").convert("RGB")).astype(int)
        dark.append(int((pixels[..., 2] - pixels[..., 0] > 60).sum()))
    cells = (pixels.min(-1) < 250).sum()   # of any blue
    assert not dark[0] and abs(dark[1] / cells - 2 / 9) < 0.03
    with pytest.raises(ValueError, match="6 and 6 labels do not fit maps of .6, 9., .6, 9."):
        draw_attention(tmp_path / "no.png", cross, words[:6])


def test_a_network_without_attention_is_refused():
    with pytest.raises(ValueError, match="Linear calls no scaled_dot_product_attention"):
        attention_maps(nn.Linear(2, 2), np.ones((1, 2), np.float32))


def folder(path, model):
    tokenizers = pytest.importorskip("tokenizers")
    models.save_transformer(model, path)
    words = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate("abcdefgh$ ")}, []))
    words.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("name, kinds", [("gpt2", {"causal"}), ("bert", {"self"}), ("t5", {"self", "causal", "cross"})])
def test_the_command_draws_a_folders_heads(name, kinds, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pyops.manual_seed(0)
    model = {"gpt2": lambda: models.gpt2(vocab_size=10, n_embd=8, n_layer=2, n_head=2, n_positions=80),
             "bert": lambda: models.bert_base(models.BertForMaskedWords, vocab_size=10, hidden_size=8,
                                              num_hidden_layers=1, num_attention_heads=2, intermediate_size=8),
             "t5": lambda: models.t5_small(vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)}[name]()
    where = folder(tmp_path / "model", model)
    command = ["inspect", str(where), "--text", "abc $ d", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"attention-{kind}.png" for kind in kinds}
    capsys.readouterr()
    assert main([*command, "--target-text", "ab"]) == (0 if name == "t5" else 2)
    assert (name == "t5") == ("--target-text is for encoder-decoders" not in capsys.readouterr().err)


@pytest.mark.parametrize("options, said", [
    ([], "--text must say what the network shall read"), (["--text", "xyz"], "--text: the tokenizer finds no token"),
    (["--text", "a", "--target-text", "b"], "not for GPT2")])
def test_the_command_refuses(options, said, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    where = folder(tmp_path / "model", models.gpt2(vocab_size=10, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    assert main(["inspect", str(where), *options, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
