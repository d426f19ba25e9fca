"""ONNX models: onnx's own tests of every operator, its classic networks, whole models beside torch,
and files that are none.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import pyops
from pyops.cli import main

onnx = pytest.importorskip("onnx")
import onnx.backend.test  # noqa: E402, F811
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pyops.onnx as door  # noqa: E402

CASES = {
    name: (cls, name)
    for cls in onnx.backend.test.BackendTest(door.Backend, __name__).test_cases.values()
    for name in dir(cls)
    if name.startswith("test_") and name.endswith("_cpu")
}
EXCLUDED = {
    line
    for line in (Path(__file__).parent / "onnx_excluded.txt").read_text().splitlines()
    if line.startswith("test_")
}
KNOWN_TO = (
    # the onnx that the list of exclusions is of; a later one may bring tests of new operators
    "1.23.2"
)
pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::DeprecationWarning", "ignore::UserWarning"
)


@pytest.mark.parametrize("name", sorted(set(CASES) - EXCLUDED))
def test_of_onnx(name):
    """As onnx compares: 1e-3 relative, 1e-7 absolute for operators."""
    cls, method = CASES[name]
    getattr(cls(method), method)()


@pytest.mark.skipif(onnx.__version__ != KNOWN_TO, reason=f"the list is of onnx {KNOWN_TO}")
def test_what_is_excluded_is_not_passed():
    """No test is left out that could be in, and none that does not exist."""
    assert not EXCLUDED - set(CASES)
    passed = []
    for name in EXCLUDED:
        cls, method = CASES[name]
        try:
            getattr(cls(method), method)()
        except BaseException:  # SkipTest among them, of models that the backend refuses
            continue
        passed.append(name)
    assert not passed


def test_most_are_compiled():
    """Real operators become Programs; node by node runs what is of whole numbers, or whose shapes
    depend on numbers.
    """
    from onnx.backend.test.case.node import collect_testcases

    whole = [
        t
        for t in collect_testcases(None)
        if re.match(
            r"test_(basic_conv|conv_|convtranspose|maxpool|averagepool|lppool|batchnorm|layer_norm|"
            r"gemm|lstm_|softmax)",
            t.name,
        )
        and f"{t.name}_cpu" not in EXCLUDED
    ]
    compiled = []
    for t in whole:
        prepared = door.Backend.prepare(t.model)
        prepared.run([np.asarray(a) for a in t.data_sets[0][0]])
        compiled += [t.name] * prepared.compiled  # of the run
    assert len(whole) > 120 and len(compiled) > 0.8 * len(whole)


def model_of(nodes, inputs, outputs, constants=(), opset=21):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def small(batch=2):
    rng = np.random.default_rng(0)
    normal = lambda *s: rng.standard_normal(s).astype(np.float32)  # noqa: E731
    constants = {
        "w": normal(8, 3, 3, 3),
        "scale": normal(8),
        "shift": normal(8),
        "mean": normal(8),
        "var": rng.uniform(0.5, 2, 8).astype(np.float32),
        "f": normal(5, 8),
        "b": normal(5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "stem", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", "f", "b"], ["y"], transB=1),
    ]
    return model_of(nodes, {"x": [batch, 3, 9, 8]}, ["y"], constants)


def test_a_network_is_fused_as_our_own_are():
    program = door.load(small())
    assert [s.op for s in program.steps if s.flops] == ["conv+act", "linear"] and "stem" in program.explain(
        "stem"
    )
    x = np.random.default_rng(1).standard_normal((2, 3, 9, 8)).astype(np.float32)
    want = onnx.reference.ReferenceEvaluator(small()).run(None, {"x": x})[0]
    np.testing.assert_allclose(program(x), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(door.run(small(), {"x": x})["y"], want, rtol=1e-4, atol=1e-5)


def test_an_open_batch_takes_any():
    program = door.load(small("N"))
    one = door.load(small(1))
    x = np.random.default_rng(1).standard_normal((3, 3, 9, 8)).astype(np.float32)
    np.testing.assert_allclose(
        program(x), np.concatenate([one(x[i : i + 1]) for i in range(3)]), rtol=1e-5, atol=1e-6
    )


def test_shapes_that_are_left_open_are_those_that_come():
    model = small("N")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    loaded = door.load(model)
    for height in (9, 12, 9):
        x = np.random.default_rng(height).standard_normal((2, 3, height, 8)).astype(np.float32)
        fixed = door.load(model, shapes={"x": x.shape})
        assert np.array_equal(loaded(x), fixed(x))
    assert loaded.programs == 2
    for x in (np.ones((2, 3, 9, 7), np.float32), np.ones((2, 3, 9, 8)), np.ones((3, 9, 8), np.float32)):
        with pytest.raises(ValueError,
                           match=r"input 'x' is float\d\d.*, the model takes float32 \[any, 3, any, 8\]"):
            loaded(x)
    with pytest.raises(door.ModelError, match="no input z"):
        door.load(model, shapes={"z": (1,)})


@pytest.mark.parametrize(
    "change, match",
    [
        (
            lambda m: m.graph.node.add(op_type="Frobnicate", name="odd", input=["y"], output=["z"]),
            r"no counterpart here for Frobnicate odd",
        ),
        (lambda m: setattr(m.graph.node[2], "domain", "com.example"), r"com\.example\.Relu"),
        (lambda m: m.opset_import[0].ClearField("version"), "operator set 0"),
        (lambda m: setattr(m.opset_import[0], "version", 999), "operator set 999"),
        (lambda m: m.ClearField("opset_import"), "names no version"),
        (
            lambda m: m.graph.node[2].input.__setitem__(0, "y"),
            r"Relu 'r': input 'y' is made by a later node: the graph has a cycle",
        ),
        (
            lambda m: m.graph.node[2].input.__setitem__(0, "nowhere"),
            r"Relu 'r': input 'nowhere' is made by no node",
        ),
        (lambda m: m.graph.node[2].output.__setitem__(0, "n"), "'n' is defined twice"),
        (lambda m: setattr(m.graph.output[0], "name", "nothing"), "output 'nothing'"),
        (
            lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"),
            r"tensor 'w' of shape \(8, 3, 3, 3\)",
        ),
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, 1 << 50), "tensor 'w'"),
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, -8), "tensor 'w'"),
        (lambda m: m.graph.node[0].attribute[0].ints.__setitem__(0, -3), "Conv stem: .*padding"),
        (lambda m: m.graph.initializer[1].dims.__setitem__(0, 4), "tensor 'scale'"),
    ],
)
def test_models_that_are_refused(change, match):
    model = small()
    change(model)
    with pytest.raises(door.ModelError, match=match):
        door.load(model)


@pytest.mark.parametrize(
    "node, opset, match",
    [
        (dict(op_type="Gelu", inputs=["x"]), 11, "Gelu odd: operator set 11 has no Gelu"),
        (
            dict(op_type="Upsample", inputs=["x"]),
            21,
            "Upsample odd: operator set 21 has no Upsample any more",
        ),
        (dict(op_type="Relu", inputs=["x", "x"]), 21, "Relu odd: has 2 inputs, takes 1"),
        (dict(op_type="Relu", inputs=[]), 21, "Relu odd: has 0 inputs, takes 1"),
        (dict(op_type="Relu", inputs=["x"], slope=2.0), 21, "Relu odd: takes no attribute slope"),
        (dict(op_type="Concat", inputs=["x"]), 21, "Concat odd: needs attribute axis"),
    ],
)
def test_nodes_that_their_operator_set_does_not_have(node, opset, match):
    with pytest.raises(door.ModelError, match=match):
        door.load(
            model_of([helper.make_node(outputs=["y"], name="odd", **node)], {"x": [2, 3]}, ["y"], opset=opset)
        )


def of_functions(depth, last):
    """A model whose functions call the next one twice: written out it has 2 ** depth nodes."""
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    bodies = [
        [helper.make_node(f"f{i + 1}", [a], [b], domain="own") for a, b in (("a", "t"), ("t", "b"))]
        for i in range(depth - 1)
    ]
    bodies.append([helper.make_node("Relu", ["a"], ["t"]), last])
    functions = [
        helper.make_function("own", f"f{i}", ["a"], ["b"], body, sets) for i, body in enumerate(bodies)
    ]
    model = model_of([helper.make_node("f0", ["x"], ["y"], domain="own")], {"x": [2, 3]}, ["y"])
    model.functions.extend(functions)
    model.opset_import.append(sets[1])
    return model


def test_functions_are_written_out_but_not_without_end():
    assert len(door.load(of_functions(3, helper.make_node("Neg", ["t"], ["b"]))).steps) == 8
    with pytest.raises(door.ModelError, match="written out, come to .* at most"):
        door.load(of_functions(60, helper.make_node("Neg", ["t"], ["b"])))
    with pytest.raises(door.ModelError, match="f0 calls itself"):
        door.load(of_functions(2, helper.make_node("f0", ["t"], ["b"], domain="own")))


@pytest.mark.parametrize(
    "location, match",
    [
        ("weights.bin", "which is missing"),
        ("../weights.bin", "outside of the model's folder"),
        ("/etc/hostname", "outside of the model's folder"),
    ],
)
def test_external_data_that_is_refused(tmp_path, location, match):
    model = small()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(door.ModelError, match=match):
        door.load(tmp_path / "m.onnx")


def test_external_data(tmp_path):
    x = np.random.default_rng(1).standard_normal((2, 3, 9, 8)).astype(np.float32)
    want = door.load(small())(x)
    onnx.save_model(
        small(), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=16
    )
    assert np.array_equal(door.load(tmp_path / "m.onnx")(x), want)
    whole = (tmp_path / "w.bin").read_bytes()
    (tmp_path / "w.bin").write_bytes(whole[:100])
    with pytest.raises(door.ModelError, match="w.bin', which has 100"):
        door.load(tmp_path / "m.onnx")


def test_damaged_files_never_do_worse_than_an_error():
    """Bytes changed, cut off and doubled: a Program, or a ModelError."""
    data, rng = small().SerializeToString(), np.random.default_rng(0)
    refused = 0
    for i in range(300):
        damaged = bytearray(data)
        if i % 3 == 0:
            damaged = damaged[: rng.integers(len(damaged))]
        else:
            for at in rng.integers(0, len(damaged), 1 + i % 4):
                damaged[at] = rng.integers(256)
        try:
            door.load(bytes(damaged))
        except door.ModelError:
            refused += 1
    assert refused > 100


def test_a_few_numbers_cannot_ask_for_all_memory():
    model = model_of(
        [helper.make_node("ConstantOfShape", ["s"], ["big"]), helper.make_node("Add", ["x", "big"], ["y"])],
        {"x": [1]},
        ["y"],
        {"s": np.array([1 << 40], np.int64)},
    )
    with pytest.raises(door.ModelError, match="ConstantOfShape 'big': .* takes 4398046511104 bytes"):
        door.load(model)


def test_many_constants_cannot_either(monkeypatch):
    monkeypatch.setattr("pyops.onnx.limits.MEMORY", 1 << 20)
    names = [f"c{i}" for i in range(40)]
    model = model_of(
        [
            *(helper.make_node("ConstantOfShape", ["s"], [n]) for n in names),
            helper.make_node("Sum", ["x", *names], ["y"]),
        ],
        {"x": [1]},
        ["y"],
        {"s": np.array([1 << 14], np.int64)},
    )
    with pytest.raises(door.ModelError, match="ConstantOfShape 'c16': .* in use"):
        door.load(model)


def classic(name):
    return Path(onnx.__file__).parent / "backend/test/data/light" / f"light_{name}.onnx"


def test_run_and_its_files(tmp_path, capsys):
    path = tmp_path / "m.onnx"
    path.write_bytes(small("N").SerializeToString())
    x = np.random.default_rng(1).standard_normal((2, 3, 9, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    assert (
        main(
            [
                "run",
                str(path),
                "--input",
                str(tmp_path / "x.npy"),
                "--output",
                str(tmp_path / "y.npz"),
                "--threads",
                "1",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert (
        re.search(r"x +float32 \(2, 3, 9, 8\)", out)
        and re.search(r"y +float32 \(2, 5\)", out)
        and " ms" in out
    )
    assert np.array_equal(np.load(tmp_path / "y.npz")["y"], door.load(small())(x))
    assert main(["run", str(path), "--input", "random"]) == 0
    assert main(["run", str(tmp_path / "no.onnx")]) == 2 and "no.onnx" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", x[..., :3])
    assert (
        main(["run", str(path), "--input", str(tmp_path / "x.npy")]) == 2
        and "compiled for" in capsys.readouterr().err
    )


@pytest.mark.skipif(not classic("squeezenet").exists(), reason="this onnx carries no models")
def test_bench_of_a_file(capsys):
    pytest.importorskip("onnxruntime")
    assert main(["bench", str(classic("squeezenet")), "--quick", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "pyops" in out and "onnxruntime" in out and "ratio" in out


def test_torchs_export(tmp_path):
    """A model that torch wrote: resnet18 through its ONNX file gives what torch gives."""
    torch = pytest.importorskip("torch")
    from pyops.bench.torchvision_schemas import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    x = torch.randn(1, 3, 64, 64)
    try:
        torch.onnx.export(model, (x,), tmp_path / "m.onnx", dynamo=False)
    except Exception as why:  # torch's exporter, not ours
        pytest.skip(f"torch cannot export: {why}")
    with torch.no_grad():
        want = model(x).numpy()
    got = pyops.onnx.load(tmp_path / "m.onnx")(x.numpy())
    assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()
    assert os.path.getsize(tmp_path / "m.onnx") > 1e6
