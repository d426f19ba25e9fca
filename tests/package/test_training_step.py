"""bench/training_step.py: both libraries make the same step, and the report adds up."""
import re
import sys

import numpy as np
import pytest

from pyops.core.registry import Op

pytest.importorskip("torch")
from pyops.bench import training_step

FLOAT = r"([\d.]+(?:e[-+]\d+)?)"


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((4, 3, 64, 64)).astype(np.float32), rng.integers(0, training_step.CLASSES, 4)


@pytest.fixture(scope="module")
def step(batch):
    return training_step.ours("resnet18", *batch)


def report(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["training_step", *arguments])
    assert training_step.main() == 0
    return capsys.readouterr().out


def test_both_make_the_same_steps(batch, step):
    model, ours = step
    reference, theirs = training_step.theirs("resnet18", *batch, model.state_dict())
    for _ in range(2):
        assert ours() == pytest.approx(theirs(), rel=1e-4)
    for (name, own), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert np.allclose(own.data, other.detach().numpy(), atol=1e-4), name


def test_the_report_says_what_was_measured(monkeypatch, capsys):
    lines = report(monkeypatch, capsys, "resnet18", "--batch", "4", "--size", "64", "--repeats",
                   "2").splitlines()
    head = re.fullmatch(rf"resnet18, batch 4, 64x64, \d+ threads; losses {FLOAT} and {FLOAT}, gradients "
                        rf"differ by {FLOAT} of their norm", lines[0])
    own, other, apart = map(float, head.groups())
    assert own == pytest.approx(
        other, abs=1e-4) and 0 < apart < 0.05, "a relu whose input is nearly zero may differ in sign"
    times = {m[1]: (float(m[2]), float(m[3])) for line in lines
             if (m := re.fullmatch(rf"(pyops|torch)\s+shortest\s+{FLOAT} ms, median\s+{FLOAT} ms", line))}
    assert (set(times) == {"pyops", "torch"}
            and all(0 < shortest <= median for shortest, median in times.values()))
    ratios = re.fullmatch(rf"speed\s+{FLOAT} x torch by the shortest, {FLOAT} x by the median",
                          lines[3]).groups()
    for ratio, own, other in zip(map(float, ratios), times["pyops"], times["torch"], strict=True):
        assert ratio == pytest.approx(other / own, rel=0.05, abs=0.02)
    assert len(lines) == 4


def test_the_profile_has_the_whole_step_once(step):
    _, ours = step
    plain = Op.__call__
    rows = training_step.profile(ours)
    assert Op.__call__ is plain, "the wrapper is taken off again"
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names) and {"conv", "conv_weight_gradient", "cross_entropy",
                                              "(outside of ops)"} <= set(names), names
    assert ([ms for _, ms, _ in rows] == sorted((ms for _, ms, _ in rows), reverse=True)
            and all(ms >= 0 for _, ms, _ in rows))
    calls = {name: count for name, _, count in rows}
    assert (calls["conv"] == calls["conv_weight_gradient"] == 20 and calls["conv_transpose"]
            == 19), "ResNet-18 has 20 convolutions; the first needs no input gradient"


def test_the_profile_is_restored_after_an_error():
    plain = Op.__call__
    with pytest.raises(ZeroDivisionError):
        training_step.profile(lambda: 1 / 0)
    assert Op.__call__ is plain


def test_the_report_lists_ops_on_request(monkeypatch, capsys):
    lines = report(monkeypatch, capsys, "resnet18", "--batch", "2", "--size", "64", "--repeats", "1",
                   "--profile").splitlines()[4:]
    rows = [re.fullmatch(rf"(\S.*?)\s+{FLOAT} ms\s+(\d+) calls", line) for line in lines]
    assert len(rows) > 5 and all(rows)
