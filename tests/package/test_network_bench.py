"""The benchmark of whole networks: what peers are given computes the same, processes keep to their
protocol, results say what was found."""
import json
from pathlib import Path

import numpy as np
import pytest

import pyops
import pyops.functional as F
from pyops import cli, nn
from pyops.core.cases import A, case

pytest.importorskip("rich")
pytest.importorskip("pytest_benchmark")

from pyops.bench import against, isolated, network_suite, networks, peers, record, report, results, suite
from pyops.bench.runners import RUNNERS

RNG = np.random.default_rng(0)


def array(*shape, low=-1.0, high=1.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def norm(x, channels):
    return F.batch_norm(x, array(channels), array(channels, low=0.5, high=2), array(channels),
                        array(channels), eps=1e-3)


def residual(x):
    """The sum is read twice, batch norm follows a convolution with a bias and one without."""
    y = F.relu(norm(F.conv2d(x, array(6, 4, 3, 3), array(6), stride=2, padding=1), 6))
    z = norm(F.conv2d(y, array(6, 6, 1, 1)), 6)
    s = F.relu(z + y)
    return F.add(s, F.relu(F.conv2d(s, array(6, 6, 3, 3), padding=1)))


def preactivation(x):
    """DenseNet's order: the norm before the convolution, its input read again by a cat."""
    y = F.conv2d(F.relu(norm(x, 4)), array(3, 4, 3, 3), padding=1)
    return F.avg_pool2d(F.cat([x, y], 1), 2, 2)


def squeeze_excite(x):
    y = F.hardswish(F.conv2d(x, array(8, 1, 5, 5), array(8), padding=2, groups=4))
    s = F.adaptive_avg_pool2d(y, 1)
    s = F.hardsigmoid(F.conv2d(F.relu(F.conv2d(s, array(4, 8, 1, 1), array(4))), array(8, 4, 1, 1), array(8)))
    return F.mul(s, y)


def squeeze_excite_silu(x):
    y = F.silu(norm(F.conv2d(x, array(8, 4, 1, 1)), 8))
    s = F.silu(F.conv2d(F.adaptive_avg_pool2d(y, (1, 1)), array(2, 8, 1, 1), array(2)))
    return F.sigmoid(F.conv2d(s, array(8, 2, 1, 1), array(8))) * y


def inverted_residual(x):
    y = F.relu6(norm(F.conv2d(x, array(12, 4, 1, 1)), 12))
    y = F.hardtanh(norm(F.conv2d(y, array(12, 1, 3, 3), padding=1, groups=12), 12), 0.0, 6.0)
    return x + norm(F.conv2d(y, array(4, 12, 1, 1)), 4)


def inception(x):
    """Pools of ceil mode, padding that counts and padding that does not, filters that are not
    square, branches joined."""
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    branches = [F.relu(F.conv2d(x, array(3, 4, 1, 7), padding=(0, 3))),
                F.max_pool2d(x, 3, 1, 1, ceil_mode=True), F.avg_pool2d(x, 3, 1, 1),
                F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)]
    return F.cat(branches, 1)


def unet(x):
    """A skip connection over a transposed convolution."""
    down = F.relu(norm(F.conv2d(F.max_pool2d(x, 2), array(6, 4, 3, 3), padding=1), 6))
    up = F.conv_transpose2d(down, array(6, 3, 2, 2), array(3), stride=2)
    return F.conv2d(F.cat([x, up], 1), array(2, 7, 1, 1), array(2))


def odd_transposed(x):
    return F.conv_transpose2d(x, array(4, 3, 3, 3), array(6), stride=2, padding=1, output_padding=1, groups=2)


def classifier(x):
    y = F.adaptive_avg_pool2d(F.dropout(x, 0.5, False), (2, 3))
    y = F.relu(F.linear(F.flatten(y, 1), array(9, 24), array(9)))
    return F.softmax(F.linear(F.dropout(y, training=False), array(5, 9)), 1)


def pooled_logits(x):
    return F.linear(F.flatten(F.mean(F.relu(x), (2, 3), keepdim=True), 1), array(5, 4))


