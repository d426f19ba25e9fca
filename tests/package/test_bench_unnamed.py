"""What bench.unnamed says of its measurements, and one small network all the way (no times are looked at)."""
import argparse
import math
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from pyops.bench import unnamed

Found = unnamed.Found


def test_the_least_of_the_peers_and_the_mean():
    rows = [Found("a", "usual", 1, {"pyops": 2.0, "onnxruntime": 3.0, "openvino": 2.5}, {}),
            Found("b", "usual", 1, {"pyops": 2.0, "openvino": 1.6}, {}),
            Found("c", "usual", 8, {"pyops": 1.0}, {"openvino": "refused"}),
            Found("d", "usual", 8, {}, {"export": "no such network"})]
    assert rows[0].least == 1.25 and rows[1].least == pytest.approx(0.8) and math.isnan(rows[2].least)
    one, eight = unnamed.summary(rows).splitlines()
    assert one == "batch 1: 1.000 of the best peer over 2, 1 below 1; b usual 0.80"
    assert eight == "batch 8: nan of the best peer over 0, 0 below 1"
    assert "refused" in rows[2].line(["openvino"])


def test_the_first_tensor_of_a_result():
    torch = pytest.importorskip("torch")
    one = torch.zeros(1)
    assert unnamed.first({"out": (one, torch.ones(1))}) is one and unnamed.first(one) is one


@pytest.mark.slow
def test_a_network_beside_what_is_installed():
    if not find_spec("torch") or not find_spec("torchvision"):
        pytest.skip("torch and torchvision write the network")
    args = argparse.Namespace(peers=["torch"], isa=None, threads=1, seconds=0.1, block=0.05, layers=0, keep=None)
    found = unnamed.measure("squeezenet1_0", "small", 1, args)
    assert set(found.times) == {"pyops", "torch"} and not found.notes


@pytest.mark.parametrize("wrong, said", [
    (["--sizes", "medium"], "medium: not among small"), (["--peers", "onnx_runtime"], "onnx_runtime: not among torch"),
    (["--batches", "0"], "0: numbers from 1 on"), (["--batches", "1,x"], "1,x: numbers from 1 on")])
def test_wrong_requests_for_networks_that_nobody_tuned_for(wrong, said, capsys, monkeypatch):
    monkeypatch.setattr(unnamed, "measure", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr("sys.argv", ["unnamed", *wrong])
    with pytest.raises(SystemExit):
        unnamed.main()
    assert said in capsys.readouterr().err


def test_slowest_layers_of_the_instruction_set_that_was_asked_for(tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g",
                              [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
                              [helper.make_tensor_value_info("y", 1, None)], [])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    asked = []
    monkeypatch.setattr("pyops.machine.ceilings", lambda isa, *_: asked.append(isa) or SimpleNamespace(gflops=1.0))
    layers = unnamed.slowest(tmp_path, argparse.Namespace(isa="scalar", threads=1, layers=3))
    assert asked == ["scalar"] and len(layers) == 1 and "relu" in layers[0]
    found = unnamed.Found("net", "usual", 1, {"pyops": 2.0, "torch": 3.0}, {}, layers)
    assert found.line(["torch"]).splitlines()[1].strip() == layers[0].strip() and found.least == 1.5
