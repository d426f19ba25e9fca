"""Numbers that say how an ONNX file computes: inputs that are constants of a Program."""

import numpy as np
import pytest

from pyops.graph.program import Program
from pyops.graph.varying import MOST_NUMBERS, Varying

pytest.importorskip("onnx")
from onnx import helper
from onnx_files import FLOAT, LONG, file, floats, node, reference, same

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")


def branching():
    """Twice x at a rate of 16000, minus x at any other."""
    bodies = {
        f"{how}_branch": helper.make_graph(
            [node(op, given, how)], how, [], [helper.make_tensor_value_info(how, FLOAT, (2, 3))]
        )
        for how, op, given in (("then", "Add", "x x"), ("else", "Neg", "x"))
    }
    nodes = [node("Equal", "sr rate", "c"), node("If", "c", "y", **bodies)]
    return file(
        nodes,
        {"x": (FLOAT, (2, 3)), "sr": (LONG, ())},
        {"y": (FLOAT, (2, 3))},
        {"rate": np.array(16000)},
    )


def test_a_number_chooses_a_branch():
    program, x = door.load(branching()), floats(2, 3)
    assert isinstance(program, Varying)
    for rate, want in ((16000, x + x), (8000, -x), (16000, x + x)):
        same(program(x, np.array(rate)), want)
        assert isinstance(program.program_for(x, np.array(rate)), Program)
    assert program.programs == 2 and program.fixed == {1}


NUMBERED = {  # operator: (inputs behind x, the numbers to try, attributes)
    "count": ("TopK", "k", [np.array([2]), np.array([3])], "v y"),
    "axis": ("CumSum", "k", [np.array(0), np.array(1), np.array(-1)], "y"),
    "axes": ("ReduceSum", "k", [np.array([0]), np.array([1]), np.array([0, 1])], "y"),
    "shape": ("Reshape", "k", [np.array([6, 4]), np.array([-1]), np.array([2, 2, 6])], "y"),
    "repeats": ("Tile", "k", [np.array([2, 1]), np.array([1, 3])], "y"),
    "pads": ("Pad", "k", [np.array([0, 1, 0, 1]), np.array([2, 0, 0, 0])], "y"),
    "expand": ("Expand", "k", [np.array([3, 4, 6]), np.array([4, 6])], "y"),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_say_how_to_compute(name):
    op, given, numbers, outputs = NUMBERED[name]
    x = np.random.default_rng(1).permutation(24).reshape(4, 6).astype(np.float32)
    shape = () if numbers[0].ndim == 0 else (None,)
    model = file(
        [node(op, f"x {given}", outputs)],
        {"x": (FLOAT, (4, 6)), "k": (LONG, shape)},
        {"y": (LONG if op == "TopK" else FLOAT, None)},
    )
    program = door.load(model)
    for k in (*numbers, numbers[0]):
        same(program(x, k), reference(model, x, k))
        assert isinstance(program.program_for(x, k), Program)
    assert program.fixed == {1} and program.programs == len(numbers)


def test_constants_are_no_inputs():
    x = floats(2, 3)
    program = door.load(branching(), constants={"sr": 16000})
    assert isinstance(program, Program) and len(program.inputs) == 1
    same(program(x), x + x)
    same(door.load(branching(), constants={"sr": 1})(x), -x)
    with pytest.raises(door.ModelError, match="no input rates"):
        door.load(branching(), constants={"rates": 1})
    with pytest.raises(door.ModelError, match="has shape \\(2,\\)"):
        door.load(branching(), constants={"sr": [1, 2]})
    with pytest.raises(door.ModelError, match="has no input"):
        door.load(branching(), constants={"sr": 1, "x": x})


def test_many_numbers_are_no_constants():
    """Where values decide on a length: node by node, which says why."""
    nodes = [node("Unique", "x", "y", axis=0)]
    for shape in ((MOST_NUMBERS + 1,), (None,), (None, 2)):
        model = file(nodes, {"x": (FLOAT, shape), "z": (FLOAT, (2,))}, {"y": (FLOAT, None)})
        program = door.load(model)
        x = (np.arange((MOST_NUMBERS + 1) * len(shape)) % 3 > 0).astype(np.float32).reshape(-1, *shape[1:])
        z = np.zeros(2, np.float32)
        same(program(x, z), np.unique(x, axis=0))
        used = program.program_for(x, z) if isinstance(program, Varying) else program
        assert isinstance(used, door.NodeByNode) and "Unique" in used.left_out


def test_arrays_of_other_types_are_refused_node_by_node():
    model = file([node("Unique", "x", "y", axis=0)], {"x": (FLOAT, (99,))}, {"y": (FLOAT, None)})
    program = door.load(model)
    assert isinstance(program, door.NodeByNode)
    for x in (np.zeros(99), np.zeros(98, np.float32)):
        with pytest.raises(ValueError, match="input 'x' is float32"):
            program(x)
    with pytest.raises(TypeError, match="takes 1 inputs"):
        program()
