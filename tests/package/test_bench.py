"""The benchmark suite: peers get the same work and give the same answer, the files it
writes can be read back."""
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pyops import cli, functional, validate
from pyops.core.cases import A, case

pytest.importorskip("rich")
pytest.importorskip("pytest_benchmark")

SMALL = [
    case("conv", "conv2d", A(1, 4, 9, 11), A(6, 2, 3, 3), A(6), padding=1, groups=2, stride=2),
    case("conv_3d", "conv3d", A(1, 2, 5, 6, 7), A(4, 2, 3, 3, 3), padding=1),
    case("conv_1d_depthwise", "conv1d", A(1, 8, 20), A(8, 1, 4), padding=3, groups=8),
    case("max_pool", "max_pool2d", A(1, 3, 11, 10), 3, 2, 1),
    case("max_pool_ceil", "max_pool2d", A(1, 3, 10, 10), 3, 2, ceil_mode=True),
    case("max_pool_3d", "max_pool3d", A(1, 3, 4, 6, 8), 2),
    case("avg_pool", "avg_pool2d", A(1, 3, 9, 10), 3, 1, 1),
    case("lp_pool", "lp_pool2d", A(1, 3, 9, 10), 2.0, 3, 2),
    case("lrn", "local_response_norm", A(1, 7, 5, 5), 5, 1e-4, 0.75, 2.0),
    case("linear", "linear", A(2, 8), A(5, 8), A(5)),
    case("layer_norm", "layer_norm", A(2, 8), (8,), A(8), A(8)),
    case("relu", "relu", A(2, 9)),
    case("add", "add", A(2, 9), A(2, 9)),
    case("softmax", "softmax", A(2, 9), dim=1),
]


@pytest.mark.parametrize("peer", ["torch", "onnxruntime", "openvino", "ncnn"])
@pytest.mark.parametrize("small", SMALL, ids=lambda c: c.why)
def test_a_peer_computes_the_same(peer, small):
    from pyops.bench import peers, record
    if peers.missing(peer):
        pytest.skip(f"{peer} is not installed")
    if not hasattr(functional, small.call):
        pytest.skip(f"pyops has no {small.call} yet")
    args, kwargs = small.arguments(np.float32)
    with record.calls() as calls:
        getattr(functional, small.call)(*args, **kwargs)
    assert [c.name for c in calls] == [small.call]
    try:
        got = peers.as_array(peers.PEERS[peer](record.graph(calls, args[0]), args[0], 1)())
    except record.Unsupported as why:
        pytest.skip(str(why))
    validate.assert_close(got, validate.expected(small, np.float32)[0], 256, peer)


def test_a_chain_of_calls_runs_on_torch_too():
    torch = pytest.importorskip("torch")
    from pyops.bench import peers, record
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 9)).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal((5, 3, 3, 3)).astype(np.float32)
    with record.calls() as calls:
        functional.layer_norm(functional.conv2d(x, weight, padding=1).reshape(1, -1, 9), (9,))
    got = peers.as_array(peers.torch(record.graph(calls, x), x, 1)())
    want = torch.nn.functional.layer_norm(
        torch.conv2d(torch.from_numpy(x), torch.from_numpy(weight), padding=1).reshape(1, -1, 9), (9,))
    validate.assert_close(got, want.numpy(), 64, "torch")


def test_counting_asks_the_rows():
    from pyops.bench import record
    x, weight = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 1, 1), np.float32)
    work = record.count(lambda: functional.conv2d(x, weight))
    assert work.flops == 2 * 3 * 2 * 16 and work.rows == ["conv"] and not work.unknown


def test_named_shapes_are_calls_that_validate_knows_how_to_make():
    from pyops.bench.suite import op_cases
    names = [(group, name) for group, name, _ in op_cases()]
    assert len(set(names)) == len(names)
    for _, name, shape in op_cases():
        args, _ = shape.arguments(np.float32)
        assert isinstance(args[0], np.ndarray) and args[0].dtype == np.float32, name


def bench(*arguments):
    return cli.main(["bench", "--quick", "--op", "layer_norm", "--threads", "1", *map(str, arguments)])