def lenet_1998(x):
    """Weights that a matmul makes of others, a divisor, an array a map, the distances."""
    y = F.scaled_tanh(F.add(F.mul(F.avg_pool2d(x, 2, divisor_override=1), array(4, 1, 1)), array(4, 1, 1)))
    y = F.conv2d(y, F.reshape(F.matmul(array(12, 5), array(5, 9)), (3, 4, 3, 3)), array(3))
    return F.squared_euclidean(F.flatten(y, 1), array(2, y.size // y.shape[0]))


def transform_input(x):
    """Inception's: channels taken out, scaled one by one and joined again."""
    return F.cat([F.unsqueeze(x[:, i], 1) * (0.5 + i) + 0.1 for i in range(3)] + [x[:, 1:3]], 1)


def upsampled(x):
    return F.cat([F.interpolate(x, scale_factor=2, mode="nearest"),
                  F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)],
                 1)


def restyled(x):
    """Of networks that make images: mirrored maps, norms of each map by itself, leaky units."""
    y = F.leaky_relu(F.instance_norm(F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), array(6, 4, 3, 3), array(6))), 0.2)
    z = F.instance_norm(F.conv_transpose2d(y, array(6, 3, 4, 4), stride=2, padding=1), weight=array(3), bias=array(3))
    return F.tanh(F.pad(z, (2, 1, 0, 3), "replicate"))


BLOCKS = [residual, preactivation, squeeze_excite, squeeze_excite_silu, inverted_residual, inception, unet,
          odd_transposed, classifier, pooled_logits, lenet_1998, transform_input, upsampled, restyled]
UNKNOWN_TO_NCNN = {"lenet_1998", "transform_input", "restyled"}


@pytest.mark.parametrize("peer", ["torch", "onnxruntime", "openvino", "ncnn"])
@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_block_of_a_network_gives_the_same_at_a_peer(block, peer, batch):
    if peers.missing(peer):
        pytest.skip(f"{peer} is not installed")
    if peer == "ncnn" and batch > 1:
        pytest.skip("ncnn has no batch axis")
    x = array(batch, 4, 12, 18)
    with record.calls() as calls, pyops.no_grad():
        want = block(pyops.Tensor(x)).data
    graph = record.graph(calls, x)
    if peer == "ncnn" and block.__name__ in UNKNOWN_TO_NCNN:
        with pytest.raises(record.Unsupported, match="ncnn"):
            peers.ncnn(graph, x, 1)
        return
    got = peers.as_array(peers.PEERS[peer](graph, x, 1)())
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("peer", ["torch", "onnxruntime"])   # the others have no max_unpool
def test_pooling_indices_lead_back_at_a_peer(peer):
    if peers.missing(peer):
        pytest.skip(f"{peer} is not installed")
    x = array(2, 4, 11, 18)
    with record.calls() as calls, pyops.no_grad():
        pooled, places = F.max_pool2d(pyops.Tensor(x), 2, 2, return_indices=True)
        want = F.max_unpool2d(F.relu(pooled), places, 2, 2, output_size=x.shape[-2:]).data
    got = peers.as_array(peers.PEERS[peer](record.graph(calls, x), x, 1)())
    assert np.array_equal(got, want)


def test_of_pooling_indices_the_median_is_held():
    want = np.linspace(1, 2, 101)
    got = want.copy()
    got[:10] = 0   # put elsewhere
    assert network_suite.off("segnet", got, want) == 0 and network_suite.off("unet", got, want) > 0.5
    assert network_suite.off("segnet", want + 1e-3, want) == pytest.approx(5e-4)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_modern"])
def test_files_of_a_network_hold_what_runners_need(name, tmp_path):
    pytest.importorskip("onnx")
    networks.write(name, [1, 2], tmp_path)
    state = networks.drawn(name).state_dict()
    seen = {}
    for key, dtype, shape, fill in networks.read_weights(tmp_path):
        seen[key] = np.empty(shape, dtype)
        fill(seen[key])
    assert list(seen) == list(state) and all(np.array_equal(seen[k], state[k]) for k in state)
    for batch in (1, 2):
        place = tmp_path / str(batch)
        x, want = np.load(place / "x.npy"), np.load(place / "want.npy")
        assert x.shape == (batch, 1, 32, 32) and want.dtype == np.float64 and want.shape == (batch, 10)
        assert (place / "model.onnx").stat().st_size > 100_000
        work = json.loads((place / "work.json").read_text())
        assert work["flops"] > 1e5 and set(work["lacking"]) == ({"ncnn"} if name == "lenet5" else set())


