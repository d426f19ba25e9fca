"""Curves over batch and image size: which points lie above their neighbours' line."""
import argparse

import numpy as np
import pytest

from pyops.bench import curves


def test_steps_are_above_the_line_of_their_neighbours():
    assert curves.above([1, 2, 3, 4], [10, 20, 30, 40]) == []
    assert curves.above([1, 2, 4], [10, 21.9, 40]) == []
    ((i, ratio),) = curves.above([1, 2, 4], [10, 23, 40])
    assert i == 1 and ratio == pytest.approx(23 / 20)
    assert [i for i, _ in curves.above([1, 2, 3, 4, 5], [10, 15, np.nan, 40, 30])] == [3]
    assert curves.above([1, 2], [1, 9]) == []


def test_sizes_are_compared_by_pixels():
    curve = curves.Curve("a", "size", [10, 20, 40], {"pyops": [1.0, 4.0, 16.0], "peer": [1.0, 6.0, 16.0]})
    assert curve.steps() == [("peer", 20, pytest.approx(1.5))]


def test_a_curve_is_measured_and_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")

    def made(name, batch, size, peers, threads):
        if size < 64:
            raise ValueError("too small")
        return {"pyops": lambda: None} | ({"torch": lambda: None} if batch > 1 else {})
    monkeypatch.setattr(curves, "made", made)
    args = argparse.Namespace(peers=["torch"], threads=1, rounds=1, processor_time=False)
    found = [curves.measure("unet", axis, points, args) for axis, points in (("batch", (1, 2)), ("size", (32, 64, 96)))]
    assert found[0].points == [1, 2] and found[1].points == [64, 96]
    assert np.isnan(found[0].times["torch"][0]) and not np.isnan(found[0].times["torch"][1])
    assert "unet 1x32: left out: too small" in capsys.readouterr().out
    curves.drawn(found, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_calls_are_of_one_network():
    calls = curves.made("mobilenet_v2", 1, 32, (), 1)
    assert calls["pyops"]().shape == (1, 1000)
