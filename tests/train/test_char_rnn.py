"""pyops train char-rnn and pyops generate: what they learn, write, print and refuse."""
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import pyops
from pyops import models
from pyops.cli import main
from pyops.text import Characters
from pyops.train import TextTrainer, checkpoint

pytest.importorskip("safetensors")

POEM = "She sells sea shells by the sea shore.\nThe shells she sells are sea shells, I'm sure.\n"


def trained(tmp_path, *options, text=POEM):
    """Runs the command on a file with `text`; returns the exit code."""
    (tmp_path / "poem.txt").write_text(text, encoding="utf-8")
    small = ["--hidden", "16", "--layers", "1", "--batch", "2", "--seq-length", "10", "--iterations", "4"]
    try:
        return main(["train", "char-rnn", "--text", str(tmp_path / "poem.txt"), "--out", str(tmp_path),
                     *small, *options])
    except SystemExit as stop:
        return stop.code


def generated(tmp_path, *options):
    try:
        return main(["generate", str(tmp_path / "checkpoint.safetensors"), *options])
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru", "peephole"])
def test_a_tiny_text_is_learned_by_heart(tmp_path, capsys, kind):
    """Two chunks: what the second begins with is known from the state only. Plain units forget
    sooner and see the text as one."""
    text, seq_length, lr = (POEM[:39], "38", "0.005") if kind == "rnn" else (POEM[:57], "28", "0.02")
    assert trained(tmp_path, "--kind", kind, "--hidden", "48", "--batch", "1", "--seq-length", seq_length,
                   "--iterations", "200", "--lr", lr, text=text) == 0
    said = capsys.readouterr().out
    initial, expected = map(float, re.search(r"initial loss ([\d.]+), ln\(\d+\) = ([\d.]+)", said).groups())
    assert abs(initial / expected - 1) <= 0.05 and expected == pytest.approx(np.log(len(set(text))), abs=1e-4)
    assert generated(tmp_path, "--prompt", text[:9], "--length", str(len(text) - 9), "--top-k", "1") == 0
    assert capsys.readouterr().out == text + "\n"