def test_batch_norm_gets_the_statistics_of_its_inputs():
    model, x = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5)), networks.images("vgg16", 4, 1)
    networks.calibrate(model, x)
    y = model[0](x)
    assert np.allclose(model[1].running_mean, y.mean((0, 2, 3)), atol=1e-5) and not model.training
    assert np.ptp(model[1].weight.data) > 0.1


def job(tmp_path, function, **more):
    return {"runner": f"runner_samples:{function}", "result": str(tmp_path / f"{function}.npy"),
            "seconds": 0.001, "number": 7, **more}


ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent)}


def test_processes_answer_in_turn(tmp_path):
    processes = {name: isolated.Process(job(tmp_path, "sleeper", seconds=s), ENVIRONMENT)
                 for name, s in (("a", 0.001), ("b", 0.03))}
    try:
        assert np.array_equal(np.load(tmp_path / "sleeper.npy"), np.full((2, 3), 7))
        assert isolated.interleave(processes, 0.02, 0, 2) == {}
        for name, shortest in (("a", 0.001), ("b", 0.03)):
            process = processes[name]
            assert process.calls == 1 and process.setup >= shortest and process.memory > 60e6
            assert len(process.samples) >= (6 if name == "a" else 2) and min(process.samples) >= shortest
    finally:
        for process in processes.values():
            process.close()
    assert all(p.process.returncode == 0 for p in processes.values())


@pytest.mark.parametrize("function, said", [("refuses", "^there is no such op$"),
                                            ("breaks", "ZeroDivisionError: division by zero"),
                                            ("dies", "signal 9: last words")])
def test_a_process_that_cannot_prepare_says_why(function, said, tmp_path):
    with pytest.raises(isolated.Failed, match=said):
        isolated.Process(job(tmp_path, function), ENVIRONMENT)


def test_one_that_fails_on_the_way_does_not_stop_the_others(tmp_path):
    processes = {f: isolated.Process(job(tmp_path, f), ENVIRONMENT) for f in ("dies_later", "sleeper")}
    try:
        failed = isolated.interleave(processes, 0.02, 0, 3)
        assert (list(failed) == ["dies_later"] and "code 3" in failed["dies_later"]
                and len(processes["sleeper"].samples) >= 9)
    finally:
        for process in processes.values():
            process.close()


