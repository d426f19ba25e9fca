"""Every target by seeds that never change, a few seconds each, and the inputs that once failed.
`make fuzz HOURS=n` goes on with new ones.
"""

import os
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from . import hunt

COUNTS = {
    "program_load": 600,
    "checkpoints": 300,
    "folders": 300,
    "annotations": 400,
    "h5": 400,
    "compiled_random": 400,
    "on_bytes": 60,
    "sizes": 300,
    "op_geometry": 400,
    "values": 300,
    "torch_door": 8,
    "torch_files": 40,
    "against_torch": 400,
    "onnx": 600,
    "onnx_lengths": 200,
    "onnx_values": 2000,
}


@pytest.mark.parametrize("name", COUNTS)
def test_nothing_dies_hangs_or_is_wrong(name):
    if name.startswith("onnx"):
        pytest.importorskip("onnx")
    if name == "annotations":
        pytest.importorskip("PIL")
    if name in ("torch_door", "torch_files", "against_torch"):
        pytest.importorskip("torch")
    target = import_module(f"{__package__}.{name}")
    for result in (hunt.replay(target, name), hunt.hunt(target, range(1, 1 + COUNTS[name]))):
        assert not result.faults, str(result)
    assert result.tried == COUNTS[name] and result.outcomes["right"] > COUNTS[name] / 10, str(result)


class Trouble:
    """A target with one of everything that a hunt finds."""

    __name__, REFUSED, SILENCE = "trouble", (ValueError,), 0.5

    @staticmethod
    def one(seed):
        if seed == 3:
            os.abort()
        if seed == 5:
            while True:
                pass
        if seed == 6:
            threading.Event().wait()
        if seed == 7:
            raise KeyError("a key")
        assert seed != 9, "nine is wrong"
        if seed == 11:
            raise ValueError("refused")
        if seed == 12:
            bytearray(1 << 40)


def test_the_hunt_finds_each_kind_and_goes_on():
    result = hunt.hunt(Trouble(), range(14))
    found = {kind: items for (kind, _), items in result.faults.items()}
    assert found["death"] == [3] and found["hang"] == [5, 6] and found["wrong"] == [9]
    assert [items for (kind, _), items in result.faults.items() if kind == "exception"] == [[7], [12]]
    assert result.tried == 14 and result.outcomes["refused"] == 1 and result.outcomes["right"] == 7


def test_a_hunt_ends_in_time():
    result = hunt.hunt(Trouble(), range(14, 10_000_000), seconds=0.3)
    assert 0 < result.tried < 10_000_000 and not result.faults


def test_a_short_soak():
    """Two rounds of threads, forks, limits, daemon threads and kills; `make soak` goes
    on for ten minutes."""
    command = [sys.executable, "-W", "ignore", "-m", "fuzz.soak", "--minutes", "0"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.startswith("2 rounds of 6 steps"), done.stdout