def test_a_run_writes_files_that_read_back(tmp_path, capsys):
    peers = "torch" if find_spec("torch") else "none"
    results, page = tmp_path / "0001_first.json", tmp_path / "report.html"
    assert bench("--peer", peers, "--json", results, "--html", page) == 0
    assert "layer_norm 2x8" in capsys.readouterr().out
    content = json.loads(results.read_text())
    assert content["machine_info"]["pyops"]["threads"] == 1 and content["commit_info"]["id"]
    for entry in content["benchmarks"]:
        assert entry["stats"]["min"] > 0 and entry["extra_info"]["error"] < 1e-5

    text = page.read_text()
    assert text.count("<svg") == 1 and "layer_norm 2x8" in text
    assert not re.search(r"""(src|href)=["']?(http|//)|<script|@import""",
                         text), "the page must need nothing else"

    assert bench("--peer", "none", "--compare", results) == 0
    assert "old / new" in capsys.readouterr().out
    run = subprocess.run([sys.executable, "-m", "pytest_benchmark", "compare", str(results)],
                         capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and "layer_norm 2x8" in run.stdout, run.stderr


@pytest.mark.parametrize("arguments, said", [
    (["--op", "conv2"], "conv2d"), (["--net", "alexnett"], "alexnet"),
    (["--peer", "onnx_runtime"], "onnxruntime"),
    (["--threads", "0"], "at least 1"), (["--op", "conv2d", "--compare", "missing.json"], "missing.json"),
])
def test_a_wrong_request_is_refused_before_anything_is_measured(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr("pyops.machine.ceilings", lambda *_: pytest.fail("measured"))
    assert cli.main(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_not_a_result_is_refused(tmp_path, capsys):
    (tmp_path / "list.json").write_text("[1, 2]")
    assert bench("--compare", tmp_path / "list.json") == 2
    assert "not a result" in capsys.readouterr().err


def test_detectors_are_chosen_by_their_names(capsys):
    from pyops.bench import detector_suite

    assert detector_suite.chosen("") == list(detector_suite.PLAN)
    assert {plan[1] for plan in detector_suite.chosen("ssd300, v5s")} == {"ssd300_vgg16", "yolov5s:640"}
    assert cli.main(["bench", "--detectors", "yolov9"]) == 2
    assert "nothing is called 'yolov9'" in capsys.readouterr().err


def test_rows_of_detectors_are_given_up_after_their_share():
    from pyops.bench import detector_suite

    left = 230.0
    for rows in range(12, 0, -1):
        left -= detector_suite.share(left, rows)
    assert left == pytest.approx(0, abs=1e-9)
    assert detector_suite.row([sys.executable, "-c", "import time; time.sleep(60)"], 0.2) == "given up after 0 s"
    assert detector_suite.row([sys.executable, "-c", "raise SystemExit(3)"], None) == "ended with code 3"
    assert detector_suite.row([sys.executable, "-c", ""], 20) == ""


def test_boxes_of_detectors_agree_one_by_one():
    from pyops.bench.same_boxes import Boxes, agreeing

    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]], np.float32)
    ours = Boxes(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.array([1, 1, 2, 3]))
    assert agreeing([ours], [ours]) == 4 and agreeing([ours], [ours.best(0)]) == 0
    once = Boxes(boxes[1:], np.array([0.89, 0.5, 0.6], np.float32), np.array([1, 2, 4]))
    assert agreeing([ours], [once]) == 1   # one for two, another score, another class


def test_a_training_step_of_darknets_layers_is_torchs():
    pytest.importorskip("torch")
    from pyops.bench import detection_step

    rng = np.random.default_rng(0)
    images = rng.random((2, 3, 64, 64), np.float32)
    targets = [{"boxes": detection_step.boxes_of(rng, 64), "labels": rng.integers(0, 20, 8)} for _ in range(2)]
    step, other, _ = detection_step.of_darknet("yolov3_tiny", 64, images, targets)
    for _ in range(2):   # the second with the weights that the first has left
        np.testing.assert_allclose(step(), other(), rtol=2e-4)


def test_rows_of_detection_beside_their_peers():
    from pyops.bench import detection_rows

    for classes in (1, 3):
        for name, calls in detection_rows.suppression(np.random.default_rng(0), 60, classes, 1):
            found = detection_rows.measure(calls, 1)
            assert "pyops" in found and name in detection_rows.report(name, found)


@pytest.mark.parametrize("options", [[], ["--set-up"]])
def test_memory_and_set_up_of_a_file(options, tmp_path, capsys, monkeypatch):
    """Ours, and a peer that is stood in for."""
    onnx = pytest.importorskip("onnx")
    from pyops.bench import memory
    helper = onnx.helper
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
                              [helper.make_tensor_value_info("y", 1, None)],
                              [onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "small.onnx").write_bytes(made.SerializeToString())
    asked = []

    def alone(*arguments):
        asked.append(arguments)
        if arguments[1] == "--write":
            return memory.given(Path(arguments[0]), Path(arguments[2]))
        if arguments[2] == "onnxruntime":
            return {"MB": 1e6, "ms": 1.0, "set-up": 1e6}
        return memory.measured(arguments[2], Path(arguments[0]), 2)
    monkeypatch.setattr(memory, "alone", alone)
    monkeypatch.setattr("pyops.bench.peers.missing", lambda way: [] if way == "onnxruntime" else [way])
    monkeypatch.setattr("sys.argv", ["memory", str(tmp_path / "small.onnx"), "--rounds", "2", *options])
    memory.main()
    out = capsys.readouterr().out
    assert ("set-up, ms" in out) == bool(options) and "small " in out and "onnxruntime" in out
    assert '"balanced" takes at most the' in out and " on 1 of 1" in out
    assert ("lean" in out.splitlines()[0]) != bool(options)
    assert len(asked) == 5   # to write it, and four ways, or two in two processes each
