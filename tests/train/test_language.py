"""pyops train gpt, recall and masked-lm: their data, what they measure, write and refuse."""
import itertools
import json
import re

import numpy as np
import pytest

import pyops
from pyops import functional as F, models
from pyops.cli import main
from pyops.text import Characters
from pyops.train.language import characters, equal, loop, masked, recall

TEXT = "".join(f"line {i}: the quick brown fox jumps over {i * i} dogs\n" for i in range(400))
RNG = np.random.default_rng(0)


def gpt(vocabulary, positions, **settings):
    pyops.manual_seed(0)
    return models.gpt2(**{"vocab_size": vocabulary, "n_positions": positions, "n_embd": 16, "n_layer": 1, "n_head": 2,
                          "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0} | settings).eval()


@pytest.fixture
def packages():
    for package in ("tokenizers", "matplotlib", "safetensors"):
        pytest.importorskip(package)


def test_two_trainings_take_turns():
    order = []

    def training(name, **limit):
        pyops.manual_seed(0)
        model = pyops.nn.Linear(2, 1)

        def loss(x):
            order.append(name)
            y = model(x)
            return F.mean(F.mul(y, y))
        return loop.Teaching(model, itertools.repeat(np.ones((4, 2), np.float32)), loss, **limit)
    both = training("a", steps=5), training("b", steps=9)
    loop.together(*both)
    assert [order.count("a"), order.count("b")] == [5, 9] and [t.step for t in both] == [5, 9]
    assert set(order[:4]) == {"a", "b"}   # neither waits for the other's end
    assert all(not t.model.training for t in both)


def test_an_lstm_has_as_many_parameters():
    for width in (16, 48):
        model = gpt(50, 32, n_embd=width)
        for layers in (1, 2):
            own = equal.lstm_like(model, 50, layers)
            assert abs(equal.count(own) / equal.count(model) - 1) < 0.05
            for step in (-1, 1):   # no other width is nearer
                other = models.char_rnn(50, "lstm", own.head.weight.shape[1] + step, layers)
                assert abs(equal.count(other) - equal.count(model)) >= abs(equal.count(own) - equal.count(model))


def test_both_are_asked_for_the_same_characters():
    """By a loop over single characters in float64."""
    numbers = RNG.integers(0, 7, 103)
    context, half = 10, 5
    places = [i for begin in range(0, 103 - context, half) for i in range(begin + half, begin + context)]
    assert places == list(range(places[0], places[-1] + 1))

    def nats(scores, wanted):
        return float(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[wanted])
    model = gpt(7, context).double()
    wanted = [nats(model(numbers[None, begin:i + 1]).data[0, -1], numbers[i + 1])
              for begin in range(0, 103 - context, half) for i in range(begin + half, begin + context)]
    assert characters.gpt_nats(model, numbers, context, 3) == pytest.approx(np.mean(wanted), rel=1e-9)
    lstm = models.char_rnn(7, "lstm", 8, 1).double().eval()
    scores = lstm(numbers[None])[0].data[0]
    assert characters.lstm_nats(lstm, numbers, context) == pytest.approx(
        np.mean([nats(scores[i], numbers[i + 1]) for i in places]), rel=1e-9)


def test_texts_of_recall():
    ids, wanted = recall.texts(9, 5, np.random.default_rng(0))
    assert ids.shape == (5, 2 * recall.KEPT + 9) and (ids[:, :recall.KEPT] == wanted).all()
    assert (ids[:, -recall.KEPT:] == np.arange(recall.SYMBOLS, recall.VOCABULARY)).all()
    drawn = [next(recall.batches(63, 1, generator))[0].shape[1] - 2 * recall.KEPT
             for generator in map(np.random.default_rng, range(600))]
    assert min(drawn) == 0 and max(drawn) <= 63
    assert np.mean(np.array(drawn) < 7) == pytest.approx(0.5, abs=0.07)   # log2(8) of log2(64)


def test_a_transformer_learns_to_recall_and_untrained_ones_guess(tmp_path):
    model = gpt(recall.VOCABULARY, 2 * recall.KEPT + 12, n_embd=32, n_layer=2)
    assert recall.accuracy(model, [8])[0] < 0.3
    loop.teach(model, recall.batches(12, 32, np.random.default_rng(0)), lambda batch: recall.loss(model, batch),
               steps=150, lr=5e-3)
    assert min(recall.accuracy(model, [0, 5, 12])) > 0.95


def small_library(root):
    for package in ("alpha", "beta", "gamma"):
        (root / package).mkdir()
        for i in range(6):
            (root / package / f"m{i}.py").write_text(
                f'"""The module number {i} of {package} says what {package} is about, at length."""\n'
                f'def f():\n    """Returns the {package} of {i}, which nobody else would return at all."""\n')
    (root / "alpha" / "bad.py").write_text('"""Broken sources are passed over, whatever they say."""\ndef (:\n')
    (root / "alpha" / "twice.py").write_text((root / "alpha" / "m0.py").read_text())
    (root / "test").mkdir()
    (root / "test" / "t.py").write_text('"""Tests are left out, since there are as many as there are modules."""\n')


def test_passages_and_their_split(tmp_path):
    small_library(tmp_path)
    found = masked.passages(tmp_path)
    assert len(found) == 3 * 12 and {p.package for p in found} == {"alpha", "beta", "gamma"}
    parts = masked.split(found, 3, 4, np.random.default_rng(0))
    assert parts.classes == ["alpha", "beta", "gamma"]
    assert list(np.bincount(parts.labelled[1])) == list(np.bincount(parts.test[1])) == [4, 4, 4]
    for passages, classes in (parts.labelled, parts.test):
        assert [parts.classes[c] for c in classes] == [p.package for p in passages]
    asked = {p.text for p in parts.test[0]}
    assert not asked & {p.text for p in parts.unlabelled} and len(parts.unlabelled) == 24
    with pytest.raises(ValueError, match="not 3 packages with 14 passages"):
        masked.split(found, 3, 7, np.random.default_rng(0))
    with pytest.raises(FileNotFoundError, match="no Python sources"):
        masked.passages(tmp_path / "empty")


def test_rows_of_word_pieces(tmp_path, packages):
    small_library(tmp_path)
    texts = [p.text for p in masked.passages(tmp_path)]
    words = masked.tokenizer(texts, 200)
    assert [words.token_to_id(t) for t in masked.SPECIAL] == list(range(5))
    whole, rows = masked.encoded(words, texts, 40), masked.pieces(words, texts, 10)
    assert (whole[:, 0] == masked.FIRST).all() and (rows[:, 0] == masked.FIRST).all()
    assert words.decode(whole[0].tolist()) == texts[0].lower()
    inside = [i for row in rows for i in row if i >= 5]
    assert inside == [i for row in words.encode_batch(texts, add_special_tokens=False) for i in row.ids]
    ids, wanted, mask = next(masked.masked(rows, 16, words.get_vocab_size(), np.random.default_rng(0)))
    assert (ids[mask == 0] == masked.PAD).all() and (np.diff(mask) <= 0).all() and ids.shape[1] <= 10
    assert (wanted != -100).any() and (wanted[mask == 0] == -100).all()


def test_the_loss_of_masked_places_is_the_models(tmp_path):
    pyops.manual_seed(0)
    model = models.bert_base(models.BertForMaskedWords, vocab_size=31, hidden_size=16, num_hidden_layers=1,
                             num_attention_heads=2, intermediate_size=24, max_position_embeddings=12).double().eval()
    batch = next(masked.masked(RNG.integers(5, 31, (9, 12)), 4, 31, np.random.default_rng(0)))
    ids, words, mask = batch
    assert masked.words_loss(model, batch).item() == pytest.approx(model.loss(ids, words, mask=mask).item(), rel=1e-12)


def test_a_classifier_takes_a_trunk_without_its_pooler(tmp_path, packages):
    settings = dict(vocab_size=31, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
                    num_labels=3)
    trunk = models.bert_base(models.BertForMaskedWords, **settings)
    models.save_transformer(trunk, tmp_path)
    model = models.load_transformer(tmp_path, "BertForSequenceClassification", fresh_head=True)
    own, theirs = model.state_dict(), trunk.state_dict()
    for name in own:
        if name in theirs:
            assert np.array_equal(own[name], theirs[name])
    assert own["bert.pooler.dense.weight"].std() > 0.01 and own["classifier.weight"].shape == (3, 16)
    with pytest.raises(ValueError, match="missing: bert.pooler.dense.weight"):
        models.load_transformer(tmp_path, "BertForSequenceClassification")


def test_gpt_writes_a_folder_that_generate_reads(tmp_path, packages, capsys):
    (tmp_path / "text.txt").write_text(TEXT)
    assert main(["train", "gpt", "--text", str(tmp_path / "text.txt"), "--seconds", "0.3", "--width", "16", "--heads",
                 "2", "--layers", "1", "--context", "32", "--prompt", "line", "--out", str(tmp_path / "gpt")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"GPT +update +\d+ .*test \d\.\d+ nats", said) and re.search(r"LSTM +update", said)
    assert main(["generate", str(tmp_path / "gpt"), "--prompt", "line 7", "--length", "9", "--seed", "1"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("line 7") and len(written) == 6 + 9 + 1
    assert main(["generate", str(tmp_path / "gpt" / "lstm.safetensors"), "--prompt", "line", "--length", "5"]) == 0
    assert {"curve.png", "attention.png", "tokenizer.json"} <= {p.name for p in (tmp_path / "gpt").iterdir()}
    known = Characters.of(TEXT)
    words = characters.tokenizer(known)
    assert (words.encode(TEXT[:200]).ids == known.encode(TEXT[:200])).all()
    assert words.decode(words.encode(TEXT[:200]).ids) == TEXT[:200]


def test_recall_writes_its_pictures(tmp_path, packages, capsys):
    assert main(["train", "recall", "--distance", "4", "--seconds", "0.2", "--width", "16", "--out",
                 str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"recalled over +0 +1 +2 +4\nTransformer( +\d+%){4}.*\nLSTM( +\d+%){4}", said)
    assert {p.name for p in tmp_path.iterdir()} == {"recall.png", "attention.png"}


def test_masked_lm_writes_folders(tmp_path, packages, capsys, monkeypatch):
    library = tmp_path / "library"
    library.mkdir()
    small_library(library)
    monkeypatch.setattr(masked.sysconfig, "get_path", lambda name: str(library))
    assert main(["train", "masked-lm", "--steps", "4", "--fine-tuning", "4", "--classes", "3", "--labelled", "4",
                 "--width", "16", "--heads", "2", "--layers", "1", "--vocabulary", "150", "--length", "24", "--batch",
                 "4", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"fine-tuned +test accuracy after updates: 1: [\d.]+ %", said) and "from nothing" in said
    model = models.load_transformer(tmp_path / "classifier")
    assert json.loads((tmp_path / "classifier" / "config.json").read_text())["architectures"] == [
        "BertForSequenceClassification"] and model.config.num_labels == 3
    assert {"transfer.png", "masked-words.png", "attention.png"} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize("command, said", [
    (["gpt", "--text", "SHORT"], "9 characters is too short"), (["gpt", "--text", "nowhere.txt"], "nowhere.txt"),
    (["gpt", "--prompt", "\u4e16"], "this character is not among"), (["gpt", "--seed", "-1"], "--seed"),
    (["gpt", "--width", "10"], "n_embd 10 must be a multiple of n_head 4"),
    (["recall", "--width", "10"], "n_embd 10 must be a multiple"), (["recall", "--seed", "-1"], "--seed"),
    (["masked-lm", "--length", "3"], "--length must be at least 4"),
    (["masked-lm", "--classes", "4000"], "there are not 4000 packages"),
    (["masked-lm", "--width", "10"], "hidden_size 10 must be a multiple")])
def test_refusals(command, said, tmp_path, packages, capsys, monkeypatch):
    (tmp_path / "library").mkdir()
    small_library(tmp_path / "library")
    if command[0] == "masked-lm":
        monkeypatch.setattr(masked.sysconfig, "get_path", lambda name: str(tmp_path / "library"))
        command = [*command, "--labelled", "4", *([] if "--classes" in command else ["--classes", "3"])]
    (tmp_path / "short.txt").write_text("too short")
    command = [str(tmp_path / "short.txt") if word == "SHORT" else word for word in command]
    assert main(["train", *command, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_attention_remembers_further_than_a_state(tmp_path):
    """The Transformer recalls over any distance that it was taught; the LSTM, for as many updates with
    as many parameters, does not."""
    pyops.manual_seed(0)
    transformer = gpt(recall.VOCABULARY, 2 * recall.KEPT + 64, n_embd=48, n_layer=2)
    lstm = equal.lstm_like(transformer, recall.VOCABULARY, 1)
    for model in (transformer, lstm):
        loop.teach(model, recall.batches(64, 32, np.random.default_rng(0)),
                   lambda batch, m=model: recall.loss(m, batch), steps=300, lr=3e-3)
    far = [recall.accuracy(model, [64])[0] for model in (transformer, lstm)]
    assert far[0] > 0.95 and far[1] < 0.8, far