def test_samples_and_checkpoints_come_at_set_iterations(tmp_path, capsys):
    assert trained(tmp_path, "--sample-at", "2,3", "--sample-length", "17") == 0
    said = capsys.readouterr().out
    samples = re.findall(r"^---- (\d+) iterations\n(.{17})\n----$", said, re.M | re.S)
    assert ([n for n, _ in samples] == ["2", "3"] and "iteration      4" in said
            and "done: iteration 4" in said)
    assert trained(tmp_path, "--sample-every", "2") == 0
    assert re.findall(r"^---- (\d+) ", capsys.readouterr().out, re.M) == ["2", "4"]
    state, metadata = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert metadata["iteration"] == "4" and metadata["model"] == "char-rnn"
    assert json.loads(metadata["alphabet"]) == "".join(sorted(set(POEM)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.safetensors",
                                                          "poem.txt"], "something half-written was left"


def test_epochs_in_place_of_iterations(tmp_path, capsys):
    (tmp_path / "t").write_text("ab" * 101)
    assert main(["train", "char-rnn", "--text", str(tmp_path / "t"), "--out", str(tmp_path), "--hidden", "4",
                 "--batch", "2", "--seq-length", "10", "--epochs", "2.55"]) == 0
    assert "26 iterations, 2.60 epochs" in capsys.readouterr().out


def test_the_seed_decides_everything(tmp_path, capsys):
    states, drawn = [], []
    for seed in "112":
        assert trained(tmp_path, "--seed", seed, "--dropout", "0.3", "--layers", "2", "--sample-at", "2") == 0
        states.append(checkpoint.load(tmp_path / "checkpoint.safetensors")[0])
    assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(np.array_equal(states[1][k], states[2][k]) for k in states[0])
    capsys.readouterr()
    for options in ([], [], ["--seed", "6"], ["--temperature", "0.01", "--seed", "5"]):
        assert generated(tmp_path, "--length", "60", *options) == 0
        drawn.append(capsys.readouterr().out)
    assert len(set(drawn)) == 4, "without a seed it draws anew each time"


def test_the_state_is_carried_and_the_gradient_cut(tmp_path):
    """A chunk is scored as part of the whole text; its graph ends where it begins."""
    pyops.manual_seed(0)
    characters = Characters.of(POEM)
    model = models.char_rnn(len(characters), "gru", 8)
    trainer = TextTrainer(model, characters, POEM, tmp_path, iterations=1000, seq_length=10, batch=1,
                          lr=1e-12)
    numbers, state, losses = characters.encode(POEM)[None], None, []
    for begin in range(0, 40, 10):
        loss, state = trainer.step(numbers[:, begin:begin + 10], numbers[:, begin + 1:begin + 11], state)
        losses.append(loss)
    whole = model.loss(model(numbers[:, :40])[0], numbers[:, 1:41]).item()
    assert np.mean(losses) == pytest.approx(whole, rel=1e-5)
    _, alone = trainer.step(numbers[:, :10], numbers[:, 1:11], None)
    assert size_of_graph(state) == size_of_graph(alone) > 0


def size_of_graph(tensor):
    nodes, stack = set(), [tensor.node]
    while stack:
        node = stack.pop()
        if node is not None and id(node) not in nodes:
            nodes.add(id(node))
            stack += [getattr(value, "node", None) for value in node.inputs]
    return len(nodes)


def test_an_interrupt_keeps_the_last_checkpoint(tmp_path):
    def trainer(press_at, **settings):
        characters = Characters.of(POEM)

        def press_ctrl_c(now):
            if now.iteration == press_at:
                raise KeyboardInterrupt
        return TextTrainer(models.char_rnn(len(characters), "rnn", 8, 1), characters, POEM, tmp_path, 6, 10,
                           2, report_every=1, report=press_ctrl_c, sample_at=(2,), **settings)
    early = trainer(1)
    assert early.fit() is None and early.interrupted and list(tmp_path.iterdir()) == []
    late = trainer(4)
    assert late.fit().iteration == 2 and late.interrupted
    assert (checkpoint.load(late.checkpoint)[1]["iteration"] == "2"
            and [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"])


def test_an_interrupted_command_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(TextTrainer, "step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert trained(tmp_path) == 130 and "nothing was written" in capsys.readouterr().out


def test_text_without_end_stops_with_its_reader_and_comes_at_once(tmp_path):
    assert trained(tmp_path) == 0
    command = [sys.executable, "-m", "pyops", "generate", str(tmp_path / "checkpoint.safetensors"),
               "--length", "100000000", "--prompt", "She "]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.read(14)[:4] == b"She ", "characters are to come as they are drawn, not at the end"
    process.stdout.close()   # as `| head` does
    assert process.wait(30) == 0 and process.stderr.read() == b""
    process.stderr.close()
    # A shell's background jobs ignore SIGINT, and so would what they start.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    process.stdout.read(10)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == b""


# ---- what is refused

@pytest.mark.parametrize("options, match", [
    (["--text", "/nowhere/at/all"], "No such file"),
    (["--batch", "50"], "too short for 50 streams of chunks of 10: that needs 501"),
    (["--seq-length", "500"], "too short"), (["--seed", "-1"], "--seed"),
    (["--kind", "transformer"], "--kind"), (["--hidden", "0"], "--hidden"),
    (["--dropout", "1"], "--dropout"), (["--lr", "nan"], "--lr"), (["--epochs", "3"], "not allowed with"),
    (["--temperature", "0"], "--temperature"), (["--sample-at", "3,x"], "--sample-at"),
    (["--sample-at", "3", "--sample-every", "4"], "not allowed with"), (["--clip", "-1"], "--clip"),
    (["--lr", "1e38", "--iterations", "30"], "lower --lr")],
                         ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_arguments_of_train(tmp_path, capsys, options, match):
    assert trained(tmp_path, *options) == 2
    assert match in capsys.readouterr().err


def test_a_text_that_is_none(tmp_path, capsys):
    assert trained(tmp_path, text="") == 2 and "the text is empty" in capsys.readouterr().err
    assert trained(tmp_path, text="x") == 2 and "too short" in capsys.readouterr().err
    assert trained(tmp_path, text="x" * 100) == 0 and "ln(1) = 0.0000" in capsys.readouterr().out
    (tmp_path / "binary").write_bytes(b"abc\xff\x00")
    assert (trained(tmp_path, "--text", str(tmp_path / "binary")) == 2
            and "not UTF-8 text: byte 3 is 0xff" in capsys.readouterr().err)
    assert trained(tmp_path, "--text", str(tmp_path)) == 2 and "directory" in capsys.readouterr().err


@pytest.mark.parametrize("options, match", [
    (["--prompt", "Sheé東"], "'é' (U+00E9), '東' (U+6771)"), (["--prompt", ""], "at least one character"),
    (["--temperature", "0"], "--temperature"), (["--temperature", "-1"], "--temperature"),
    (["--top-k", "0"], "--top-k"), (["--length", "0"], "--length"), (["--seed", "-1"], "--seed")],
                         ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_arguments_of_generate(tmp_path, capsys, options, match):
    assert trained(tmp_path) == 0
    capsys.readouterr()
    assert generated(tmp_path, *options) == 2
    said = capsys.readouterr()
    assert match in said.err and not said.out


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, capsys):
    assert trained(tmp_path) == 0
    path = tmp_path / "checkpoint.safetensors"
    state, metadata = checkpoint.load(path)

    def refused(state, metadata):
        checkpoint.save(path, state, metadata)
        capsys.readouterr()
        assert generated(tmp_path) == 2
        return capsys.readouterr().err
    assert "not a checkpoint of `pyops train char-rnn`" in refused(state, {"model": "lenet5",
                                                                           "form": "modern", "box": 24})
    assert "its metadata is empty" in refused(state, {})
    assert "has no 'hidden'" in refused(state, {k: v for k, v in metadata.items() if k != "hidden"})
    assert "missing: head.bias" in refused({k: v for k, v in state.items() if k != "head.bias"}, metadata)
    for change, match in (({"kind": "gru"}, "shape"), ({"kind": "tree"}, "rnn, lstm, gru"),
                          ({"alphabet": "ab"}, "alphabet is no string"),
                          ({"alphabet": '"ab"'}, "shape"), ({"alphabet": "7"}, "alphabet is no string"),
                          ({"hidden": "x"}, "invalid literal"), ({"layers": "-1"}, "layers")):
        assert match in refused(state, {**metadata, **change}), change
    broken = {k: np.full_like(v, np.nan) for k, v in state.items()}
    assert "a score is not finite" in refused(broken, metadata)
    path.write_bytes(b"nonsense")
    assert generated(tmp_path) == 2 and "safetensors" in capsys.readouterr().err
    path.unlink()
    assert generated(tmp_path) == 2 and "no such file" in capsys.readouterr().err
    assert main(["predict", str(path), os.devnull]) == 2


def test_the_librarys_source_is_the_default_text(tmp_path, capsys):
    assert main(["train", "char-rnn", "--iterations", "1", "--hidden", "8", "--layers", "1", "--out",
                 str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Python's standard library: 1000000 characters" in said and "initial loss" in said
