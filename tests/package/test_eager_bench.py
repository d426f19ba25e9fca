"""pyops bench --ops: every call means the same to torch, and its answer is looked at before it is
timed."""
import dataclasses

import numpy as np
import pytest

from pyops import cli, functional as F
from pyops.bench import eager_suite
from pyops.bench.eager_calls import CALLS, Call, Ids

pytest.importorskip("torch")

MOST = 4 << 20   # values of an input: larger calls are left to the benchmark


def small(call: Call) -> bool:
    return all(np.prod(x.shape if isinstance(x, Ids) else x) <= MOST for x in call.inputs) and not (
        call.op.startswith(("conv", "linear", "matmul", "scaled_dot")) and np.prod(call.inputs[0]) > 40_000)


def test_there_are_as_many_as_promised():
    assert len(CALLS) >= 150 and len({c.name for c in CALLS}) == len(CALLS)
    assert {len(c.inputs[0]) for c in CALLS if c.op.startswith("conv")} == {3, 4, 5}


@pytest.mark.parametrize("call", [c for c in CALLS if small(c)], ids=lambda c: c.name)
def test_a_call_is_torchs(call):
    eager_suite.runners(call, False)
    if call.smooth:
        eager_suite.runners(call, True)


def test_another_answer_than_torchs_is_not_timed(monkeypatch, capsys):
    monkeypatch.setattr(F, "relu", lambda x: F.abs(x))
    assert cli.main(["bench", "--ops", "relu 1x64", "--quick"]) == 1
    assert "of the largest away from torch's result" in capsys.readouterr().out


def test_words_choose_calls_and_none_is_an_error(capsys):
    assert {c.op for c in eager_suite.chosen("conv2d groups=32")} == {"conv2d"}
    assert cli.main(["bench", "--ops", "16x784 linear", "--quick", "--processor-time"]) == 0
    out = capsys.readouterr().out
    assert "gradients linear 16x784" in out and "forward: 1 calls" in out and "with gradients: 1 calls" in out
    assert cli.main(["bench", "--ops", "nothing like it"]) == 2
    assert cli.main(["bench", "--ops", "relu", "--threads", "0"]) == 2


def test_gradients_are_those_of_all_float_inputs():
    call = dataclasses.replace(next(c for c in CALLS if c.op == "embedding"))
    grads = eager_suite.runners(call, True)["pyops"]()
    assert grads[0] is None and grads[1].shape == call.inputs[1]
