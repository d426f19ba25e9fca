"""pyops train translate: its pairs, its loop, what it writes and what it learns."""
import itertools
import re

import numpy as np
import pytest

import pyops
from pyops import models, nn
from pyops.cli import main
from pyops.train.language import loop, translation

TINY = ["--steps", "4", "--batch", "4", "--width", "16", "--heads", "2", "--layers", "1", "--test", "12"]


def drawn(test, count=3000, topics=translation.TOPICS):
    return list(itertools.islice(translation.pairs(np.random.default_rng(0), test, topics), count))


def test_what_is_tested_is_never_taught():
    taught, asked = drawn(False), drawn(True)
    assert not {p.source for p in taught} & {p.source for p in asked}
    assert {(p.of, p.to) for p in asked} == set(itertools.permutations(translation.FORMS, 2))
    share = np.mean([translation.is_for_test(i) for i in range(100_000)])
    assert abs(share - 0.1) < 0.005


def test_tokens_are_texts_again_and_special_ones_stand_first():
    words = pytest.importorskip("tokenizers") and translation.tokenizer()
    codec = translation.Codec(words)
    assert codec.labels(range(6)) == list(translation.SPECIAL)
    for pair in drawn(True, 500):
        tag, *source = codec.source(pair)
        *target, end = codec.target(pair)
        assert (codec.text(source), codec.text(target)) == (pair.source, pair.target)
        assert codec.labels([tag, end]) == [f"<{pair.to}>", "<end>"]
    source, target, mask = next(translation.batches(codec, np.random.default_rng(0), 7))
    assert ((source != translation.PAD) == mask).all() and (target[:, 0] != -100).all()
    assert ((target == translation.END).sum(1) == 1).all()


def test_bleu_and_counts():
    pairs = drawn(True, 60)
    right = translation.Answers(pairs, [p.target for p in pairs])
    wrong = translation.Answers(pairs, ["x" for p in pairs])
    assert right.right() == (60, 60) and wrong.right() == (0, 60)
    parts = [right.right(topic=t, to=f)[1] for t in translation.TOPICS for f in translation.FORMS]
    assert sum(parts) == 60
    pytest.importorskip("sacrebleu")
    assert right.bleu() == pytest.approx(100) and wrong.bleu() < 1


def test_a_loop_ends_at_its_limit_and_reports():
    pyops.manual_seed(0)
    model, said = nn.Linear(3, 1), []
    x = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    y = x @ np.array([[1], [2], [3]], np.float32)
    points = loop.teach(model, itertools.repeat((x, y)), lambda b: pyops.functional.mse_loss(model(b[0]), b[1]),
                        steps=250, lr=0.05, every=100, measure=lambda: float(model.training), report=said.append)
    assert [p.step for p in points] == [100, 200, 250] and said == points and not model.training
    assert points[-1].loss < 1e-3 < points[0].loss and points[0].measured == 0
    assert np.abs(model.weight.data - [[1, 2, 3]]).max() < 0.05
    short = loop.teach(model, itertools.repeat((x, y)), lambda b: pyops.functional.mse_loss(model(b[0]), b[1]),
                       seconds=1e-9, lr=0.05)
    assert [p.step for p in short] == [1]
    with pytest.raises(ValueError, match="give steps or seconds"):
        loop.teach(model, iter(()), None)


def test_rates_rise_and_fall():
    done = np.linspace(0, 1, 1001)[1:]
    for schedule, peak, last in ((loop.noam(0.1), 0.1, 0.1 ** 0.5), (loop.cosine(0.05, 0.05), 0.05, 0.05)):
        rates = np.array([schedule(x) for x in done])
        assert done[rates.argmax()] == pytest.approx(peak) and rates.max() == pytest.approx(1)
        assert rates[-1] == pytest.approx(last)
    noam = pyops.optim.NoamLR   # the same curve, counted in steps
    rule = pyops.optim.SGD([nn.Parameter(np.zeros(1, np.float32))], 1.0)
    theirs = noam(rule, 64, warmup_steps=100) if "warmup_steps" in noam.__init__.__code__.co_varnames else None
    if theirs is not None:
        rates = []
        for _ in range(1000):
            rates.append(rule.param_groups[0]["lr"])
            rule.step()
            theirs.step()
        ours = [loop.noam(0.1)(step / 1000) for step in range(1, 1001)]
        assert np.abs(np.array(rates) / max(rates) - ours).max() < 1e-9


def test_the_command_writes_what_it_says(tmp_path, capsys):
    for package in ("tokenizers", "matplotlib", "safetensors"):
        pytest.importorskip(package)
    assert main(["train", "translate", *TINY, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\d+ of 12 right to the letter", said) and "update      4  loss" in said
    wrote = {p.name for p in tmp_path.iterdir()}
    assert {"checkpoint.safetensors", "tokenizer.json", "curve.png", "attention-words-cross.png",
            "attention-figures-self.png"} <= wrote
    state, told = pyops.train.checkpoint.load(tmp_path / "checkpoint.safetensors")
    model = models.Translator(320, int(told["width"]), int(told["heads"]), int(told["layers"]), 64, norm_first=True,
                              most_positions=64, start=translation.START)
    model.load_state_dict(state)


@pytest.mark.parametrize("options, said", [
    (["--width", "10", "--heads", "4"], "embed_dim 10 must be a positive multiple of num_heads 4"),
    (["--label-smoothing", "1"], "--label-smoothing must be within [0, 1), got 1.0"),
    (["--seed", "-1"], "--seed must not be negative"), (["--lr", "1e30", "--steps", "20"], "training diverged")])
def test_the_command_refuses(options, said, tmp_path, capsys):
    for package in ("tokenizers", "matplotlib", "safetensors"):
        pytest.importorskip(package)
    assert main(["train", "translate", *TINY, *options, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_dates_are_learned(tmp_path, capsys):
    for package in ("tokenizers", "matplotlib", "safetensors"):
        pytest.importorskip(package)
    assert main(["train", "translate", "--topic", "dates", "--steps", "400", "--width", "96", "--test", "100",
                 "--out", str(tmp_path)]) == 0
    right = int(re.search(r"(\d+) of 100 right to the letter", capsys.readouterr().out).group(1))
    assert right >= 30   # which no network is that only knows what dates look like
