"""ONNX files whose larger weights are read from where they lie are the models that they were, and odd
ones are the parser's to judge."""
import os

import numpy as np
import pytest

pyops_onnx = pytest.importorskip("pyops.onnx", reason="onnx is not installed")
onnx = pytest.importorskip("onnx")

from pyops.onnx import apart  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 200)).astype(np.float32)
W, V = (RNG.standard_normal(s).astype(np.float32) for s in ((200, 150), (150, 150)))


def model(*initializers, op="MatMul", inputs=("x", "w")):
    helper = onnx.helper
    shape = helper.make_tensor_value_info("x", 1, [3, 200])
    nodes = [helper.make_node(op, list(inputs), ["h"]), helper.make_node("MatMul", ["h", "v"], ["y"])]
    graph = helper.make_graph(nodes, "g", [shape], [helper.make_tensor_value_info("y", 1, None)], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tensor(array, name):
    return onnx.numpy_helper.from_array(array, name)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(model(tensor(W, "w"), tensor(V, "v")).SerializeToString())
    return path


def test_the_model_is_the_same(file):
    small = apart.parseable(file)
    assert len(small) < file.stat().st_size // 50
    program = pyops_onnx.load(file)
    np.testing.assert_allclose(program(X), X @ W @ V, rtol=0, atol=1e-4 * np.abs(X @ W @ V).max())
    assert np.array_equal(program(X), pyops_onnx.load(file.read_bytes())(X))


def test_by_a_link_from_another_folder(file, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.onnx"
    link.symlink_to(file)
    assert np.array_equal(pyops_onnx.load(link)(X), pyops_onnx.load(file)(X))


@pytest.mark.parametrize("change", ["float_data", "float16", "shape"])
def test_other_tensors_stay(file, change):
    w = tensor(W, "w")
    if change == "float_data":
        w = onnx.helper.make_tensor("w", 1, W.shape, W.reshape(-1))
    elif change == "float16":
        w = tensor(W.astype(np.float16), "half")
    else:
        w.dims[0] = 150
    made = model(w, tensor(V, "v"))
    if change == "float16":
        made.graph.node.insert(0, onnx.helper.make_node("Cast", ["half"], ["w"], to=1))
    file.write_bytes(made.SerializeToString())
    if change == "shape":
        with pytest.raises(ValueError, match="onnx: tensor 'w' of shape"):
            pyops_onnx.load(file)
    else:
        assert np.array_equal(pyops_onnx.load(file)(X), pyops_onnx.load(file.read_bytes())(X))


@pytest.mark.parametrize("cut", [0.01, 0.3, 0.999])
def test_truncated_files_are_refused(file, cut):
    content = file.read_bytes()
    file.write_bytes(content[:int(cut * len(content))])
    with pytest.raises(ValueError, match="truncated or no ONNX file"):
        pyops_onnx.load(file)


def test_damaged_files_are_judged_as_their_bytes_are(file):
    content = bytearray(file.read_bytes())
    starts = [i for i in range(len(content)) if i < 400 or i > len(content) - 400 or abs(i - 120_100) < 300]
    for i in RNG.choice(starts, 150, replace=False):
        damaged = content.copy()
        damaged[i] ^= 1 << int(RNG.integers(8))
        file.write_bytes(damaged)
        said = []
        for source in (file, bytes(damaged)):
            try:
                found = pyops_onnx.load(source)
                said.append(np.asarray(found(X)).tobytes())
            except (ValueError, TypeError) as why:
                said.append(type(why).__name__)
        assert said[0] == said[1], f"byte {i}"


def test_weights_go_as_they_are_packed_and_a_refused_model_still_runs(file):
    """What lowering refuses after they went is read again."""
    made = model(tensor(W, "w"), tensor(V, "v"))
    made.graph.node.append(onnx.helper.make_node("NonZero", ["y"], ["places"]))
    made.graph.output.append(onnx.helper.make_tensor_value_info("places", 7, None))
    file.write_bytes(made.SerializeToString())
    y, places = pyops_onnx.load(file)(X)
    assert np.array_equal(np.asarray(places), np.stack(np.nonzero(np.asarray(y))))


def lies_in_a_file(array):
    from pyops.files.pieces import borrowed
    return borrowed(array)


@pytest.mark.parametrize("memory", ["fast", "balanced", "lean"])
def test_a_program_keeps_nothing_of_the_file(file, memory):
    program = pyops_onnx.load(file, memory=memory)
    want = program(X)
    assert not any(map(lies_in_a_file, program.plan.constants))
    file.write_bytes(b"")   # where it were mapped still, reading would end the process
    assert np.array_equal(program(X), want)


def test_neither_does_what_is_planned_for_other_sizes_or_run_node_by_node(tmp_path):
    path = tmp_path / "open.onnx"
    made = model(tensor(W, "w"), tensor(V, "v"))
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    path.write_bytes(made.SerializeToString())
    program = pyops_onnx.load(path)
    path.write_bytes(b"")
    for rows in (1, 3, 5):
        x = np.resize(X, (rows, 200))
        np.testing.assert_allclose(program(x), x @ W @ V, rtol=0, atol=1e-3)
    path.write_bytes(made.SerializeToString())
    kept = pyops_onnx.program.parsed(path)
    assert not any(map(lies_in_a_file, kept.constants.values()))


def normed(file, shared):
    """Two convolutions behind each other, each with its batch norm; of one filter, if it is shared."""
    helper, rng = onnx.helper, np.random.default_rng(1)
    wide = [rng.standard_normal((160, 160, 1, 1)).astype(np.float32) for _ in range(1 if shared else 2)]
    one = {k: rng.uniform(0.5, 1.5, 160).astype(np.float32) for k in ("s0", "b0", "m0", "v0", "s1", "b1", "m1", "v1")}
    nodes = []
    for i in range(2):
        nodes += [helper.make_node("Conv", [f"y{i}", f"w{0 if shared else i}"], [f"c{i}"]),
                  helper.make_node("BatchNormalization", [f"c{i}", *(f"{k}{i}" for k in "sbmv")], [f"y{i + 1}"])]
    shape = helper.make_tensor_value_info("y0", 1, [1, 160, 3, 5])
    graph = helper.make_graph(nodes, "g", [shape], [helper.make_tensor_value_info("y2", 1, None)],
                              [tensor(w, f"w{i}") for i, w in enumerate(wide)] + [tensor(v, k) for k, v in one.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(made.SerializeToString())


@pytest.mark.parametrize("shared", [False, True])
def test_batch_norms_are_folded_as_into_arrays(tmp_path, shared):
    """In the map of the file, where a filter is one layer's only."""
    path = tmp_path / "model.onnx"
    normed(path, shared)
    before, x = path.read_bytes(), np.random.default_rng(2).standard_normal((1, 160, 3, 5)).astype(np.float32)
    assert np.array_equal(pyops_onnx.load(path)(x), pyops_onnx.load(before)(x))
    assert path.read_bytes() == before


@pytest.mark.parametrize("outside", [False, True])
def test_a_filter_that_both_branches_and_the_graph_around_them_read(tmp_path, outside):
    """Each branch folds a batch norm of its own into it."""
    helper, rng, path = onnx.helper, np.random.default_rng(1), tmp_path / "model.onnx"
    held = {"w": rng.standard_normal((256, 256, 1, 1)), "zero": np.zeros(())}

    def branch(k):
        held.update({f"{name}{k}": rng.uniform(0.5, 1.5, 256) for name in "sbmv"})
        nodes = [helper.make_node("Conv", ["x", "w"], [f"c{k}"]),
                 helper.make_node("BatchNormalization", [f"c{k}", *(f"{name}{k}" for name in "sbmv")], [f"o{k}"])]
        return helper.make_graph(nodes, f"g{k}", [], [helper.make_tensor_value_info(f"o{k}", 1, None)])
    nodes = [helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
             helper.make_node("Greater", ["sum", "zero"], ["c"]),
             helper.make_node("If", ["c"], ["y"], then_branch=branch(0), else_branch=branch(1))]
    if outside:
        nodes += [helper.make_node("Conv", ["x", "w"], ["plain"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 256, 3, 5])],
                              [helper.make_tensor_value_info(n, 1, None) for n in ("y", "plain")[:1 + outside]],
                              [tensor(a.astype(np.float32), name) for name, a in held.items()])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    assert len(apart.parseable(path)) < path.stat().st_size // 2
    in_map, in_memory = pyops_onnx.load(path), pyops_onnx.load(path.read_bytes())
    x = np.random.default_rng(2).standard_normal((1, 256, 3, 5)).astype(np.float32)
    for given in (x + 1, x - 1):
        for got, want in zip(*(result if outside else (result,) for result in (in_map(given), in_memory(given)))):
            assert np.array_equal(got, want)


def test_arrays_that_lie_on_each_other_are_folded_apart(tmp_path):
    """Two names for the same bytes of a file, each with its batch norm."""
    normed(tmp_path / "model.onnx", False)
    onnx.save_model(onnx.load(tmp_path / "model.onnx"), str(tmp_path / "split.onnx"), save_as_external_data=True,
                    location="w.bin", size_threshold=1 << 16)
    split = onnx.load(tmp_path / "split.onnx", load_external_data=False)
    first, second = (t for t in split.graph.initializer if t.name in ("w0", "w1"))
    del second.external_data[:]
    second.external_data.extend(first.external_data)
    (tmp_path / "split.onnx").write_bytes(split.SerializeToString())
    x = np.random.default_rng(2).standard_normal((1, 160, 3, 5)).astype(np.float32)
    proto = onnx.load(tmp_path / "model.onnx")
    w0, w1 = (t for t in proto.graph.initializer if t.name in ("w0", "w1"))
    w1.raw_data = w0.raw_data
    assert np.array_equal(pyops_onnx.load(tmp_path / "split.onnx")(x), pyops_onnx.load(proto.SerializeToString())(x))


def test_arrays_of_a_file_that_is_shorter_than_it_says_are_refused(file, tmp_path):
    proto = onnx.load(file)
    onnx.save_model(proto, str(tmp_path / "split.onnx"), save_as_external_data=True, location="w.bin", size_threshold=1)
    assert np.array_equal(pyops_onnx.load(tmp_path / "split.onnx")(X), pyops_onnx.load(file)(X))
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes()[:-4])
    with pytest.raises(pyops_onnx.ModelError, match="needs bytes"):
        pyops_onnx.load(tmp_path / "split.onnx")


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "FLOAT16", "BOOL"])
def test_weights_in_a_file_beside_are_of_any_type(tmp_path, kind):
    """Those too whose type NumPy alone does not know."""
    helper, wide = onnx.helper, (RNG.standard_normal((200, 400)) > 0).astype(np.float32)
    held = helper.make_tensor("h", getattr(onnx.TensorProto, kind), wide.shape, wide.reshape(-1))
    graph = helper.make_graph(
        [helper.make_node("Cast", ["h"], ["w"], to=1), helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", 1, [3, 200])], [helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(held), "h")])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save_model(made, str(tmp_path / "split.onnx"), save_as_external_data=True, location="w.bin", size_threshold=1)
    assert (tmp_path / "w.bin").stat().st_size >= apart.LARGE
    np.testing.assert_allclose(pyops_onnx.load(tmp_path / "split.onnx")(X), X @ wide, rtol=0, atol=1e-3)


def test_more_files_than_may_be_open(tmp_path):
    """A file for each weight, as `all_tensors_to_one_file=False` writes them."""
    resource = pytest.importorskip("resource")
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("Linux says how many files are open")
    helper, rng, count = onnx.helper, np.random.default_rng(1), 150
    weights = [tensor((rng.standard_normal((130, 130)) / 12).astype(np.float32), f"w{i}") for i in range(count)]
    nodes = [helper.make_node("MatMul", [f"y{i}", f"w{i}"], [f"y{i + 1}"]) for i in range(count)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("y0", 1, [1, 130])],
                              [helper.make_tensor_value_info(f"y{count}", 1, None)], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole, x = made.SerializeToString(), rng.standard_normal((1, 130)).astype(np.float32)
    onnx.save_model(made, str(tmp_path / "split.onnx"), save_as_external_data=True, all_tensors_to_one_file=False,
                    size_threshold=1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 100, before[1]))
    try:
        program = pyops_onnx.load(tmp_path / "split.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert np.array_equal(program(x), pyops_onnx.load(whole)(x))


@pytest.mark.parametrize("location", ["a\0b", "x" * 5000])
def test_what_is_no_name_of_a_file_is_refused(file, tmp_path, location):
    onnx.save_model(onnx.load(file), str(tmp_path / "split.onnx"), save_as_external_data=True, location="w.bin",
                    size_threshold=1)
    split = onnx.load(tmp_path / "split.onnx", load_external_data=False)
    next(e for e in split.graph.initializer[0].external_data if e.key == "location").value = location
    (tmp_path / "split.onnx").write_bytes(split.SerializeToString())
    with pytest.raises(pyops_onnx.ModelError, match="tensor 'w' lies in .* which cannot be opened"):
        pyops_onnx.load(tmp_path / "split.onnx")
