"""Sequences and optional values in ONNX files: what they hold, and that they cost a Program nothing."""

import numpy as np
import pytest

from pyops.graph.program import Program

pytest.importorskip("onnx")
from onnx import helper
from onnx_files import BOOL, FLOAT, LONG, file, floats, node

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
X = {"x": (FLOAT, (6, 4))}


def step(nodes, constants=None, outputs="y", opset=21):
    """The Program of a model of x, and what it and running node by node return, which is the same."""
    model = file(nodes, X, dict.fromkeys(outputs.split(), (FLOAT, None)), constants, opset)
    program, x = door.load(model), floats(6, 4)
    assert isinstance(program, Program), program
    got, by_node = program(x), list(door.run(model, {"x": x}).values())
    got = list(got) if isinstance(got, tuple) else [got]
    for a, b in zip(got, by_node, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    return x, program, got[0] if len(got) == 1 else got


@pytest.mark.parametrize(
    "split, attrs, parts",
    [
        (None, {}, [1] * 6),
        (np.int64(4), {}, [4, 2]),
        (np.array([1, 0, 5]), {}, [1, 0, 5]),
        (np.array([3, 1]), {"axis": -1}, [3, 1]),
    ],
)
def test_split_and_joined_is_the_same(split, attrs, parts):
    constants = {} if split is None else {"s": split}
    axis = attrs.get("axis", 0)
    x, program, (y, n) = step(
        [
            node("SplitToSequence", "x s" if constants else "x", "p", **attrs),
            node("ConcatFromSequence", "p", "j", axis=axis),
            node("Relu", "j", "y"),
            node("SequenceLength", "p", "c"),
            node("Cast", "c", "f", to=FLOAT),
            node("Mul", "x f", "n"),
        ],
        constants,
        "y n",
    )
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    np.testing.assert_array_equal(n, x * np.float32(len(parts)))


def test_elements_by_position():
    """In front, behind, erased from behind: rows in the order of a list of Python's."""
    x, program, y = step(
        [
            node("SplitToSequence", "x", "p", keepdims=0),
            node("SequenceAt", "p last", "e"),
            node("SequenceInsert", "p e zero", "q"),
            node("SequenceInsert", "q e", "r"),
            node("SequenceErase", "r two", "t"),
            node("SequenceErase", "t", "u"),
            node("ConcatFromSequence", "u", "j", axis=1, new_axis=1),
            node("Neg", "j", "y"),
        ],
        {"last": np.int64(-1), "zero": np.int64(0), "two": np.int64(2)},
    )
    rows = list(x)
    rows = [rows[-1], *rows, rows[-1]]
    del rows[2], rows[-1]
    np.testing.assert_array_equal(y, -np.stack(rows, 1))


def test_a_map_over_sequences():
    body = helper.make_graph(
        [node("Mul", "a b", "m"), node("Add", "m c", "s")],
        "body",
        [helper.make_tensor_value_info(n, FLOAT, None) for n in "abc"],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in "ms"],
    )
    x, program, y = step(
        [
            node("SplitToSequence", "x", "p"),
            node("SequenceMap", "p p c", "m s", body=body),
            node("ConcatFromSequence", "s", "j", axis=0),
            node("Neg", "j", "y"),
        ],
        {"c": np.float32(3)},
    )
    np.testing.assert_allclose(y, -(x * x + 3), rtol=1e-6)


def test_a_sequence_grows_in_a_loop():
    info = helper.make_tensor_value_info
    sequence = helper.make_value_info("q", helper.make_sequence_type_proto(
        helper.make_tensor_type_proto(FLOAT, None)))
    grown = helper.make_value_info("r", sequence.type)
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Cast", "i", "f", to=FLOAT), node("Mul", "x f", "e"),
         node("SequenceInsert", "q e", "r")],
        "body",
        [info("i", LONG, ()), info("go", BOOL, ()), sequence],
        [info("on", BOOL, ()), grown],
    )
    x, program, y = step(
        [
            node("SequenceEmpty", "", "none"),
            node("Loop", "n yes none", "parts", body=body),
            node("ConcatFromSequence", "parts", "j", axis=0, new_axis=1),
            node("Neg", "j", "y"),
        ],
        {"n": np.int64(3), "yes": np.array(True)},
    )
    np.testing.assert_allclose(y, -np.stack([x * 0, x, x * 2]), rtol=1e-6)


def test_sequences_go_in_and_out_node_by_node():
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    model = file([node("SequenceErase", "s", "t")], {}, {})
    model.graph.input.append(helper.make_value_info("s", sequence))
    model.graph.output.append(helper.make_value_info("t", sequence))
    loaded = door.load(model)
    assert isinstance(loaded, door.NodeByNode) and "no tensor" in loaded.left_out
    a, b = floats(2), floats(3)
    (kept,) = loaded([a, b])
    np.testing.assert_array_equal(kept, a)
    with pytest.raises(door.ModelError, match="sequence is empty"):
        loaded([])
    with pytest.raises(door.ModelError, match="must be a sequence, got float32"):
        loaded(a)


def test_optional_values():
    optional = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    model = file([node("OptionalHasElement", "o", "has")], {}, {"has": (BOOL, None)})
    model.graph.input.append(helper.make_value_info("o", optional))
    assert door.run(model, {"o": None})["has"] == np.False_ and door.run(model, {"o": floats(2)})["has"]
    x, program, y = step(
        [node("Optional", "x", "o"), node("OptionalGetElement", "o", "v"), node("Relu", "v", "y")]
    )
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    model = file([node("OptionalGetElement", "o", "y")], {}, {"y": (FLOAT, None)}, opset=15)
    model.graph.input.append(helper.make_value_info("o", optional))
    with pytest.raises(door.ModelError, match="the optional value is empty"):
        door.run(model, {"o": None})


@pytest.mark.parametrize(
    "nodes, match",
    [
        ([node("SplitToSequence", "x", "p"), node("Relu", "p", "y")], "a sequence of 6, which it does not take"),
        ([node("SequenceAt", "x i", "y")], "input 0 must be a sequence, got float32"),
        ([node("SplitToSequence", "x", "p"), node("SequenceAt", "p i", "y")], r"position 6 is outside of \[-6, 5\]"),
        ([node("SplitToSequence", "x i", "p"), node("SequenceErase", "p i", "q"),
          node("ConcatFromSequence", "q", "y", axis=0)], "position 6"),
        ([node("SequenceConstruct", "x i", "p"), node("SequenceAt", "p i", "y")], "float32 and int64"),
    ],
)
def test_what_is_refused(nodes, match):
    model = file(nodes, X, {"y": (FLOAT, None)}, {"i": np.int64(6)})
    with pytest.raises(door.ModelError, match=match):
        door.run(model, {"x": floats(6, 4)})
