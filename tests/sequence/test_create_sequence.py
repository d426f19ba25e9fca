"""create_model of Transformers: names, settings, folders."""
import numpy as np
import pytest

import pyops
from pyops import models, nn
from pyops.cli import main
from pyops.models.registry import NETWORKS

SMALL = dict(n_embd=16, n_layer=2, n_head=2, vocab_size=31, n_positions=24)
IDS = np.random.default_rng(0).integers(0, 31, (2, 7))
NAMES = models.list_models(task="sequence")


def test_every_family_is_there():
    assert {"gpt2", "gpt2_xl", "gpt3_small", "gpt3_175b", "pythia_14m", "pythia_12b", "gpt_neox_20b", "bert_base",
            "bert_large", "distilbert", "t5_small", "t5_3b", "transformer_base", "transformer_big"} <= set(NAMES)
    assert len(NAMES) == len([n for n in NAMES if not NETWORKS[n].image])


@pytest.mark.parametrize("name", [n for n in NAMES if NETWORKS[n].published and NETWORKS[n].published < 4e8])
def test_published_sizes(name):
    with nn.init.skip_draws():
        assert sum(p.size for p in models.create_model(name).parameters()) == NETWORKS[name].published


def test_settings_are_of_the_configuration():
    pyops.manual_seed(0)
    model = models.create_model("gpt3_small", **SMALL, band=3)
    pyops.manual_seed(0)
    wanted = models.gpt3("small", **SMALL, band=3)
    assert type(model) is models.GPT3 and model.training and model.config == wanted.config
    assert np.array_equal(model.eval()(IDS).data, wanted.eval()(IDS).data)
    bert = models.create_model("bert_base", classes=5, head=models.BertForSequences, vocab_size=31, hidden_size=16,
                               num_attention_heads=2, num_hidden_layers=1, intermediate_size=24)
    assert bert.eval()(IDS).shape == (2, 5)
    neox = models.create_model("pythia_14m", rope_scaling={"rope_type": "linear", "factor": 2.0}, vocab_size=31)
    assert neox.most_positions == 4096
    translator = models.create_model("transformer_base", vocabulary=31, d_model=16, nhead=2, num_layers=1)
    assert translator.vocabulary == 31


def test_a_folder_of_that_size(tmp_path):
    pyops.manual_seed(0)
    model = models.pythia("14m", vocab_size=31).eval()
    models.save_transformer(model, tmp_path)
    again = models.create_model("pythia_14m", weights=tmp_path)
    assert again.training and np.array_equal(again.eval()(IDS).data, model(IDS).data)
    with pytest.raises(ValueError, match="is no pythia_31m: its hidden_size is 128, not 256"):
        models.create_model("pythia_31m", weights=tmp_path)
    with pytest.raises(ValueError, match="is of gpt_neox, not gpt2"):
        models.create_model("gpt2", weights=tmp_path)
    with pytest.raises(ValueError, match="config.json says the settings; leave out vocab_size"):
        models.create_model("pythia_14m", weights=tmp_path, vocab_size=31)
    with pytest.raises(FileNotFoundError, match="config.json"):
        models.create_model("pythia_14m", weights=tmp_path / "none")
    with pytest.raises(ValueError, match="transformer_base has no folders"):
        models.create_model("transformer_base", weights=tmp_path)


def test_a_folder_with_another_head(tmp_path):
    settings = dict(vocab_size=31, dim=16, n_heads=2, hidden_dim=24)
    models.save_transformer(models.distilbert(**settings), tmp_path)
    with pytest.raises(ValueError, match="is no distilbert: its n_heads is 2, not 12"):
        models.create_model("distilbert", weights=tmp_path)
    with pytest.raises(ValueError, match="head must be one of DistilBertForMaskedWords, .*, got 'tokens'"):
        models.create_model("distilbert", weights=tmp_path, head="tokens")


@pytest.mark.parametrize("name, given, error, said", [
    ("gpt2", {"n_embed": 8}, TypeError, "gpt2 has no setting n_embed; did you mean n_embd"),
    ("gpt2", {"band": 8}, TypeError, "gpt2 has no setting band"),
    ("gpt2", {"classes": 8}, ValueError, "has no classes"),
    ("gpt2", {"pooling": "avg"}, ValueError, "gpt2 is of sequence; include_top, pooling"),
    ("gpt3_small", {"size": "xl"}, TypeError, "gpt3_small has no setting size"),
    ("bert_base", {"classes": 0}, ValueError, "classes must be a positive int"),
    ("gpt2", {"n_head": 5}, ValueError, "n_embd 768 must be a multiple of n_head 5"),
    ("gpt5", {}, ValueError, "no model is called 'gpt5'; did you mean gpt")])
def test_refusals(name, given, error, said):
    with pytest.raises(error, match=said):
        models.create_model(name, **given)


def test_it_is_not_drawn(capsys):
    assert main(["draw", "gpt2"]) == 2
    assert "gpt2 reads tokens" in capsys.readouterr().err
