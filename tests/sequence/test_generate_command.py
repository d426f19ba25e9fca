"""`pyops generate FOLDER`: a folder with a byte-level BPE of its own, written by transformers' peers."""
import json

import pytest

from pyops import models
from pyops.cli import main

tokenizers = pytest.importorskip("tokenizers")
pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("folder")
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog, é and ü"] * 4, 300,
                                  show_progress=False)
    tokenizer.save(str(path / "tokenizer.json"))
    model = models.gpt2(vocab_size=tokenizer.get_vocab_size(), n_positions=64, n_embd=16, n_layer=1, n_head=2)
    models.save_transformer(model, path)
    return path


def test_it_streams_what_generate_returns(folder, capsys):
    assert main(["generate", str(folder), "--prompt", "the quick", "--length", "20", "--top-k", "1"]) == 0
    out, err = capsys.readouterr()
    model, tokenizer = models.load_transformer(folder), tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    wanted = tokenizer.decode(model.generate(tokenizer.encode("the quick").ids, 20)[0]).rstrip("\ufffd")
    assert out.startswith("the quick" + wanted)
    assert err.startswith("20 tokens, ") and err.endswith("tokens/s\n")


def test_weights_of_fewer_bits_say_what_they_cost(folder, capsys):
    assert main(["generate", str(folder), "--prompt", "the", "--length", "5", "--weights", "int8"]) == 0
    err = capsys.readouterr().err
    error = models.load_transformer(folder).eval().stored_error(
        tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the").ids, "int8")
    assert 0 < error < 0.03 and err.endswith(
        f"weights int8, cache float32: the first scores are off by {error:.2%} of the largest\n")


def test_one_seed_draws_one_text(folder, capsys):
    how = ["generate", str(folder), "--prompt", "the", "--length", "12", "--temperature", "3", "--top-p", "0.9"]
    texts = []
    for seed in ("1", "1", "2"):
        assert main([*how, "--seed", seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_what_does_not_fit_is_one_sentence(folder, tmp_path, capsys):
    def refused(match, *arguments):
        assert main(["generate", *map(str, arguments)]) == 2
        assert match in capsys.readouterr().err
    refused("--prompt must say what the text begins with", folder)
    refused("more than the model's 64 positions", folder, "--prompt", "the", "--length", 64)
    refused("config.json: no such file", tmp_path, "--prompt", "the")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    refused("tokenizer.json: no such file", tmp_path, "--prompt", "the")
    (tmp_path / "tokenizer.json").write_text("{}")
    refused("no tokenizer, or damaged", tmp_path, "--prompt", "the")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    refused("model_type 'mamba'", tmp_path, "--prompt", "the")