def test_a_checkout_is_timed_against_another(tmp_path, capsys):
    file = tmp_path / "against.json"
    assert against.main([str(against.ROOT), "--net", "lenet5_modern", "--batch", "2", "--threads", "1",
                         "--quick", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    (row,) = found["networks"]
    assert (row["network"], row["batch"], row["difference"], found["failed"]) == ("lenet5_modern", 2, 0.0, {})
    assert found["theirs"] == found["ours"] and found["threads"] == 1
    assert (row["ratio"] == row["shortest"][0] / row["shortest"][1]
            and found["geometric_mean"] == pytest.approx(row["ratio"]))
    assert 0 < row["shortest"][0] <= row["median"][0] and "geometric mean of 1:" in capsys.readouterr().out


def test_what_is_no_built_checkout_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        against.main([str(tmp_path), "--net", "lenet5_modern"])
    assert "is no built checkout" in capsys.readouterr().err


def found(ours, **theirs):
    """A row as if measured: milliseconds of each."""
    row = suite.Row(network_suite.GROUP, "vgg16, batch 1", "vgg16", 3e10, 1e9)
    for name, ms in {"pyops": ours, **theirs}.items():
        row.timings[name.replace("_", "-")] = suite.Timing([1.5e-3 * ms, 1e-3 * ms], 1, 2e-6, 1.25,
                                                           600_000_000)
    return row


def test_the_table_names_the_best_peer():
    row = found(80, ncnn=90, torch=240, pyops_eager=60)
    assert row.best() == "ncnn"
    columns = report.network_columns(["torch", "ncnn"])
    assert dict(zip(columns.heads, columns.cells(row))) == {
        "min": "80.0", "median": "100", "error": "2e-06", "best peer": "ncnn", "best / ours": "1.12",
        "torch": "240", "ncnn": "90.0"}
    details = {what: report.detail_columns(what, ["torch"]).cells(row) for what in report.DETAILS}
    assert details == {"error": ["2e-06"] * 2, "peak memory, MB": ["600"] * 2, "set-up, s": ["1.25"] * 2}
    slower = found(180, ncnn=90)
    assert report.summary([row, slower]) == [
        "batch 1: ahead of every peer on 1 of 2 networks; best / ours, geometric mean: 0.75"]


def test_a_row_that_lacks_ours_or_every_peer_is_shown():
    lonely, without = found(5), found(5, torch=6)
    del without.timings["pyops"]
    columns = report.network_columns(["torch"])
    assert columns.cells(lonely) == ["5.00", "6.25", "2e-06", "-", "-", "-"]
    assert columns.cells(without) == ["-", "-", "-", "torch", "-", "6.00"]
    assert report.summary([lonely, without]) == []


@pytest.mark.parametrize("ms, shown", [(0.02741, "0.0274"), (0.5, "0.500"), (3.456, "3.46"), (99.96, "100.0"),
                                       (1234.4, "1234")])
def test_milliseconds_to_three_digits(ms, shown):
    assert report.milliseconds(1e-3 * ms) == shown


def test_fast_is_allowed_another_error():
    work = {"flops": 1.0, "bytes": 1.0}
    timings = {name: suite.Timing([1.0], 1, 5e-3) for name in ("pyops", "pyops fast", "torch")}
    settings = suite.Settings(1, ("torch",), 1.0, None, precisions=("default", "fast"))
    default, fast = network_suite.rows_of("vgg16", 8, timings, {"pyops fast": "said"}, work, settings)
    assert (default.name, default.wrong, default.notes) == ("vgg16, batch 8", True, {})
    assert (fast.name, fast.wrong, fast.notes) == ("vgg16, batch 8, fast", False, {"pyops fast": "said"})
    assert set(fast.timings) == {"pyops", "torch"}


def test_a_network_is_measured_and_written(tmp_path, capsys):
    chosen = [p for p in ("torch", "onnxruntime", "ncnn") if not RUNNERS[p].missing] + ["pyops-eager"]
    file, page = tmp_path / "nets.json", tmp_path / "nets.html"
    assert cli.main(["bench", "--net", "lenet5_modern", "--batch", "1,2", "--peers", ",".join(chosen),
                     "--threads", "1", "--quick", "--json", str(file), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    entries = {e["name"]: e for e in json.loads(file.read_text())["benchmarks"]}
    for batch in (1, 2):
        for runner in chosen:
            entry = entries[f"lenet5_modern, batch {batch}[{runner}]"]
            assert entry["stats"]["min"] > 0 and entry["extra_info"]["error"] < 1e-5
            assert entry["extra_info"]["setup"] > 0 and entry["extra_info"]["memory"] >= 0
    assert "lenet5_modern, batch 2" in out and "set-up" in out and "networks: peak memory" in page.read_text()
    assert set(json.loads(file.read_text())["machine_info"]["packages"]) == {"numpy",
                                                                             *results.packages(chosen)}


def test_a_group_is_also_compiled(tmp_path, capsys, monkeypatch):
    small = {"3x3": case("3x3", "conv2d", A(1, 16, 12, 12), A(16, 16, 3, 3), A(16), padding=1),
             "relu": case("relu", "relu", A(1, 16, 4, 4))}
    monkeypatch.setitem(suite.GROUPS, "small", small)
    file = tmp_path / "layers.json"
    assert cli.main(["bench", "--group", "small", "--peers", "none", "--precision", "strict", "--quick",
                     "--json", str(file)]) == 0
    entries = {e["name"]: e["extra_info"] for e in json.loads(file.read_text())["benchmarks"]}
    assert set(entries) == {f"{layer}[{ours}]" for layer in small for ours in ("pyops", "pyops-compiled")}
    entry = entries["3x3[pyops-compiled]"]
    assert entry["algorithm"] == "direct" and entry["step"] > 0 and entry["error"] < 1e-5
    assert "small, compiled" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, said", [
    (["--net", "lenet5,alexnett"], "alexnet"), (["--net", "all", "--batch", "1,x"], "1,8"),
    (["--net", "vgg16", "--precision", "fats"], "fast"),
    (["--net", "vgg16", "--peers", "torch-hnwc"], "torch-nhwc"), (["--group", "vgg"], "vgg16"),
])
def test_a_wrong_request_is_refused(arguments, said, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert said in capsys.readouterr().err
