"""Small ONNX files that ask for much: refused from shapes, before anything of the size is made."""

import resource

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import pyops.onnx as door  # noqa: E402

N, X = helper.make_node, np.ones(1, np.float32)


def ints(*values):
    return np.array(values, np.int64)


def model(nodes, constants=(), shape=(1,), outputs=("y",), functions=()):
    sets = [helper.make_opsetid("", 18)] + [helper.make_opsetid("own", 1)] * bool(functions)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(o) for o in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(constants).items()],
    )
    return helper.make_model(graph, opset_imports=sets, functions=list(functions), ir_version=10)


def filled(shape, dtype=np.float32):
    return [N("ConstantOfShape", ["s"], ["c"], value=numpy_helper.from_array(np.zeros(1, dtype)))], {
        "s": ints(*shape)
    }


def of_filled(shape, dtype, *more, **constants):
    nodes, sizes = filled(shape, dtype)
    return [
        *nodes,
        *more,
        N("Cast", ["d"], ["f"], to=1),
        N("ReduceSum", ["f"], ["e"]),
        N("Add", ["x", "e"], ["y"]),
    ], {**sizes, **constants}


HUGE = {
    "a cast to eight times the bytes": of_filled(
        [1 << 28], np.int8, N("Cast", ["c"], ["d"], to=TensorProto.DOUBLE)
    ),
    "an outer sum": of_filled(
        [40000, 1], np.float32, N("Transpose", ["c"], ["t"]), N("Add", ["c", "t"], ["d"])
    ),
    "one-hot rows": of_filled(
        [1 << 16],
        np.int64,
        N("OneHot", ["c", "n", "v"], ["d"]),
        n=ints(1 << 16),
        v=np.array([0, 1], np.float32),
    ),
    "a gather of one row": of_filled(
        [1 << 20], np.int64, N("Gather", ["w", "c"], ["d"]), w=np.ones((1, 512), np.float32)
    ),
    "an outer product": of_filled([1 << 17], np.float32, N("Einsum", ["c", "c"], ["d"], equation="i,j->ij")),
    "an identity": of_filled([20000, 20000], np.int8, N("EyeLike", ["c"], ["d"], dtype=11)),
    "a product of matrices": of_filled([9000, 9000], np.float32, N("MatMul", ["c", "c"], ["d"])),
    "places that are not zero": of_filled([1 << 27, 2], np.int8, N("NonZero", ["c"], ["d"])),
    "an expansion": of_filled([1], np.float32, N("Expand", ["c", "n"], ["d"]), n=ints(1 << 30)),
    "a range": of_filled(
        [1],
        np.float32,
        N("Range", ["z", "n", "o"], ["d"]),
        z=ints(0).reshape(()),
        n=np.array(1 << 40),
        o=np.array(1),
    ),
    "much that lives at once": (
        [N("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(20)]
        + [
            N("Sum", [f"c{i}" for i in range(20)], ["d"]),
            N("ReduceSum", ["d"], ["e"]),
            N("Add", ["x", "e"], ["y"]),
        ],
        {"s": ints(1 << 26)},
    ),
    "much one after the other": (
        [N("ConstantOfShape", ["s"], ["c0"])]
        + [N("Exp", [f"c{i}"], [f"c{i + 1}"]) for i in range(200)]
        + [N("ReduceSum", ["c200"], ["e"]), N("Add", ["x", "e"], ["y"])],
        {"s": ints(1 << 25)},
    ),
    "tiles": ([N("Tile", ["x", "r"], ["a"]), N("Tile", ["a", "r"], ["y"])], {"r": ints(1 << 20)}),
    "padding": ([N("Pad", ["x", "p"], ["a"]), N("Softplus", ["a"], ["y"])], {"p": ints(0, 1 << 30)}),
    "rounds": (
        [
            N(
                "Loop",
                ["n", "", "x"],
                ["y"],
                body=helper.make_graph(
                    [N("Identity", ["go"], ["more"]), N("Neg", ["a"], ["b"])],
                    "b",
                    [
                        helper.make_tensor_value_info("i", TensorProto.INT64, ()),
                        helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
                        helper.make_tensor_value_info("a", TensorProto.FLOAT, None),
                    ],
                    [
                        helper.make_tensor_value_info("more", TensorProto.BOOL, ()),
                        helper.make_tensor_value_info("b", TensorProto.FLOAT, None),
                    ],
                ),
            )
        ],
        {"n": np.array(1 << 50)},
    ),
}


@pytest.mark.parametrize("why", HUGE)
def test_what_a_kilobyte_cannot_ask_for(why):
    file = model(*HUGE[why]).SerializeToString()
    assert len(file) < 10_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for way in (lambda: door.load(file), lambda: door.run(file, {"x": X})):
        with pytest.raises(door.ModelError, match="takes ") as refusal:
            way()
        assert len(str(refusal.value)) < 500
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 << 20  # KB


@pytest.mark.parametrize("attribute", [1 << 20, 1 << 31, 1 << 62])
@pytest.mark.parametrize("name", ["strides", "dilations", "pads", "kernel_shape"])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_huge_windows(op, name, attribute):
    attrs = {"kernel_shape": [2, 2], name: [attribute] * (4 if name == "pads" else 2)}
    file, x = model([N(op, ["x"], ["y"], **attrs)], shape=(1, 1, 4, 4)), np.ones((1, 1, 4, 4), np.float32)
    for way in (lambda: door.load(file)(x), lambda: door.run(file, {"x": x})["y"]):
        try:
            assert way().shape == (1, 1, 1, 1)  # a stride over all of it
        except door.ModelError as why:
            assert len(str(why)) < 500


WRONG = {  # of C's and Python's own errors none comes through
    "a range that does not move": ([N("Range", ["z", "z", "z"], ["y"])], {"z": np.float32(0)}),
    "no blocks": ([N("DepthToSpace", ["x"], ["y"], blocksize=0)], {}),
    "blocks of nothing": ([N("SpaceToDepth", ["x"], ["y"], blocksize=0)], {}),
    "no parts": ([N("Split", ["x"], ["y"], num_outputs=0)], {}),
    "many parts": ([N("Split", ["x"], ["y"], num_outputs=1 << 27)], {}),
    "an axis that is not there": ([N("Softmax", ["x"], ["y"], axis=7)], {}),
    "no axes to convolve over": ([N("Conv", ["x", "w"], ["y"])], {"w": np.ones((1, 1, 1), np.float32)}),
    "a type that is none": ([N("Cast", ["x"], ["y"], to=1 << 40)], {}),
    "two types where one is taken": ([N("Add", ["x", "w"], ["y"])], {"w": np.ones(1)}),
    "an operand left out": ([N("Add", ["x", ""], ["y"])], {}),
    "an attribute of another type": ([N("Softmax", ["x"], ["y"], axis="one")], {}),
    "a word that is none": ([N("Pad", ["x", "p"], ["y"], mode="mirror")], {"p": ints(1, 1)}),
}


@pytest.mark.parametrize("why", WRONG)
def test_refusals_are_model_errors(why):
    for way in (lambda f: door.load(f)(X), lambda f: door.run(f, {"x": X})):
        with pytest.raises(door.ModelError, match="onnx: "):
            way(model(*WRONG[why]))


def test_a_model_without_inputs_is_run_and_not_compiled():
    file = model([N("Add", ["w", "w"], ["y"])], {"w": X})
    del file.graph.input[:]
    assert door.run(file, {})["y"] == 2
    with pytest.raises(door.ModelError, match="no input"):
        door.load(file)


def test_messages_do_not_grow_with_the_file():
    file = model(
        [N(f"Frobnicate{i}" * 1000, ["x"], [f"y{i}"], name="n" * 10_000) for i in range(50)], outputs=("y0",)
    )
    with pytest.raises(door.ModelError, match="no counterpart") as refusal:
        door.load(file)
    assert len(str(refusal.value)) < 1000


def test_inputs_are_what_the_file_says():
    file = model([N("Neg", ["x"], ["y"])], shape=(2, 3))
    for x in (np.ones((3, 2), np.float32), np.ones((2, 3)), np.ones(6, np.float32)):
        with pytest.raises(door.ModelError, match="input 'x' is float32"):
            door.run(file, {"x": x})
    with pytest.raises(door.ModelError, match="takes more than"):
        door.load(model([N("Neg", ["x"], ["y"])], shape=(1 << 40,)))
    older = model([N("Neg", ["x"], ["y"])], shape=(2, 3))
    older.graph.input[0].type.tensor_type.shape.dim[
        1
    ].dim_value = -1  # as older converters wrote an open length
    assert door.load(older)(np.ones((2, 5), np.float32)).shape == (2, 5)
    assert door.load(older, shapes={"x": (2, 3)})(np.ones((2, 3), np.float32)).shape == (2, 3)


@pytest.mark.parametrize("depth, taken", [(12, True), (17, False)])
def test_functions_of_functions(depth, taken):
    """2 ** depth nodes from a kilobyte: done in a second, or refused."""
    sets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    bodies = [
        [
            N(f"f{i + 1}" if i + 1 < depth else "Softplus", [a], [b], domain="own" if i + 1 < depth else "")
            for a, b in ("at", "tb")
        ]
        for i in range(depth)
    ]
    file = model(
        [N("f0", ["x"], ["y"], domain="own")],
        functions=[
            helper.make_function("own", f"f{i}", ["a"], ["b"], body, sets) for i, body in enumerate(bodies)
        ],
    )
    if taken:
        assert len(door.load(file).steps) == 2**depth
    else:
        with pytest.raises(door.ModelError, match="written out"):
            door.load(file)


@pytest.mark.parametrize("count", [0, 3])
def test_a_loop_of_known_length_is_a_program(count):
    """y = 2 ** count x, and what x was before each round."""
    body = helper.make_graph(
        [N("Identity", ["go"], ["more"]), N("Add", ["a", "a"], ["b"]), N("Identity", ["a"], ["was"])],
        "b",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, None),
        ],
        [helper.make_empty_tensor_value_info(n) for n in ("more", "b", "was")],
    )
    outputs = ("y", "z") if count else ("y",)
    file = model([N("Loop", ["n", "", "x"], list(outputs), body=body)], {"n": np.array(count)}, (2,), outputs)
    x = np.array([1, 3], np.float32)
    if not count:
        assert np.array_equal(door.run(file, {"x": x})["y"], x)
        return
    y, z = door.load(file)(x)
    assert np.array_equal(y, 8 * x) and np.array_equal(z, np.outer([1, 2, 4], x))
    assert all(map(np.array_equal, door.run(file, {"x": x}).values(), (y, z)))
