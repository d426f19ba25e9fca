"""Open axes of ONNX files: Programs for the sizes that come."""

import threading

import numpy as np
import pytest

from pyops.graph.program import Program
from pyops.graph.shared import PROGRAMS
from pyops.graph.varying import Varying

pytest.importorskip("onnx")
from onnx_files import BOOL, FLOAT, LONG, file, floats, node, reference, same

import pyops.onnx as door

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")


def encoder(shape=("batch", "length")):
    """Embedded ids, a mask, and a softmax over what it lets through."""
    table, w = floats(40, 16), floats(16, 16) / 4
    nodes = [
        node("Gather", "table ids", "x"),
        node("MatMul", "x w", "q"),
        node("Transpose", "x", "t", perm=[0, 2, 1]),
        node("MatMul", "q t", "s"),
        node("Unsqueeze", "mask one", "m"),
        node("Where", "m s low", "a"),
        node("Softmax", "a", "p", axis=-1),
        node("MatMul", "p x", "y"),
    ]
    constants = {
        "table": table,
        "w": w,
        "one": np.array([1]),
        "low": np.array(-1e9, np.float32),
    }
    return file(
        nodes,
        {"ids": (LONG, shape), "mask": (BOOL, shape)},
        {"y": (FLOAT, (*shape, 16))},
        constants,
    )


def test_open_axes_take_what_comes():
    model = encoder()
    program = door.load(model)
    assert isinstance(program, Varying)
    rng = np.random.default_rng(0)
    for shape in ((1, 3), (2, 7), (5, 1), (2, 7)):
        ids, mask = (
            rng.integers(0, 40, shape),
            np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (shape[0], 1)),
        )
        np.testing.assert_allclose(program(ids, mask), reference(model, ids, mask), atol=1e-5)
        assert isinstance(program.program_for(ids, mask), Program)
    assert program.programs == 3
    with pytest.raises(IndexError, match="index 40 is outside an axis of size 40"):
        program(np.full((2, 7), 40), np.ones((2, 7), bool))
    with pytest.raises(ValueError, match="input 'ids' is int64\\[3\\], the model takes int64 \\[any, any\\]"):
        program(np.zeros(3, np.int64), np.ones((2, 7), bool))


def test_shapes_that_are_given_make_one_program():
    program = door.load(encoder(), shapes={"ids": (2, 5), "mask": (2, 5)})
    assert isinstance(program, Program) and [s for s, _ in program.inputs] == [(2, 5)] * 2


def test_the_last_sizes_are_kept():
    program = door.load(file([node("Relu", "x", "y")], {"x": (FLOAT, (None, None))}, {"y": (FLOAT, None)}))
    for n in range(1, 3 * PROGRAMS):
        same(program(-np.ones((1, n), np.float32)), np.zeros((1, n), np.float32))
    assert program.programs == PROGRAMS


def test_an_unknown_rank_takes_any():
    model = file([node("Relu", "x", "y")], {"x": (FLOAT, None)}, {"y": (FLOAT, None)})
    program = door.load(model)
    for shape in ((), (3,), (2, 3, 4)):
        same(program(floats(*shape).reshape(shape)), np.maximum(floats(*shape).reshape(shape), 0))


def test_two_threads_ask_for_sizes_at_once():
    model = encoder()
    program = door.load(model)
    want = {n: reference(model, np.arange(n)[None], np.ones((1, n), bool)) for n in range(1, 13)}
    wrong = []

    def work(t):
        for i in range(24):
            n = 1 + (5 * i + 7 * t) % 12
            if not np.allclose(program(np.arange(n)[None], np.ones((1, n), bool)), want[n], atol=1e-5):
                wrong.append((t, n))

    threads = [threading.Thread(target=work, args=(t,)) for t in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and program.programs <= PROGRAMS


def traced(model):
    """The program of a model with open axes, and the list of its families, each traced as often as its
    graphs say."""
    program = door.load(model)
    assert isinstance(program, Varying)
    return program, program._make.__self__.families


def check_sizes(model, given, times):
    """Results as node by node, and how often the model was traced for all of them."""
    program, families = traced(model)
    for arrays in given:
        got, want = program(*arrays), reference(model, *arrays)
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=4e-6 * np.abs(want).max())
        assert isinstance(program.program_for(*arrays), Program)
    (family,) = families.values()
    assert family.refused is None and len(family.traced) == times


def test_shapes_that_a_model_computes_with_are_formulas():
    """reshape(x, (n, l, 4, -1)), and the positions 0 to l - 1 of a table, as exporters write them."""
    table, w = floats(50, 16), floats(16, 16)
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Gather", "s one", "l", axis=0),
        node("Unsqueeze", "n axis", "n1"), node("Unsqueeze", "l axis", "l1"),
        node("Concat", "n1 l1 heads", "to", axis=0),
        node("Slice", "table axis l1 axis", "p"), node("Add", "x p", "y"), node("MatMul", "y w", "z"),
        node("Reshape", "z to", "apart"), node("Transpose", "apart", "t", perm=[0, 2, 1, 3]),
        node("Range", "zero l one", "r"), node("Cast", "r", "f", to=1), node("Reshape", "f column", "c"),
        node("Mul", "t c", "u"),
        node("Mul", "l1 l1", "square"), node("Div", "square l1", "again"), node("Expand", "half again", "e"),
        node("Reshape", "e row", "ee"), node("Add", "u ee", "out"),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "axis": np.array([0]), "heads": np.array([4, -1]),
                 "table": table, "w": w, "column": np.array([-1, 1]), "row": np.array([1, 1, -1, 1]),
                 "half": np.array([0.5], np.float32)}
    model = file(nodes, {"x": (FLOAT, ("n", "l", 16))}, {"out": (FLOAT, ("n", 4, "l", 4))}, constants)
    check_sizes(model, [[floats(n, m, 16)] for n, m in ((2, 7), (3, 12), (5, 40), (2, 3))], 1)


@pytest.mark.parametrize("mode, rule", [("nearest", "floor"), ("linear", "floor"), ("cubic", "floor")])
def test_images_are_resized_to_each_other(mode, rule):
    """Twice the size, and back to that of another one, by its shape."""
    w = floats(8, 3, 3, 3)
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Resize", "a none scales", "b", mode=mode, nearest_mode=rule,
             coordinate_transformation_mode="asymmetric"),
        node("Shape", "x", "s"), node("Slice", "s two four axis", "hw"), node("Concat", "batch hw", "to", axis=0),
        node("Shape", "b", "sb"), node("Slice", "sb axis two axis", "nc"), node("Concat", "nc hw", "whole", axis=0),
        node("Resize", "b none empty whole", "y", mode=mode, nearest_mode=rule),
    ]
    constants = {"w": w, "none": np.zeros(0, np.float32), "empty": np.zeros(0, np.float32),
                 "scales": np.array([1, 1, 2, 2], np.float32), "two": np.array([2]), "four": np.array([4]),
                 "axis": np.array([0]), "batch": np.array([1, 8])}
    model = file(nodes, {"x": (FLOAT, ("n", 3, "h", "w"))}, {"y": (FLOAT, ("n", 8, "h", "w"))}, constants)
    check_sizes(model, [[floats(n, 3, h, w_)] for n, h, w_ in ((2, 9, 11), (3, 15, 13), (2, 7, 21))], 1)
